"""What a server has seen and said, for tests to assert on."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """A request that came: for tests to assert on. `complaints` is what breaks Microsoft's schemas in it."""

    operation: str
    user: str
    actor: str
    anchor: str
    size: int
    complaints: tuple[str, ...] = ()


@dataclass
class Log:
    """What a server has seen and said. `peak` is how many requests it was at work on at the same time."""

    requests: list[Request] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    answers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    working: int = 0
    peak: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def complaints(self) -> list[str]:
        """All that broke the schemas, in requests and in answers."""
        with self.lock:
            found = [f"{request.operation}: {text}" for request in self.requests for text in request.complaints]
            return found + self.answers

    def per_mailbox(self) -> dict[str, Counter[str]]:
        """How many requests of each operation there were for each mailbox (that acts, or that the request names)."""
        found: dict[str, Counter[str]] = {}
        with self.lock:
            for request in self.requests:
                found.setdefault(request.anchor.lower() or request.actor, Counter())[request.operation] += 1
        return found

    def begin(self) -> None:
        """A request is being worked on."""
        with self.lock:
            self.working += 1
            self.peak = max(self.peak, self.working)

    def end(self) -> None:
        """A request's answer is about to leave, so that its client may send another."""
        with self.lock:
            self.working -= 1

    def clear(self) -> None:
        """Forget what was seen, so that a test counts from here."""
        with self.lock:
            self.requests.clear()
            self.count.clear()
            self.answers.clear()
            self.refused = self.peak = 0
