"""ResolveNames, ExpandDL, FindPeople: the address book."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from .. import paging
from ..call import Call
from ..mime import Address
from ..shapes import mailbox_element
from ..soap import Element, EwsError, T, error_message, flag, m, message, t

_MOST = 100  # ResolveNames gives no more candidates than these, and has no pages


@dataclass(frozen=True)
class Entry:
    """Somebody or some list in the address book."""

    name: str
    address: str
    kind: str
    hidden: bool
    others: tuple[str, ...] = ()


def entries(call: Call) -> list[Entry]:
    """The address book, by name."""
    world = call.world
    found = [
        Entry(box.name, box.address, "Mailbox", box.hidden, (*box.aliases, box.legacy_dn.lower()))
        for box in world.mailboxes.values()
        if box.kind == "mailbox"
    ]
    found += [Entry(group.name, group.address, "PublicDL", group.hidden) for group in world.lists.values()]
    return sorted(found, key=lambda entry: (entry.name.casefold(), entry.address))


def resolve_names(call: Call) -> Element:
    """Who is meant by the beginning of a name, an address, or a legacy DN."""
    wanted = call.text("m:UnresolvedEntry").casefold().removeprefix("smtp:")
    full = call.body.get("ReturnFullContactData") in ("true", "1")
    found = [entry for entry in entries(call) if _resolves(entry, wanted)]
    if not found:
        error = EwsError("ErrorNameResolutionNoResults", "No results were found.")
        return call.response([error_message(call.operation, error)])
    shown = found[:_MOST]
    resolutions = m(
        "ResolutionSet",
        None,
        *(_resolution(entry, full) for entry in shown),
        TotalItemsInView=str(len(shown)),
        IncludesLastItemInRange=flag(len(found) <= _MOST),
    )
    if len(found) == 1:
        return call.response([message(call.operation, resolutions)])
    error = EwsError("ErrorNameResolutionMultipleResults", "Multiple results were found.")
    warning = error_message(call.operation, error, resolutions)
    warning.set("ResponseClass", "Warning")
    return call.response([warning])


def _resolves(entry: Entry, wanted: str) -> bool:
    if wanted in entry.others or wanted == entry.address:
        return True
    if entry.hidden:
        return False
    words = (entry.name.casefold(), *entry.name.casefold().split(), entry.address)
    return any(word.startswith(wanted) for word in words)


def _resolution(entry: Entry, full: bool) -> Element:
    parts = [mailbox_element(Address(entry.name, entry.address), entry.kind)]
    if full and entry.kind == "Mailbox":
        name = t("CompleteName", None, t("FullName", entry.name))
        parts.append(t("Contact", None, t("DisplayName", entry.name), name, t("ContactSource", "ActiveDirectory")))
    return t("Resolution", None, *parts)


def expand_dl(call: Call) -> Element:
    """The members of a list, one level of them: lists in lists are for the client to expand."""
    address = call.text("m:Mailbox/t:EmailAddress").lower()
    group = call.world.lists.get(address)
    if group is None or group.hidden:
        error = EwsError("ErrorNameResolutionNoResults", "No results were found.")
        return call.response([error_message(call.operation, error)])
    known = {entry.address: entry for entry in entries(call)}
    members = [_member(known.get(member.lower()), member) for member in group.members]
    given = members[: call.quirks.most_members or None]
    whole = flag(len(given) == len(members))
    expansion = m("DLExpansion", None, *given, TotalItemsInView=str(len(members)), IncludesLastItemInRange=whole)
    return call.response([message(call.operation, expansion)])


def _member(entry: Entry | None, address: str) -> Element:
    if entry is None:
        return mailbox_element(Address("", address), "OneOff")
    return mailbox_element(Address(entry.name, entry.address), entry.kind)


def find_people(call: Call) -> Element:
    """The address list page by page, by the beginnings of words; hidden ones are not in it."""
    words = call.text("m:QueryString").casefold()
    found = [entry for entry in entries(call) if not entry.hidden and (not words or _resolves(entry, words))]
    view = call.find("m:IndexedPageItemView")
    page = paging.cut(found[: call.quirks.most_people or None], view, _MOST)
    first = view.get("Offset", "0") if view is not None else "0"
    return m(
        "FindPeopleResponse",
        None,
        m("ResponseCode", "NoError"),
        m("People", None, *(_persona(entry) for entry in page.rows)),
        m("TotalNumberOfPeopleInView", str(len(found))),
        m("FirstMatchingRowIndex", first),
        m("FirstLoadedRowIndex", first),
        ResponseClass="Success",
    )


def _persona(entry: Entry) -> Element:
    address = mailbox_element(Address(entry.name, entry.address), entry.kind)
    address.tag = f"{{{T}}}EmailAddress"
    return t(
        "Persona",
        None,
        t("PersonaId", Id=base64.b64encode(entry.address.encode()).decode("ascii")),
        t("PersonaType", "DistributionList" if entry.kind == "PublicDL" else "Person"),
        t("DisplayName", entry.name),
        address,
        t("RelevanceScore", "2147483647"),
    )


OPERATIONS = {"ResolveNames": resolve_names, "ExpandDL": expand_dl, "FindPeople": find_people}
