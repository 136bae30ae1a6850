"""The folders of one part of a mailbox, found by distinguished ids and never by their names.

Invariant: a folder that is there and cannot be listed is among ``problems``; nothing is passed over in silence. Search
folders are left out: they show what lies in other folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from excise.core.text import shown
from excise.store_api.protocols import Unreadable
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.bodies import STORE_RECORD_KEY, FolderRef, create_folder, extended, find_folder, get_folder
from excise.stores.ews.bodies import field as field_uri
from excise.stores.ews.place import Access, Part
from excise.stores.ews.server import OutcomeUnknown, refusal
from excise.stores.ews.soap import Answer, Element, children, find, find_all, local_name, text_at

FIELDS = (
    field_uri("folder:ParentFolderId"),
    field_uri("folder:DisplayName"),
    field_uri("folder:TotalCount"),
    field_uri("folder:ChildFolderCount"),
    field_uri("folder:FolderClass"),
)
_PAGE = 500
_DEPTH = 300
_TRIES = 4
#: Folders below one: Exchange allows far fewer, so that a list that is longer has no end.
_MOST = 1_000_000
#: Below these lies what is searched. Those of Recoverable Items have names in no language.
ROOTS = {
    Part.PRIMARY: ("msgfolderroot",),
    Part.ARCHIVE: ("archivemsgfolderroot",),
    Part.RECOVERABLE: (
        "recoverableitemsdeletions",
        "recoverableitemsversions",
        "recoverableitemspurges",
        "recoverableitemsdiscoveryholds",
    ),
    Part.PUBLIC: ("publicfoldersroot",),
}
_NAMES = {
    "recoverableitemsdeletions": "Deletions",
    "recoverableitemsversions": "Versions",
    "recoverableitemspurges": "Purges",
    "recoverableitemsdiscoveryholds": "DiscoveryHolds",
}
_BY_NAME = {name: distinguished for distinguished, name in _NAMES.items()}
_DUMPSTER = ("recoverableitemsdeletions", "recoverableitemspurges", "recoverableitemsdiscoveryholds")
#: Where removed items of a part go: trash, what can be recovered, what is kept for retention, and for holds.
_BINS = {
    Part.PRIMARY: ("deleteditems", *_DUMPSTER),
    Part.ARCHIVE: ("archivedeleteditems", *(f"archive{name}" for name in _DUMPSTER)),
    Part.RECOVERABLE: ("deleteditems", *_DUMPSTER),
    Part.PUBLIC: ("", "", "", ""),
}
#: Where copies are that an in-place hold keeps; the one thing that tells of a hold.
_KEPT = {
    Part.PRIMARY: "recoverableitemsdiscoveryholds",
    Part.RECOVERABLE: "recoverableitemsdiscoveryholds",
    Part.ARCHIVE: "archiverecoverableitemsdiscoveryholds",
}
_MAIN = {Part.PRIMARY: "inbox", Part.ARCHIVE: "archiveinbox"}
#: Where a delegate may have rights though the root is closed.
_SINGLE = (
    "inbox", "sentitems", "drafts", "deleteditems", "junkemail", "outbox", "calendar", "contacts", "tasks", "notes",
    "journal",
)  # fmt: skip
MAIN_FOLDER = "Inbox"


@dataclass(frozen=True, slots=True)
class FolderNode:
    """One folder: its id, its path, and how many items it says it holds."""

    id: str
    path: str
    count: int


@dataclass(slots=True)
class Bins:
    """Ids of the folders that removed items go to; empty where the part has none."""

    trash: str = ""
    recoverable: str = ""
    purges: str = ""
    holds: str = ""


#: Distinguished ids with what the server says of them.
Start = Mapping[str, Answer]


@dataclass(slots=True)
class FolderTree:
    """The folders of a part as they were when it was read."""

    identity: str
    nodes: dict[str, FolderNode] = field(default_factory=dict)
    bins: Bins = field(default_factory=Bins)
    problems: list[Unreadable] = field(default_factory=list)
    root: str = ""
    main: str = ""

    def __iter__(self) -> Iterator[FolderNode]:
        return iter(self.nodes.values())

    def at(self, path: str) -> FolderNode | None:
        """The first folder at ``path``; the main folder goes by ``MAIN_FOLDER`` in every language."""
        found = next((node for node in self if node.path == path), None)
        if found is None and path in ("", MAIN_FOLDER) and self.main in self.nodes:
            return self.nodes[self.main]
        return found

    def names(self, folder_id: str) -> tuple[str, ...]:
        """The paths by which ``at`` finds the folder: its own, and where it is the main one, ``MAIN_FOLDER``."""
        node = self.nodes[folder_id]
        return (node.path, MAIN_FOLDER) if self.at(MAIN_FOLDER) is node and node.path != MAIN_FOLDER else (node.path,)


def read_identity(account: Account) -> str:
    """What makes the mailbox the same one, read anew (S30): its GUID, else its root folder's id."""
    return _identity(_ask(account, [ref(account, ROOTS[account.place.part][0])])[0], account)


