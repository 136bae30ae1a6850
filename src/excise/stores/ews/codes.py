"""What the response codes of Exchange Web Services mean for us ([MS-OXWSCDATA] 2.2.5.24), and what to tell people.

A code that is not listed is named as it stands and never retried.
"""

from __future__ import annotations

OK = "NoError"
BUSY = "ErrorServerBusy"
#: Ours: what was answered is about something else than what was asked.
OTHER_ITEM = "an answer about another item"

#: The item is not there under this id.
GONE = frozenset(
    {
        "ErrorItemNotFound",
        "ErrorInvalidId",
        "ErrorInvalidIdMalformed",
        "ErrorInvalidIdEmpty",
        "ErrorInvalidIdTooLong",
        "ErrorInvalidIdMalformedEwsLegacyIdFormat",
        "ErrorMessageNotFound",
    }
)
NO_FOLDER = frozenset({"ErrorFolderNotFound", "ErrorNoPublicFolderServerAvailable", "ErrorItemNotFound"})
#: It may work a little later, and nothing was done: what only reads is asked for again.
PASSING = frozenset(
    {
        BUSY,
        "ErrorBatchProcessingStopped",
        "ErrorConnectionFailedTransientError",
        "ErrorInternalServerTransientError",
        "ErrorMailboxMoveInProgress",
        "ErrorMailboxStoreUnavailable",
        "ErrorExceededConnectionCount",
        "ErrorTimeoutExpired",
        "ErrorInsufficientResources",
    }
)
DENIED = frozenset(
    {
        "ErrorAccessDenied",
        "ErrorImpersonateUserDenied",
        "ErrorImpersonationDenied",
        "ErrorImpersonationFailed",
        "ErrorNotDelegate",
        "ErrorPublicFolderRequestProcessingFailed",
    }
)
NO_MAILBOX = frozenset(
    {"ErrorNonExistentMailbox", "ErrorCannotFindUser", "ErrorMailboxNotFound", "ErrorNonPrimarySmtpAddress"}
)
#: A hold, or a quota of Recoverable Items that a hold has filled, keeps the item.
HELD = frozenset({"ErrorQuotaExceededOnDelete", "ErrorDumpsterQuotaExceeded", "ErrorItemOnHold"})
NO_MIME = frozenset(
    {"ErrorMimeContentConversionFailed", "ErrorUnsupportedMimeConversion", "ErrorContentConversionFailed"}
)
#: The restriction is not one that this server knows: ask without it.
NO_RESTRICTION = frozenset(
    {
        "ErrorInvalidRestriction",
        "ErrorUnsupportedPathForQuery",
        "ErrorRestrictionTooLong",
        "ErrorRestrictionTooComplex",
        "ErrorUnsupportedQueryFilter",
    }
)
#: The server has no such operation, or keeps it from us.
NO_EXPORT = frozenset(
    {
        "ErrorInvalidOperation",
        "ErrorExportItemsNotSupported",
        "ErrorInvalidRequest",
        "ErrorAccessDenied",
        "ErrorUnsupportedTypeForConversion",
        "ErrorCorruptData",
        "ErrorInvalidServerVersion",
        "Client",
        "Server",
    }
)

_HINTS = {
    "ErrorImpersonateUserDenied": "Grant the role ApplicationImpersonation over this mailbox, or open it with the "
    "rights of a delegate: EXCISE_EWS_ACCESS=delegate (docs/guide/exchange.md).",
    "ErrorAccessDenied": "Grant the account full access to this mailbox, or the role ApplicationImpersonation "
    "(docs/guide/exchange.md).",
    "ErrorNonExistentMailbox": "Check the address: the server knows no mailbox of that name. The members of "
    "a distribution list are meant with --directory ews://HOST beside it.",
    "ErrorNonPrimarySmtpAddress": "Give the mailbox's primary address.",
    "ErrorMailboxMoveInProgress": "Try again when the mailbox has been moved.",
    "ErrorMailboxStoreUnavailable": "Its database is not mounted, or fails over: try again later.",
    "ErrorQuotaExceededOnDelete": "Recoverable Items is full, mostly for a hold: raise its quota or release the hold.",
    "ErrorCannotDeleteObject": "The server lets nobody remove it where it lies: for a hold, or for what it is.",
    "ErrorItemOnHold": "A hold keeps it: release the hold first.",
    BUSY: "The server throttles the account: try again later, or with fewer --jobs.",
}
_SAME = {
    "ErrorImpersonationDenied": "ErrorImpersonateUserDenied",
    "ErrorImpersonationFailed": "ErrorImpersonateUserDenied",
    "ErrorCannotFindUser": "ErrorNonExistentMailbox",
    "ErrorMailboxNotFound": "ErrorNonExistentMailbox",
    "ErrorDumpsterQuotaExceeded": "ErrorQuotaExceededOnDelete",
    "ErrorNotDelegate": "ErrorAccessDenied",
}


def hint_for(code: str) -> str | None:
    """What to do about ``code``, where it is known."""
    return _HINTS.get(_SAME.get(code, code))
