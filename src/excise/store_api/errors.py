"""The errors that are part of a store's contract; each store translates its library's exceptions into these."""

from __future__ import annotations

from excise.core.errors import DamagedInput, ExciseError, SourceUnavailable, UsageError


class ItemNotFound(ExciseError):
    """The item is not there (any more)."""

    exit_code = 9
    error_id = "item-not-found"


class ItemChanged(ExciseError):
    """The item is there, but its fingerprint is not the one that was seen (S06)."""

    exit_code = 9
    error_id = "item-changed"


class ItemDamaged(DamagedInput):
    """The item cannot be read whole: it must not be removed."""

    error_id = "item-damaged"


class MailboxChanged(SourceUnavailable):
    """The mailbox is not the same one as planned (S30), or changed while it was read."""

    error_id = "mailbox-changed"


class MailboxBusy(SourceUnavailable):
    """Somebody else holds the mailbox."""

    error_id = "mailbox-busy"


class Throttled(SourceUnavailable):
    """The server asks for a pause of ``delay`` seconds."""

    error_id = "throttled"

    def __init__(self, message: str, *, delay: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.delay = delay


class Unauthorised(SourceUnavailable):
    """No right to do this here."""

    error_id = "unauthorised"


class Unsupported(UsageError):
    """This store cannot do what was asked of it."""

    error_id = "unsupported"
