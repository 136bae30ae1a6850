"""LDAP filters (RFC 4515) made of values that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterable

#: Entries whose mailbox lies in a database of this organisation.
HAS_MAILBOX = "(homeMDB=*)"
_SPECIAL = str.maketrans({"\\": "\\5c", "*": "\\2a", "(": "\\28", ")": "\\29", "\0": "\\00"})


def escaped(value: str) -> str:
    """``value`` as it stands for itself in a filter."""
    return value.translate(_SPECIAL)


def equals(attribute: str, value: str) -> str:
    """``attribute`` has ``value``."""
    return f"({attribute}={escaped(value)})"


def any_of(filters: Iterable[str]) -> str:
    """One of ``filters``, of which there is one at least, holds."""
    made = list(dict.fromkeys(filters))
    return made[0] if len(made) == 1 else f"(|{''.join(made)})"


def all_of(*filters: str) -> str:
    """All of ``filters`` that are not empty hold."""
    made = [found for found in filters if found]
    return made[0] if len(made) == 1 else f"(&{''.join(made)})"


def bracketed(text: str) -> str:
    """A filter as people write it, with the brackets that they may leave out."""
    text = text.strip()
    return text if text.startswith("(") else f"({text})"


def on_server(name: str) -> str:
    """Mailboxes of the server ``name``, or of that legacy distinguished name (msExchHomeServerName)."""
    if name.startswith("/"):
        return equals("msExchHomeServerName", name)
    return f"(msExchHomeServerName=*/cn=Servers/cn={escaped(name)})"


def named(name: str) -> str:
    """Entries that ``name`` may mean: an address, a legacy distinguished name (also a former one, kept as an X500
    address), a distinguished name, an alias or a login name."""
    if name.startswith("/"):
        return any_of([equals("legacyExchangeDN", name), equals("proxyAddresses", f"X500:{name}")])
    if "@" in name:
        ways = [equals("proxyAddresses", f"smtp:{name}"), equals("mail", name), equals("userPrincipalName", name)]
        return any_of(ways)
    if "=" in name:
        return with_dn([name])
    return any_of(equals(attribute, name) for attribute in ("mailNickname", "sAMAccountName"))


def with_dn(names: Iterable[str]) -> str:
    """Entries of these distinguished names; Active Directory and OpenLDAP each know one of the two attributes, and
    treat the other as undefined."""
    return any_of(equals(attribute, dn) for dn in names for attribute in ("distinguishedName", "entryDN"))
