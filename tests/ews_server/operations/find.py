"""FindFolder and FindItem."""

from __future__ import annotations

from collections.abc import Iterable

from .. import paging
from ..call import Call
from ..model import Folder, Item
from ..properties import extended, field, folder_extended, folder_field
from ..restriction import Subject, check, matches
from ..rights import is_system, rights
from ..shapes import Rendering, Shape, extended_key, m_items, parse_shape
from ..soap import Element, EwsError, SoapFault, T, m, t
from .query import understood


def find_folder(call: Call) -> Element:
    """The folders below others, in the order of the tree."""
    shape = parse_shape(call.find("m:FolderShape"))
    asked = call.find("m:IndexedPageFolderView")
    page_view = asked if asked is not None else call.find("m:FractionalPageFolderView")
    traversal = call.body.get("Traversal", "Shallow")

    def answer(element: Element) -> Iterable[Element]:
        parent = call.folder(element)
        found = [folder for folder in _below(call, parent, traversal) if _folder_fits(call, folder)]
        page = paging.cut(found, page_view, 0, offset_always=call.quirks.offset_on_last_page)
        shown = [call.rendering(folder).folder(folder, shape) for folder in page.rows]
        yield m("RootFolder", None, t("Folders", None, *shown), **page.attributes)

    return call.response(call.each(call.all("m:ParentFolderIds/*"), answer))


def _below(call: Call, parent: Folder, traversal: str) -> list[Folder]:
    if traversal == "SoftDeleted":
        return []
    if parent.part == "public" and traversal == "Deep":
        raise EwsError("ErrorInvalidOperation", "Deep traversal is not allowed in public folders.")
    world = call.world
    found = world.below(parent) if traversal == "Deep" else (world.folders[number] for number in parent.children)
    return [folder for folder in found if "visible" in rights(world, call.actor, folder)]


def _folder_fits(call: Call, folder: Folder) -> bool:
    restriction = call.find("m:Restriction")
    if restriction is None or not call.quirks.honour_restrictions:
        return True
    subject = Subject(
        lambda uri: folder_field(call.world, folder, uri), lambda key: folder_extended(call.world, folder, key)
    )
    return matches(restriction[0], subject)


def find_item(call: Call) -> Element:
    """The items of folders that fulfil a restriction, page by page."""
    shape = parse_shape(call.find("m:ItemShape"))
    views = ("IndexedPageItemView", "FractionalPageItemView", "SeekToConditionPageItemView", "CalendarView")
    page_view = next((found for name in views if (found := call.find(f"m:{name}")) is not None), None)
    restricted = call.find("m:Restriction") is not None
    limit = call.quirks.restricted_page_limit if restricted else call.quirks.page_limit
    if restricted and call.text("m:QueryString"):
        raise EwsError("ErrorRestrictionTooComplex", "A query string and a restriction exclude each other.")

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element, "read")
        if is_system(call.world, folder):
            raise EwsError("ErrorAccessDenied", "Non-system logon cannot access Audits folder.")
        page = paging.cut(_found(call, folder), page_view, limit, offset_always=call.quirks.offset_on_last_page)
        yield _root(call, folder, page, shape)

    return call.response(call.each(call.all("m:ParentFolderIds/*"), answer))


def _root(call: Call, folder: Folder, page: paging.Page[Item], shape: Shape) -> Element:
    rendering = call.rendering(folder)
    root = m("RootFolder", **page.attributes)
    group_by = call.find("m:GroupBy")
    if group_by is not None:
        root.append(_groups(rendering, page.rows, group_by, shape))
        return root
    items = m_items(*(rendering.item(item, shape, cut=True) for item in page.rows))
    items.tag = f"{{{T}}}Items"
    root.append(items)
    if call.quirks.groups_beside_items:
        root.append(t("Groups"))
    return root


def _groups(rendering: Rendering, rows: Iterable[Item], group_by: Element, shape: Shape) -> Element:
    groups: dict[str, list[Item]] = {}
    for item in rows:
        groups.setdefault(str(field(item, group_by[0].get("FieldURI", ""))), []).append(item)
    made = t("Groups")
    for index, items in groups.items():
        shown = t("Items", None, *(rendering.item(item, shape, cut=True) for item in items))
        made.append(t("GroupedItems", None, t("GroupIndex", index), shown))
    return made


def _found(call: Call, folder: Folder) -> list[Item]:
    """The folder's items that the request asks for, in its order."""
    traversal = call.body.get("Traversal", "Shallow")
    if traversal == "SoftDeleted":
        return []
    if traversal not in ("Shallow", "Associated"):
        raise SoapFault("ErrorSchemaValidation", f"The traversal {traversal} is none of items.")
    found = [item for item in call.world.shown_in(folder) if item.associated == (traversal == "Associated")]
    restriction = call.find("m:Restriction")
    if restriction is not None and call.quirks.honour_restrictions:
        check(restriction[0], Subject(lambda _: None, lambda _: None, call.quirks.body_restrictions))
        found = [item for item in found if matches(restriction[0], _subject(call, item))]
    words = call.text("m:QueryString")
    if words and call.quirks.honour_query_strings:
        found = [item for item in found if understood(words, item)]
    return _sorted(call, found)


def _subject(call: Call, item: Item) -> Subject:
    return Subject(
        lambda uri: field(item, uri), lambda key: extended(call.world, item, key), call.quirks.body_restrictions
    )


def _sorted(call: Call, found: list[Item]) -> list[Item]:
    """By the request's SortOrder, else the newest first, as Exchange does."""
    orders = call.all("m:SortOrder/*")
    if not orders:
        return sorted(found, key=lambda item: (item.received, item.number), reverse=True)
    for order in reversed(orders):
        path = order[0]
        found = sorted(found, key=lambda item: _key(call, item, path), reverse=order.get("Order") == "Descending")
    return found


def _key(call: Call, item: Item, path: Element) -> tuple[bool, object]:
    if path.tag == f"{{{T}}}ExtendedFieldURI":
        value: object = (extended(call.world, item, extended_key(path)) or ("", ""))[1]
    else:
        value = field(item, path.get("FieldURI", ""))
    if value is None:
        return (False, "")
    return (True, value.casefold() if isinstance(value, str) else value)


OPERATIONS = {"FindFolder": find_folder, "FindItem": find_item}