def read_probe(account: Account) -> tuple[str, int]:
    """The identity, and how many items its DiscoveryHolds has; 0 too where that folder is closed or there is none."""
    part = account.place.part
    names = [ROOTS[part][0], *([_KEPT[part]] if part in _KEPT else [])]
    first, *kept = _ask(account, [ref(account, name) for name in names])
    return _identity(first, account), sum(_count(folder_of(answer)) for answer in kept if answer.ok)


def read_start(account: Account) -> Start:
    """The folders that a tree begins with: its roots, the bins and the main folder."""
    part = account.place.part
    wanted = list(dict.fromkeys(name for name in (*ROOTS[part], *_BINS[part], _MAIN.get(part, "")) if name))
    return dict(zip(wanted, _ask(account, [ref(account, name) for name in wanted]), strict=True))


def identity_of(start: Start, account: Account) -> str:
    """What makes the mailbox the same one, as ``start`` tells; an ExciseError where its root cannot be opened."""
    return _identity(start[ROOTS[account.place.part][0]], account)


def read_tree(account: Account, start: Start | None = None) -> FolderTree:
    """Every folder of the part; an ExciseError where its root cannot be opened. ``start``: where it was just read."""
    part = account.place.part
    roots, bins = ROOTS[part], _BINS[part]
    answers = start or read_start(account)
    first = answers[roots[0]]
    if first.code == "ErrorAccessDenied" and account.access is Access.DELEGATE and part is Part.PRIMARY:
        return _single_folders(account, first)
    tree = FolderTree(_identity(first, account))
    tree.bins = Bins(*(_id_of(answers[name]) if name else "" for name in bins))
    tree.main = _id_of(answers[_MAIN[part]]) if part in _MAIN else ""
    for name in roots:
        _add_root(account, tree, name, answers[name])
    return tree


def _add_root(account: Account, tree: FolderTree, name: str, answer: Answer) -> None:
    if not answer.ok:
        if answer.code not in codes.NO_FOLDER:
            tree.problems.append(Unreadable(f"the folder {name}", str(answer), _NAMES.get(name, "")))
        return
    root = folder_of(answer)
    root_id = _id(root)
    path = _NAMES.get(name, "")
    tree.root = tree.root or root_id
    # Items may lie in the root itself: it goes by its own name, which is no part of the paths below it.
    tree.nodes[root_id] = FolderNode(root_id, path or _part(text_at(root, "DisplayName") or name), _count(root))
    if path and text_at(root, "ChildFolderCount") == "0":
        return
    if account.place.part is Part.PUBLIC:
        _walk_levels(account, tree, root_id)
    else:
        _add_below(tree, root_id, path, list(find_below(account, root_id, deep=True)))


def _single_folders(account: Account, denied: Answer) -> FolderTree:
    """What a delegate may see of a mailbox whose root is closed."""
    answers = _ask(account, [ref(account, name) for name in _SINGLE])
    opened = [(name, answer) for name, answer in zip(_SINGLE, answers, strict=True) if answer.ok]
    if not opened:
        raise refusal(account.place.name, denied.code, denied.text)
    tree = FolderTree(_identity(opened[0][1], account))
    tree.problems.append(Unreadable("the other folders of the mailbox", str(denied)))
    for name, answer in opened:
        folder = folder_of(answer)
        node = FolderNode(_id(folder), _part(text_at(folder, "DisplayName") or name), _count(folder))
        tree.nodes[node.id] = node
        tree.main = node.id if name == "inbox" else tree.main
        tree.bins.trash = node.id if name == "deleteditems" else tree.bins.trash
        if text_at(folder, "ChildFolderCount") not in (None, "0"):
            _add_below(tree, node.id, node.path, list(find_below(account, node.id, deep=True)))
    return tree


