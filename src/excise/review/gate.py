"""Who may talk to the page of a review: the browser that was shown the token, and no other page, host or user.

- The server listens on the loopback address alone. Other users of the machine can reach that, so nothing is given
  without the secrets.
- The token in the address that is printed is good once. It is changed for two secrets: one in the path, one in a cookie
  that is bound to that path, so that no other server of this machine is ever sent either.
- ``Host`` must be a loopback name (no DNS rebinding); its port may be another one, as through an SSH tunnel.
- A change needs ``Origin`` to be just this server, and a third secret that only its own forms hold (no CSRF).
"""

from __future__ import annotations

import re
from email.message import Message
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from secrets import token_urlsafe

COOKIE = "excise_review"
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?\Z", re.IGNORECASE | re.ASCII)


class Gate:
    """The secrets of one review."""

    def __init__(self) -> None:
        """Draw them."""
        self.token: str | None = token_urlsafe(32)
        self.path, self.cookie, self.form = token_urlsafe(24), token_urlsafe(32), token_urlsafe(32)

    @property
    def base(self) -> str:
        """The path that all pages lie below."""
        return f"/{self.path}/"

    def opens(self, token: str) -> bool:
        """True once: for the token that was printed, the first time that it is shown."""
        if self.token is None or not compare_digest(token.encode(), self.token.encode()):
            return False
        self.token = None
        return True

    @property
    def set_cookie(self) -> str:
        """The header that gives the browser its cookie."""
        return f"{COOKIE}={self.cookie}; HttpOnly; SameSite=Strict; Path={self.base}"

    def knows(self, path: str, headers: Message) -> bool:
        """True where a request bears the two secrets."""
        try:
            morsel = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return False
        given = morsel.value if morsel is not None else ""
        right = compare_digest(given.encode(), self.cookie.encode())
        return right and compare_digest(path[: len(self.base)].encode(), self.base.encode())

    def may_change(self, headers: Message, form_token: str) -> bool:
        """True where a request to change something comes from a form of our own pages."""
        own = headers.get("Origin", "") == f"http://{headers.get('Host', '')}"
        site = headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        return own and site and compare_digest(form_token.encode(), self.form.encode())


def is_loopback(host: str) -> bool:
    """True where a Host header names this machine by a loopback name."""
    return bool(_HOST.match(host))
