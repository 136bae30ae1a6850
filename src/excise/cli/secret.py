"""Secrets (S26): from the environment, the system's keyring or a prompt, never from a command line or a file."""

from __future__ import annotations

import os
import sys

from excise.core.errors import UsageError
from excise.core.text import shown


def secret(variable: str, service: str, user: str) -> str:
    """The password of ``user`` at ``service``: what the environment's ``variable`` holds, else what the keyring has
    under the two, else what is typed at the terminal. ``UsageError`` where none of them gives one."""
    given = os.environ.get(variable) or _from_keyring(service, user)
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            f"there is no password for {shown(user)} at {shown(service)}",
            hint=f"Set {variable}, or store one: keyring set {shown(service)} {shown(user)}",
        )
    import click

    typed: str = click.prompt(f"Password of {shown(user)} at {shown(service)}", hide_input=True, err=True)
    return typed


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
