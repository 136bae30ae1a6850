"""The errors that reach a user, each with its exit status and a stable id.

Invariant: every error that Excise raises on purpose is an ``ExciseError``; its text names the place, what was
expected, what was found and what to do next. The exit statuses are those of the command-line reference.
"""

from __future__ import annotations

from collections.abc import Iterable


class ExciseError(Exception):
    """An error with a message for the user.

    ``message`` says what happened and where; ``hint`` says what to do next. ``error_id`` is stable across releases and
    listed in the reference; ``exit_code`` is the exit status of the command that it ends.
    """

    exit_code = 1
    error_id = "unexpected"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would call __init__ without its keywords and drop the hint.
        return (_rebuild, (type(self), self.args, self.__dict__))

    def text(self) -> str:
        """The message and, on a line of its own, the hint."""
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


def _rebuild(cls: type[ExciseError], args: tuple[object, ...], state: dict[str, object]) -> ExciseError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(ExciseError):
    """Wrong usage, profile or criteria."""

    exit_code = 2
    error_id = "usage"


class Refused(ExciseError):
    """Refused by a safety rule; ``rule`` is its number, as in ``S04``."""

    exit_code = 3
    error_id = "refused"

    def __init__(self, rule: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} (safety rule {rule})", hint=hint)
        self.rule = rule


class ConfirmationMissing(ExciseError):
    """A confirmation or an approval is missing, expired or does not fit."""

    exit_code = 4
    error_id = "confirmation-missing"


class DoesNotVerify(ExciseError):
    """Evidence, manifest or audit chain does not verify."""

    exit_code = 5
    error_id = "does-not-verify"


class SourceUnavailable(ExciseError):
    """A source or a mailbox could not be reached or opened."""

    exit_code = 6
    error_id = "source-unavailable"


class DamagedInput(ExciseError):
    """Damaged or unsupported input."""

    exit_code = 7
    error_id = "damaged-input"


class Held(ExciseError):
    """Removal is refused for a hold."""

    exit_code = 8
    error_id = "held"


class Unfinished(ExciseError):
    """Finished, but some items were skipped, changed, failed or unknown."""

    exit_code = 9
    error_id = "unfinished"


class Interrupted(ExciseError):
    """Stopped at a safe point by the user; the message says how to resume."""

    exit_code = 130
    error_id = "interrupted"


#: Where several statuses apply, the worst for the evidence wins: the first of these.
STATUS_ORDER = (5, 1, 9, 8, 6, 7, 4, 3, 2, 130, 0)


def worst_status(codes: Iterable[int]) -> int:
    """The exit status that stands for all of ``codes`` (0 where there are none)."""
    return min(codes, key=STATUS_ORDER.index, default=0)
