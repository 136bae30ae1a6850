"""One server: who may speak to it when, and what becomes of a request that got no proper answer.

Rules:
- The login is tried once. One that is refused is not tried again by this process, whatever still waits (no lock-outs).
- A pause that the server asks for holds for every worker.
- What only reads is asked again where that may help. What acts is sent again only where the server surely did nothing;
  everything else that went wrong is an ``OutcomeUnknown``, and the caller looks at what is there.
- A connection on which something went wrong is not used again: a stray answer may follow on it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from excise.core.errors import ExciseError, SourceUnavailable
from excise.store_api.errors import Throttled, Unauthorised
from excise.stores.ews import codes
from excise.stores.ews.settings import Auth, Login, Settings
from excise.stores.ews.soap import Answer, BadAnswer, Body, Fault, Reply, Request, envelope, read_reply
from excise.stores.ews.unreachable import http_error, unreachable, untrusted

if TYPE_CHECKING:
    from excise.stores.ews.sessions import Session, Sessions

_TRIES = 6
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0
#: Bytes that one answer may have: several times the largest message that Exchange takes.
_MOST = 1 << 30
#: The server surely did nothing where it answers so.
_NOT_DONE = frozenset({codes.BUSY, "ErrorMailboxMoveInProgress", "ErrorExceededConnectionCount"})


class OutcomeUnknown(Exception):
    """A request that acts may have been carried out, or not: there is no answer that says so."""


class Refusal(ExciseError):
    """The server refused a request as a whole, with ``code``."""

    exit_code = 6
    error_id = "source-unavailable"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, hint=codes.hint_for(code))
        self.code = code


@dataclass(slots=True)
class _Trouble(Exception):
    """What went wrong with one request. ``done``: it may have been carried out."""

    error: ExciseError
    passing: bool = False
    done: bool = False
    pause: float | None = None


def refusal(where: str, code: str, text: str) -> ExciseError:
    """The error for the response code ``code``."""
    said = f"{where}: {code}" + (f": {text}" if text else "")
    hint = codes.hint_for(code)
    if code in codes.DENIED:
        return Unauthorised(said, hint=hint)
    if code == codes.BUSY:
        return Throttled(said, delay=_FIRST_PAUSE, hint=hint)
    if code in codes.NO_MAILBOX or code in codes.PASSING:
        return SourceUnavailable(said, hint=hint)
    return Refusal(code, said)


class Server:
    """One service with one login, shared by all mailboxes that are opened there."""

    def __init__(self, url: str, login: Login, settings: Settings, *, first_pause: float = _FIRST_PAUSE) -> None:
        """Nothing is sent yet. ``requests`` counts by operation; ``version`` is known after the first answer."""
        self.url, self._login, self._settings = url, login, settings
        self.requests: Counter[str] = Counter()
        self.version = ""
        #: Why nothing can be exported here; empty as long as that is not known.
        self.lacks_export = ""
        self._first_pause = first_pause
        self._sessions: Sessions | None = None
        self._idle: list[Session] = []
        self._open = 0
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._turns = threading.BoundedSemaphore(settings.connections)
        self._quiet_until = 0.0
        self._proved = False
        self._refused: ExciseError | None = None

    def call(
        self,
        operation: str,
        body: Body,
        *,
        mailbox: str = "",
        owner: str = "",
        expected: int | None = None,
        acts: bool = False,
    ) -> Reply:
        """Ask for ``operation``. ``mailbox``: whose server should be asked; ``owner``: in whose name.

        An ExciseError where it is refused, an OutcomeUnknown (only where it ``acts``) where nobody knows.
        """
        data = envelope(body, owner)
        pause = self._first_pause
        for left in reversed(range(_TRIES if self._proved else 3)):
            try:
                return self._turn(operation, data, mailbox, expected)
            except _Trouble as trouble:
                if acts and trouble.done:
                    raise OutcomeUnknown(trouble.error.message) from trouble
                if not trouble.passing or not left:
                    raise trouble.error from trouble
                self.rest(trouble.pause if trouble.pause is not None else pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("unreachable")

    def each(
        self,
        operation: str,
        keys: Sequence[str],
        body_of: Callable[[Sequence[str]], Body],
        *,
        mailbox: str = "",
        owner: str = "",
        acts: bool = False,
    ) -> dict[str, Answer]:
        """Ask for ``operation`` on every key (they differ); one answer each. What is busy is asked for again."""
        answers: dict[str, Answer] = {}
        pending, pause = list(keys), self._first_pause
        for left in reversed(range(_TRIES)):
            if not pending:
                break
            try:
                reply = self.call(
                    operation, body_of(pending), mailbox=mailbox, owner=owner, expected=len(pending), acts=acts
                )
            except ExciseError as error:
                if acts and answers:
                    # An earlier round was carried out in part: a refusal of this one is no answer for all.
                    raise OutcomeUnknown(error.message) from error
                raise
            answers.update(zip(pending, reply.answers, strict=True))
            again = {codes.BUSY} if acts else codes.PASSING
            pending = [key for key in pending if answers[key].code in again]
            if pending and left:
                asked = [answers[key].back_off for key in pending]
                self.rest(max((wanted for wanted in asked if wanted is not None), default=pause))
                pause = min(2 * pause, _LONGEST_PAUSE)
        return answers

    @property
    def proved(self) -> bool:
        """True once the server has answered somebody who was logged in."""
        return self._proved

    @property
    def user(self) -> str:
        """Who is logged in here."""
        return self._login.user

    def rest(self, seconds: float) -> None:
        """Send nothing, from any worker, for ``seconds``."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, time.monotonic() + min(seconds, _LONGEST_PAUSE))

    def rest_by_turns(self, tried: int) -> None:
        """``rest``, the longer the more often it was ``tried``."""
        self.rest(self._first_pause * 2**tried)

    def enter(self) -> None:
        """A mailbox was opened here: connections are kept for as long as one is."""
        with self._lock:
            self._open += 1

    def leave(self) -> None:
        """It was closed; with the last one, the idle connections are."""
        with self._lock:
            self._open -= 1
            last = self._open <= 0
        if last:
            self.close()

    def close(self) -> None:
        """Close the idle connections; the server can go on being used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _turn(self, operation: str, data: bytes | Request, mailbox: str, expected: int | None) -> Reply:
        """One request, when it is its turn; until a first one was answered, one at a time."""
        if self._proved:
            return self._send(operation, data, mailbox, expected)
        with self._first:
            if self._refused is not None:
                raise _Trouble(self._refused)
            return self._send(operation, data, mailbox, expected)

    def _send(self, operation: str, data: bytes | Request, mailbox: str, expected: int | None) -> Reply:
        with self._turns:
            self._wait()
            if self._refused is not None:
                raise _Trouble(self._refused)
            try:
                reply = self._exchange(operation, data, mailbox, expected, again=False)
            except _TokenExpired:
                # Not a refused login: nothing was done, and a new session fetches a new token.
                self._renew_token()
                reply = self._exchange(operation, data, mailbox, expected, again=True)
        self._proved = True
        self.version = reply.version or self.version
        return reply

    def _wait(self) -> None:
        while True:
            with self._lock:
                left = self._quiet_until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.5))

    def _exchange(
        self, operation: str, data: bytes | Request, mailbox: str, expected: int | None, *, again: bool
    ) -> Reply:
        """Send and receive, on a connection that is kept only where all went well."""
        headers = {"X-AnchorMailbox": mailbox} if mailbox else {}
        with self._connection() as (session, held):
            self.requests[operation] += 1
            with self._post(session, data, headers) as answer:
                status, head = int(answer.status_code), {k.lower(): v for k, v in answer.headers.items()}
                if status == 401 and not again and self._proved and self._login.auth is Auth.OAUTH2:
                    raise _TokenExpired
                pieces: Iterable[bytes] = _limited(self.url, answer.iter_content(1 << 16))
                if status != 200:
                    pieces = self._refusal_in(status, head, pieces)
                reply = self._read(pieces, operation, expected)
            held.well = True
        return reply

    def _read(self, pieces: Iterable[bytes], operation: str, expected: int | None) -> Reply:
        try:
            return read_reply(pieces, operation, expected)
        except Fault as fault:
            self._proved = True
            passing = fault.code in codes.PASSING
            error = refusal(self.url, fault.code, fault.text)
            raise _Trouble(error, passing, fault.code not in _NOT_DONE and passing, fault.back_off) from fault
        except BadAnswer as bad:
            raise _Trouble(SourceUnavailable(f"{self.url}: {bad}"), True, True) from bad
        except ExciseError as error:
            # The disk takes no more of the answer: what it would have said is not known.
            raise _Trouble(error, done=True) from error

    @contextmanager
    def _connection(self) -> Iterator[tuple[Any, _Held]]:
        """A session, the library's errors translated; it is closed at the end unless all was well."""
        import requests

        session, held = None, _Held()
        try:
            session = self._take()
            yield session, held
        except requests.exceptions.SSLError as error:
            raise _Trouble(untrusted(self.url, error)) from error
        except requests.exceptions.ConnectionError as error:
            sent = "NewConnectionError" not in repr(error) and "ConnectTimeout" not in repr(error)
            raise _Trouble(unreachable(self.url, error), True, sent) from error
        except requests.exceptions.RequestException as error:
            raise _Trouble(unreachable(self.url, error), True, True) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "oauthlib":
                raise
            if type(error).__name__ == "TokenExpiredError":
                raise _TokenExpired from error
            raise _Trouble(self._refuse(f"no token for the application {self._login.user}: {error}")) from error
        finally:
            if session is not None:
                self._give_back(session, held)

    def _take(self) -> Any:
        from excise.stores.ews.sessions import Sessions

        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._sessions is None:
                self._sessions = Sessions(self.url, self._login, self._settings)
            sessions = self._sessions
        return sessions.open()

    def _post(self, session: Any, data: bytes | Request, headers: dict[str, str]) -> Any:
        assert self._sessions is not None  # noqa: S101 - it made the session
        return self._sessions.post(session, data, headers, self._settings.timeout)

    def _renew_token(self) -> None:
        self.close()
        with self._lock:
            if self._sessions is not None:
                self._sessions.forget_token()

    def _give_back(self, session: Any, held: _Held) -> None:
        if held.well:
            with self._lock:
                self._idle.append(session)
        else:
            session.close()

    def _refusal_in(self, status: int, head: dict[str, str], pieces: Iterable[bytes]) -> list[bytes]:
        """What came with HTTP 500 where it may hold a fault; everything else is trouble."""
        if status == 500:
            content = b"".join(pieces)
            if content.rstrip().endswith(b"Envelope>"):
                return [content]
        if status == 401:
            if self._login.auth is Auth.KERBEROS:
                self._explain_kerberos()
            raise _Trouble(self._refuse(f"the login of {self._login.user or 'this user'} is refused (HTTP 401)"))
        if status in (429, 503):
            wanted = head.get("retry-after", "")
            pause = float(wanted) if wanted.isascii() and wanted.isdigit() else None
            busy = Throttled(f"{self.url}: the server is busy (HTTP {status})", delay=pause or _FIRST_PAUSE)
            raise _Trouble(busy, True, False, pause)
        error, passing = http_error(self.url, status, head), status >= 500
        raise _Trouble(error, passing, passing)

    def _explain_kerberos(self) -> None:
        """Trouble that says what is the matter with the ticket, where it is that."""
        from excise.stores.ews.kerberos import require_ticket

        try:
            require_ticket(self.url)
        except Unauthorised as error:
            self._refused = error
            raise _Trouble(error) from error

    def _refuse(self, why: str) -> ExciseError:
        """Remember that the login is refused: it is never tried again (S26, no lock-outs)."""
        self._refused = Unauthorised(
            f"{self.url}: {why}",
            hint="It was tried once and is not tried again. Check the account and its password, or EXCISE_EWS_AUTH.",
        )
        return self._refused


def _limited(url: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """An answer, as it is after unpacking; one that has no end is given up before the disk is full (S27)."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _MOST:
            error = SourceUnavailable(f"{url}: an answer has more than {_MOST:,} bytes", hint="Is this Exchange?")
            raise _Trouble(error, passing=False, done=True)
        yield piece


class _TokenExpired(Exception):
    """The library saw by the clock that the token is not good any more; nothing was sent."""


@dataclass(slots=True)
class _Held:
    """``well``: the connection may be used again."""

    well: bool = False
