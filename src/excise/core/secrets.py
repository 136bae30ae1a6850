"""Secrets (S26): from the environment, the system's keyring or a person, never from a command line or a file.

Only the command line has a terminal; it says here how to ask there. Below it, whoever needs a password calls
``secret``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from excise.core.errors import UsageError
from excise.core.text import shown

_ASKING: list[Callable[[str], str]] = []
_SERVICE = "excise:"


def ask_with(ask: Callable[[str], str] | None) -> None:
    """Ask by ``ask(prompt)`` from now on; with None, nobody can be asked."""
    _ASKING[:] = [] if ask is None else [ask]


def ask_secret(prompt: str) -> str | None:
    """What a person enters at ``prompt``, unseen; None where nobody can be asked or nothing is entered."""
    return (_ASKING[0](prompt) or None) if _ASKING else None


def keyring_service(place: str) -> str:
    """The service under which the keyring has the passwords for ``place``, the address of a server as a URI."""
    return _SERVICE + place


def is_stored(place: str, user: str) -> bool:
    """True where the keyring has a password of ``user`` at ``place``, the address of a server as a URI."""
    return _from_keyring(keyring_service(place), user) is not None


def secret(variable: str, place: str, user: str, environment: Mapping[str, str] = os.environ) -> str:
    """The password of ``user`` at ``place``, the address of a server as a URI.

    What the environment's ``variable`` holds, else what the keyring has, else what is entered at the terminal.
    ``UsageError`` where none of them gives one.
    """
    service = keyring_service(place)
    prompt = f"Password of {shown(user)} at {shown(place)}"
    found = environment.get(variable) or _from_keyring(service, user) or ask_secret(prompt)
    if not found:
        raise UsageError(
            f"there is no password for {shown(user)} at {shown(place)}",
            hint=f"Set {variable}, or store one: keyring set {shown(service)} {shown(user)}",
        )
    return found


def _from_keyring(service: str, user: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        found: str | None = keyring.get_password(service, user)
    except KeyringError:
        # No keyring here, or it stays locked: the next way is asked, and in the end the user is told.
        return None
    return found