def _walk_levels(account: Account, tree: FolderTree, root_id: str) -> None:
    """Public folders are listed level by level: the server refuses to do it at once."""
    pending = [(root_id, "", 0)]
    while pending:
        parent, path, depth = pending.pop(0)
        for folder in find_below(account, parent, deep=False):
            node = FolderNode(_id(folder), _join(path, folder), _count(folder))
            if node.id in tree.nodes:
                continue
            tree.nodes[node.id] = node
            if depth > _DEPTH:
                tree.problems.append(
                    Unreadable(f"folders below {shown(node.path, 80)}", "they are too deep", node.path)
                )
            elif text_at(folder, "ChildFolderCount") != "0":
                pending.append((node.id, node.path, depth + 1))


def _add_below(tree: FolderTree, root_id: str, root_path: str, found: list[Element]) -> None:
    """Add ``found``, whose paths follow from their parents'."""
    by_id = {_id(folder): folder for folder in found}
    paths = {root_id: root_path}

    def path_of(folder_id: str) -> str:
        chain: list[str] = []
        while folder_id not in paths and len(chain) < _DEPTH and folder_id in by_id and folder_id not in chain:
            chain.append(folder_id)
            folder_id = _parent(by_id[folder_id])
        base = paths.get(folder_id, root_path)
        for one in reversed(chain):
            base = paths[one] = _join(base, by_id[one])
        return base

    for folder_id, folder in by_id.items():
        if local_name(folder) != "SearchFolder" and folder_id:
            tree.nodes[folder_id] = FolderNode(folder_id, path_of(folder_id), _count(folder))


def find_below(account: Account, parent: str, *, deep: bool, fields: Sequence[str] = FIELDS) -> Iterator[Element]:
    """The folders below ``parent``, page by page, each with ``fields``."""
    offset, last = 0, False
    seen: set[str] = set()
    while not last:
        body = find_folder(FolderRef(parent), fields, deep=deep, offset=offset, count=_PAGE)
        answer = account.call("FindFolder", body, expected=1).answers[0]
        if not answer.ok:
            raise refusal(account.place.name, answer.code, answer.text)
        page = find(answer.element, "m:RootFolder")
        folders = [] if page is None else list(children(find(page, "Folders")))
        new = [folder for folder in folders if _id(folder) not in seen]
        seen.update(map(_id, new))
        if len(seen) > _MOST:
            raise refusal(account.place.name, "a list of folders without an end", f"more than {_MOST:,}")
        yield from new
        offset += len(folders)
        last = page is None or page.get("IncludesLastItemInRange") == "true" or not new


def make_folder(account: Account, tree: FolderTree, path: str) -> FolderNode:
    """The folder at ``path``, made where it is missing; a ValueError for a path that no folder can have."""
    found = tree.at(path)
    if found is not None:
        return found
    parts = path.split("/")
    if len(parts) > 60 or not all(map(_may_be_a_name, parts)):
        raise ValueError(f"no folder can be called {shown(path, 80)!r}")
    parent = tree.root
    for depth, part in enumerate(parts, 1):
        here = "/".join(parts[:depth])
        node = next((one for one in tree if one.path == here), None)
        if node is None:
            node = FolderNode(_made(account, parent, part.replace("%2F", "/")), here, 0)
            tree.nodes[node.id] = node
        parent = node.id
    return tree.nodes[parent]


