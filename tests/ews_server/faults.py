"""A script of faults: what goes wrong, at which request, and how often.

    server.faults.add(busy(5000, operation="DeleteItem"))            the next DeleteItem is told to wait 5 s
    server.faults.add(part("ErrorAccessDenied", place=1, operation="DeleteItem"))
    server.faults.add(Fault("drop_after", operation="UploadItems", after=2))   the third is done but never answered
    server.faults.add(Fault("cut", operation="FindItem", times=0))   every answer ends in its middle

Kinds, by when they strike:
  before acting   error (a SOAP fault with `code`), unauthorized, http (`status`), drop_before, die_before, slow
  at a part       part (that item is answered with `code`, untouched), part_after (acted on, but answered with
                  `code`), die_at (the process is killed before that item), die_past (after it)
  after acting    drop_after, die_after, cut (the connection ends in mid-body), cut_quietly (half a body as if it were
                  whole), truncated (export data end in Exchange's mark), fewer (a response message is missing), twice
                  (one comes twice), stray (the answer of another operation), undeclared (no XML declaration),
                  other_order (response messages come in reverse), desync (the connection's next request gets
                  an answer that nobody asked for)
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from .soap import EwsError

# The mailbox in whose name a request acts, and the one that it says it is about.
Mailboxes = tuple[str, ...]
BEFORE = ("error", "unauthorized", "http", "drop_before", "die_before", "slow")
PARTS = ("part", "part_after", "die_at", "die_past")
AFTER = (
    "drop_after", "die_after", "cut", "cut_quietly", "truncated", "fewer", "twice", "stray", "undeclared",
    "other_order", "desync",
)  # fmt: skip


@dataclass
class Fault:
    """One thing that goes wrong.

    It strikes requests of `operation` ("": any) for `mailbox` ("": any; the one that acts, or that X-AnchorMailbox
    names). It passes over the first `after` of them, strikes every `every`th, and `times` times (0: always). `place`
    is an item's place in its request, from 0; None strikes each. `item`: that one by its id (of a `part`).
    """

    kind: str
    operation: str = ""
    mailbox: str = ""
    after: int = 0
    every: int = 1
    times: int = 1
    place: int | None = None
    item: str = ""
    code: str = ""
    text: str = ""
    values: dict[str, str] = field(default_factory=dict)
    status: int = 503
    seconds: float = 0.0
    fraction: float = 0.5
    seen: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*BEFORE, *PARTS, *AFTER):
            raise ValueError(f"no such kind of fault: {self.kind}")

    def fits(self, operation: str, mailboxes: Mailboxes, place: int | None) -> bool:
        """Whether a request, or the item at this place in it, is one of those that it strikes."""
        if self.operation not in ("", operation) or self.mailbox.lower() not in ("", *mailboxes):
            return False
        return place is None or self.place in (None, place)

    def error(self) -> EwsError:
        """The error that it answers with."""
        return EwsError(self.code, self.text or f"{self.code} (as the fault script says)", self.values)


def busy(milliseconds: int, **where: object) -> Fault:
    """Throttling: ErrorServerBusy with the time to wait."""
    values = {"BackOffMilliseconds": str(milliseconds)}
    text = "The server cannot service this request right now. Try again later."
    return Fault("error", code="ErrorServerBusy", text=text, values=values, **where)  # type: ignore[arg-type]


def part_busy(milliseconds: int, **where: object) -> Fault:
    """ErrorServerBusy for one item in the midst of a batch."""
    values = {"BackOffMilliseconds": str(milliseconds)}
    return Fault("part", code="ErrorServerBusy", values=values, **where)  # type: ignore[arg-type]


def part(code: str, **where: object) -> Fault:
    """One item is answered with this code and left alone."""
    return Fault("part", code=code, **where)  # type: ignore[arg-type]


def quota_exceeded(**where: object) -> Fault:
    """What mass deletion meets when Recoverable Items are full."""
    values = {
        "InnerErrorMessageText": "Cannot delete the items: the quota of Recoverable Items is exceeded.",
        "InnerErrorResponseCode": "ErrorQuotaExceededOnDelete",
        "InnerErrorDescriptiveLinkKey": "0",
    }
    text = "An internal server error occurred. The operation failed."
    return Fault("part", code="ErrorInternalServerError", text=text, values=values, **where)  # type: ignore[arg-type]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FaultScript:
    """The faults of a server, asked at each point of a request. Safe between threads."""

    def __init__(self, commit: Callable[[], None] | None = None) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        # Called before the process dies, so that a state file has what was done until then.
        self.commit = commit or (lambda: None)

    def add(self, *faults: Fault) -> None:
        """Switch faults on."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def struck(self) -> int:
        """How often any fault struck: a test asserts that its fault did."""
        with self._lock:
            return sum(fault.struck for fault in self._faults)

    def dump(self) -> list[dict[str, object]]:
        """The faults as JSON would have them, with how often each struck."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def before(self, operation: str, mailboxes: Mailboxes) -> list[Fault]:
        """What strikes a request before it is acted on."""
        return self._take(BEFORE, operation, mailboxes, None)

    def after(self, operation: str, mailboxes: Mailboxes) -> list[Fault]:
        """What befalls the answer of a request that was acted on."""
        return self._take(AFTER, operation, mailboxes, None)

    def before_part(self, operation: str, place: int, mailboxes: Mailboxes, item: str) -> None:
        """Strike before an item is acted on: EwsError, or the end of the process."""
        for fault in self._take(("part", "die_at"), operation, mailboxes, place, item):
            if fault.kind == "die_at":
                self.die()
            raise fault.error()

    def after_part(self, operation: str, place: int, mailboxes: Mailboxes) -> EwsError | None:
        """Strike after an item was acted on: the error to answer with, or the end of the process."""
        for fault in self._take(("part_after", "die_past"), operation, mailboxes, place):
            if fault.kind == "die_past":
                self.die()
            return fault.error()
        return None

    def die(self) -> None:
        """Commit what was done, then end the process as a crash would."""
        self.commit()
        _kill()

    def _take(
        self, kinds: tuple[str, ...], operation: str, mailboxes: Mailboxes, place: int | None, item: str = ""
    ) -> list[Fault]:
        found = []
        with self._lock:
            for fault in self._faults:
                if fault.kind not in kinds or not fault.fits(operation, mailboxes, place):
                    continue
                if fault.item not in ("", item):
                    continue
                fault.seen += 1
                due = fault.seen > fault.after and (fault.seen - fault.after - 1) % fault.every == 0
                if due and (not fault.times or fault.struck < fault.times):
                    fault.struck += 1
                    found.append(fault)
        return found
