"""Mailboxes out of a directory: what its options and a profile's ``[directory]`` come to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.cli.screen import tell
from excise.core.errors import UsageError
from excise.core.secrets import secret
from excise.core.text import count_of

if TYPE_CHECKING:
    from excise.api.directory import DirectorySettings
    from excise.model.recipient import Recipients

PASSWORD = "EXCISE_LDAP_PASSWORD"  # noqa: S105 - the variable's name
_TOLD = 10
#: Option -> key of a profile's table; the first three say where, the others what is listed.
_WHERE = {"directory": "url", "directory_user": "user", "directory_ca": "ca"}
_LISTED = {
    "directory_base": "base",
    "directory_filter": "filter",
    "directory_database": "databases",
    "directory_server": "servers",
}


def settings_of(
    options: Mapping[str, Any], profile: Mapping[str, Any], *, named: bool, url: str | None = None
) -> DirectorySettings | None:
    """The directory that is meant; None where there is none.

    ``named``: mailboxes are named on the line, so that what the profile lists does not count. ``url``: where it is,
    given in another way.
    """
    from excise.api.directory import DirectorySettings

    for name in (*_WHERE, *_LISTED):
        value = options.get(name)
        if value == "" or (isinstance(value, tuple) and not all(text.strip() for text in value)):
            raise UsageError(f"--{name.replace('_', '-')} is empty", hint="Leave it out, or fill it in.")
    where = {key: options.get(name) or profile.get(key) for name, key in _WHERE.items()}
    listed = {key: options[name] for name, key in _LISTED.items() if options.get(name)}
    if named and listed:
        raise UsageError(
            f"names of mailboxes and --directory-{next(iter(listed)).removesuffix('s')} are both given",
            hint="Name mailboxes (--mailbox, --mailboxes), or have them listed, not both.",
        )
    if not named and not listed:
        listed = {key: profile[key] for key in _LISTED.values() if key in profile}
    where["url"] = url or where["url"]
    if not where["url"]:
        if listed or any(where.values()):
            raise UsageError(
                "mailboxes are to be listed from a directory, and it is not said where that is",
                hint="Give --directory, as in --directory ldaps://dc1.example.com.",
            )
        return None
    return DirectorySettings(
        where["url"],
        where["user"] or "",
        Path(where["ca"]) if where["ca"] else None,
        base=str(listed.get("base", "")),
        filter=str(listed.get("filter", "")),
        databases=tuple(listed.get("databases", ())),
        servers=tuple(listed.get("servers", ())),
    )


def look_up(settings: DirectorySettings, names: Mapping[str, str]) -> Recipients:
    """Ask the directory, and tell what it came to. ``names``: each with the place where it stands, for errors."""
    from excise.api.directory import check_settings, directory_name, find_recipients

    check_settings(settings)
    name = directory_name(settings.url)
    password = secret(PASSWORD, name, settings.user) if settings.user else ""
    found = find_recipients(settings, password, tuple(names), names)
    tell(f"{name}: {count_of(len(found.mailboxes), 'mailbox')} ({_marked(found)})")
    for line in found.passed_over[:_TOLD]:
        tell(f"Passed over: {line}")
    if len(found.passed_over) > _TOLD:
        tell(f"Passed over: {len(found.passed_over) - _TOLD:,} more")
    for unread, why in found.unread:
        tell(f"NOT KNOWN: {unread}: {why}")
    return found


def _marked(found: Recipients) -> str:
    if all(one.hidden is None and one.disabled is None for one in found.mailboxes):
        return "hidden and disabled ones are not known"
    hidden = sum(one.hidden is True for one in found.mailboxes)
    disabled = sum(one.disabled is True for one in found.mailboxes)
    return f"{hidden:,} hidden, {disabled:,} disabled"


def recipients(settings: DirectorySettings, names: Mapping[str, str], *, everything: bool) -> Recipients:
    """The mailboxes that ``names`` mean, or those listed. All of the directory are meant only where that is said
    (S03)."""
    if not names and not settings.limits and not everything:
        raise UsageError(
            "a directory is given, and not which of its mailboxes",
            hint="Name them (--mailbox, --mailboxes), list them (--directory-database and the like), or say "
            "--all-mailboxes.",
        )
    return look_up(settings, names)