def _made(account: Account, parent: str, name: str) -> str:
    if not parent:
        raise ValueError("this mailbox's root is closed to us, so no folder can be made in it")
    why = ""
    for _ in range(_TRIES):
        try:
            reply = account.call("CreateFolder", create_folder(FolderRef(parent), name), expected=1, acts=True)
        except OutcomeUnknown as unknown:
            why = str(unknown)
        else:
            [answer] = reply.answers
            if answer.ok:
                return _id(folder_of(answer))
            if answer.code != "ErrorFolderExists":
                raise refusal(account.place.name, answer.code, answer.text)
            why = str(answer)
        # It is there already, or was made and nobody heard of it: there is never a second one of a name.
        for folder in find_below(account, parent, deep=False):
            if text_at(folder, "DisplayName") == name:
                return _id(folder)
    raise refusal(account.place.name, "a folder that cannot be made", why)


def _may_be_a_name(part: str) -> bool:
    return 0 < len(part) <= 255 and part.isprintable() and part.strip() == part


def _ask(account: Account, folders: Sequence[FolderRef]) -> Sequence[Answer]:
    fields = (*FIELDS, extended(STORE_RECORD_KEY))
    answers = ask_folders(account, folders, fields)
    if _are_mixed([folder.distinguished.removeprefix("archive") for folder in folders], answers):
        # Each by itself: an answer in the place of another one would make one folder of the other.
        answers = [ask_folders(account, [folder], fields)[0] for folder in folders]
    return answers


def _are_mixed(wanted: Sequence[str], answers: Sequence[Answer]) -> bool:
    """True where an answer is surely not the one to the distinguished id in whose place it stands.

    Answers do not repeat those ids. A folder that tells another one of ``wanted`` is in the wrong place, and so is a
    first one (the root) that lies in one of the others.
    """
    others = {_id_of(answer) for answer in answers[1:]}
    if answers[0].ok and _parent(folder_of(answers[0])) in others - {"", _id_of(answers[0])}:
        return True
    told = map(_told, answers)
    return any(name in wanted and name != own for own, name in zip(wanted, told, strict=True))


def _told(answer: Answer) -> str:
    """The distinguished id by which an answer calls its folder, or which its name is; empty where it does not tell."""
    if not answer.ok:
        return ""
    folder = folder_of(answer)
    named = (text_at(folder, "DistinguishedFolderId") or "").removeprefix("archive")
    return named or _BY_NAME.get(text_at(folder, "DisplayName") or "", "")


def ask_folders(account: Account, folders: Sequence[FolderRef], fields: Sequence[str]) -> Sequence[Answer]:
    """One answer for each of ``folders``, with ``fields``."""
    return account.call("GetFolder", get_folder(folders, fields), expected=len(folders)).answers


def main_folder(part: Part) -> str:
    """The distinguished id of the folder that whoever may open anything of a part may open: a delegate may have no
    rights on the root."""
    return _MAIN.get(part, ROOTS[part][0])


def ref(account: Account, name: str) -> FolderRef:
    """The folder with the distinguished id ``name``."""
    return FolderRef(distinguished=name, owner=account.folder_owner)


def _identity(answer: Answer, account: Account) -> str:
    if not answer.ok:
        raise refusal(account.place.name, answer.code, answer.text)
    folder = folder_of(answer)
    for one in find_all(folder, "ExtendedProperty"):
        value = text_at(one, "Value")
        if value:
            return f"{value}:{account.place.part}"
    return f"{_id(folder)}:{account.place.part}"


def folder_of(answer: Answer) -> Element:
    """The folder in an answer that is well."""
    found = next(children(find(answer.element, "m:Folders")), None)
    if found is None or not _id(found):
        raise refusal("the server", "an answer without a folder", "")
    return found


def _id_of(answer: Answer) -> str:
    return _id(folder_of(answer)) if answer.ok else ""


def _id(folder: Element) -> str:
    found = find(folder, "FolderId")
    return "" if found is None else str(found.get("Id", ""))


def _parent(folder: Element) -> str:
    found = find(folder, "ParentFolderId")
    return "" if found is None else str(found.get("Id", ""))


def _count(folder: Element) -> int:
    told = text_at(folder, "TotalCount") or ""
    return int(told) if told.isascii() and told.isdigit() and len(told) < 12 else 0


def _join(path: str, folder: Element) -> str:
    part = _part(text_at(folder, "DisplayName") or "")
    return f"{path}/{part}" if path else part


def _part(name: str) -> str:
    return name.replace("/", "%2F") or "%20"
