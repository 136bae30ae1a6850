"""Asking a person for a secret (S26).

Only the command line has a terminal; it says here how to ask there. Below it, whoever needs a password that nothing
else supplies calls ``ask_secret``, which gives None where nobody can be asked.
"""

from __future__ import annotations

from collections.abc import Callable

_ASKING: list[Callable[[str], str]] = []


def ask_with(ask: Callable[[str], str] | None) -> None:
    """Ask by ``ask(prompt)`` from now on; with None, nobody can be asked."""
    _ASKING[:] = [] if ask is None else [ask]


def ask_secret(prompt: str) -> str | None:
    """What a person enters at ``prompt``, unseen; None where nobody can be asked or nothing is entered."""
    return (_ASKING[0](prompt) or None) if _ASKING else None
