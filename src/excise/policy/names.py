"""Which mailbox a name in a policy means. Rather one too many than one too few: it keeps hands off."""

from __future__ import annotations

from excise.core.text import normalise


def names_mailbox(entry: str, name: str) -> bool:
    """True where ``entry`` (a name, the end of a path, or an address) means the mailbox ``name``.

    A path may end with it, with or without a suffix as ``.mbox``; an address also means the directories
    ``domain/local`` and what is below them.
    """
    want, path = normalise(entry).strip("/"), "/" + normalise(name).lstrip("/")
    last = path.rpartition("/")[2]
    if path.endswith("/" + want) or last.startswith(want + ".") or f"/{want}/" in path:
        return True
    local, at, domain = want.rpartition("@")
    return bool(at) and f"/{domain}/{local}/" in path + "/"


def of_domain(domain: str, name: str) -> bool:
    """True where the mailbox ``name`` is one of ``domain`` or of a domain below it."""
    parts = normalise(name).split("/")
    return any(is_of_domain(part.rpartition("@")[2], domain) or f"@{domain}." in part for part in parts)


def is_of_domain(found: str, domain: str) -> bool:
    """True where the domain ``found`` is ``domain`` or below it."""
    return found == domain or found.endswith("." + domain)
