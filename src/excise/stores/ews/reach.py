"""How far an account's rights reach: one GetFolder a mailbox, which opens no message."""

from __future__ import annotations

from collections.abc import Sequence

from excise.core.errors import ExciseError
from excise.store_api.errors import Unauthorised
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.bodies import field
from excise.stores.ews.place import Access
from excise.stores.ews.server import Refusal
from excise.stores.ews.soap import Answer, text_at
from excise.stores.ews.tree import ask_folders, folder_of, main_folder, ref

#: Canaries that are tried; each costs every account a request.
MOST_CANARIES = 3
_FIELDS = (field("folder:EffectiveRights"),)
_CHANGING = {"CreateContents": "put messages into", "Modify": "change messages in", "Delete": "remove messages from"}
_CLOSED = codes.DENIED | {"ErrorItemNotFound", "ErrorFolderNotFound"}


def try_account(account: Account) -> str:
    """Log in; an ExciseError where that fails. Why the account may not open the mailbox; empty where it may."""
    try:
        answer = _look(account)
    except (Refusal, Unauthorised) as refused:
        if not account.server.proved:
            raise
        return refused.message
    return "" if answer.ok else f"{account.place.name}: {answer}"


def beyond(account: Account, who: str, canary: str) -> str:
    """What is to be said of ``who`` trying the mailbox ``canary``, which lies outside the scope; empty where it is
    closed to them."""
    try:
        answer = _look(account)
    except ExciseError as error:
        code = error.code if isinstance(error, Refusal) else ""
        said, closed = error.message, isinstance(error, Unauthorised)
    else:
        code, said, closed = answer.code, str(answer), answer.code in _CLOSED
    if closed:
        return "" if account.server.proved else f"whether {who} may open {canary} could not be seen: {said}"
    if code == codes.OK:
        return f"{who} may also open {canary}, which is outside the scope: these rights reach further than this work"
    return f"whether {who} may open {canary} could not be seen: {said}"


def needless(account: Account, who: str) -> str:
    """What ``who``, who only finds and copies, may change in a mailbox all the same; empty where it is nothing."""
    try:
        answer = _look(account)
    except ExciseError as error:
        return f"what {who} may do in {account.place.name} could not be seen: {error.message}"
    if not answer.ok:
        return f"what {who} may do in {account.place.name} could not be seen: {answer}"
    folder = folder_of(answer)
    rights = [words for name, words in _CHANGING.items() if text_at(folder, f"EffectiveRights/{name}") == "true"]
    if not rights:
        return ""
    why = (
        "impersonation has all of an owner's rights"
        if account.access is Access.IMPERSONATION
        else "a reader needs less"
    )
    return f"{who}, who only finds and copies, may also {', '.join(rights)} {account.place.name}: {why}"


def choose_canaries(canaries: Sequence[str], scope: Sequence[str]) -> tuple[list[str], list[str]]:
    """The canaries that are tried, and what is to be said of the others: they are no test of anything."""
    inside = {address.casefold() for address in scope}
    outside = [one for one in dict.fromkeys(canaries) if one.casefold() not in inside]
    said = [f"the canary {one} is in the scope, so that it tells nothing" for one in canaries if one not in outside]
    left = outside[MOST_CANARIES:]
    said += [f"{len(left)} canaries were not tried: the first {MOST_CANARIES} are"] if left else []
    return outside[:MOST_CANARIES], said


def _look(account: Account) -> Answer:
    return ask_folders(account, [ref(account, main_folder(account.place.part))], _FIELDS)[0]
