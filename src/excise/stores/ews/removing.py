"""Removing items, each re-read right before it goes (S13, S16), and where they are afterwards (S20).

No outcome is guessed: every item has its own answer, and where a request got none, the item is looked for before
anything is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from excise.core.errors import ExciseError
from excise.model.item import Disposal, Outcome, Removal, Target, Whereabouts
from excise.stores.ews import bodies, codes
from excise.stores.ews.account import Account
from excise.stores.ews.item import VERSION_FIELDS, EwsItem
from excise.stores.ews.listing import is_item_id, item_of, read_items
from excise.stores.ews.server import OutcomeUnknown
from excise.stores.ews.soap import Answer
from excise.stores.ews.tree import FolderNode, FolderTree
from excise.stores.ews.versions import Copy, Versions

_BATCH = 50
_ROUNDS = 4
_TYPES = {Disposal.TRASH: "MoveToDeletedItems", Disposal.SOFT: "SoftDelete", Disposal.HARD: "HardDelete"}
_STALE = frozenset({"ErrorStaleObject", "ErrorIrresolvableConflict", "ErrorChangeKeyRequired", "ErrorInvalidChangeKey"})
_LOST = {
    Whereabouts.ABSENT: Outcome.ALREADY_ABSENT,
    Whereabouts.CHANGED: Outcome.CHANGED,
    Whereabouts.UNKNOWN: Outcome.UNKNOWN,
}
_PLACES = {
    Disposal.TRASH: Whereabouts.IN_TRASH,
    Disposal.SOFT: Whereabouts.RECOVERABLE,
    Disposal.HARD: Whereabouts.ABSENT,
}


class Removing:
    """Removals from one opened mailbox; it remembers what lay in the bins before, to tell twins apart."""

    def __init__(self, account: Account, versions: Versions) -> None:
        """Nothing is removed yet."""
        self._account, self._versions = account, versions
        self._before: dict[str, frozenset[str]] = {}
        self._planned: set[str] = set()

    def remove(self, tree: FolderTree, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove ``targets``, in batches; one answer each."""
        self._planned.update(target.id for target in targets)
        for start in range(0, len(targets), _BATCH):
            yield from self._batch(tree, targets[start : start + _BATCH], disposal)

    def _batch(self, tree: FolderTree, targets: Sequence[Target], disposal: Disposal) -> list[Removal]:
        done: dict[str, Removal] = {}
        sent: set[str] = set()
        left = list(targets)
        for _ in range(_ROUNDS):
            ready = self._ready(tree, left, disposal, done, sent)
            left = self._delete(tree, ready, disposal, done, sent)
            if not left:
                break
        for target, _ in self._ready(tree, left, disposal, done, sent):
            done[target.id] = Removal(target.id, Outcome.FAILED, "the server did not remove it, asked several times")
        if disposal is Disposal.HARD:
            self._tell_kept(tree, targets, done)
        return [done[target.id] for target in targets]

    def _ready(
        self, tree: FolderTree, targets: Sequence[Target], disposal: Disposal, done: dict[str, Removal], sent: set[str]
    ) -> list[tuple[Target, EwsItem]]:
        """Read each target again; those that are as planned. What became of the others goes into ``done``."""
        ready, lost = [], []
        for target, found in _read(self._account, tree, targets):
            if isinstance(found, EwsItem) and found.version == target.version:
                self._versions.saw(found)
                why = _refused(tree, found, disposal)
                if why:
                    done[target.id] = Removal(target.id, Outcome.REFUSED, why)
                else:
                    ready.append((target, found))
            elif isinstance(found, EwsItem):
                done[target.id] = Removal(target.id, Outcome.CHANGED, "its fingerprint is not the planned one")
            elif found is None or found.code in codes.GONE:
                lost.append(target)
            else:
                done[target.id] = _unread(target, found, sent=target.id in sent)
        places = self.look(tree, lambda: tree, lost) if lost else {}
        for target in lost:
            done[target.id] = _lost(target, places[target.id], disposal, sent=target.id in sent)
        return ready

    def _delete(
        self,
        tree: FolderTree,
        ready: Sequence[tuple[Target, EwsItem]],
        disposal: Disposal,
        done: dict[str, Removal],
        sent: set[str],
    ) -> list[Target]:
        """Remove what is ready; the targets of which nobody knows whether they are gone."""
        if not ready:
            return []
        self._note_bins(tree, [target for target, _ in ready])
        keys = {item.id: item.change_key for _, item in ready}
        how = _TYPES[disposal]
        sent.update(target.id for target, _ in ready)
        try:
            answers = self._account.each(
                "DeleteItem", list(keys), lambda ids: bodies.delete_item(ids, how, keys), acts=True
            )
        except OutcomeUnknown:
            return [target for target, _ in ready]
        except ExciseError as error:
            why = error.message + (f" ({error.hint})" if error.hint else "")
            done.update((t.id, Removal(t.id, Outcome.FAILED, why)) for t, _ in ready)
            return []
        again = []
        for target, item in ready:
            answer = answers[target.id]
            if answer.ok:
                done[target.id] = Removal(target.id, Outcome.REMOVED)
            elif answer.code in codes.GONE or answer.code in _STALE or answer.code in codes.PASSING:
                # What ran out of time may have been done, and what did not may be done now: it is read again first.
                again.append(target)
            else:
                kept = answer.code == "ErrorCannotDeleteObject" and item.parent in _dumpster(tree)
                done[target.id] = _failed(target, answer, held=kept)
        return again

    def _note_bins(self, tree: FolderTree, targets: Sequence[Target]) -> None:
        """Remember which items of the targets' versions lie in the bins already: those are not ours."""
        there: dict[str, set[str]] = {}
        for copy in self._versions.find(_bins(tree), {target.version for target in targets}):
            there.setdefault(copy.version, set()).add(copy.id)
        for target in targets:
            self._before.setdefault(target.id, frozenset(there.get(target.version, ())))

    def _tell_kept(self, tree: FolderTree, targets: Sequence[Target], done: dict[str, Removal]) -> None:
        """Say where the server keeps what was removed for good."""
        gone = [target for target in targets if done[target.id].outcome is Outcome.REMOVED]
        removed = {target.version for target in gone}
        purges = [node for node in _bins(tree) if node.id in (tree.bins.purges, tree.bins.holds)]
        if not removed or not purges:
            return
        kept: dict[str, set[str]] = {}
        try:
            for copy in self._versions.find(purges, removed):
                kept.setdefault(copy.version, set()).add(copy.id)
        except ExciseError as error:
            detail = f"whether the server keeps it in Recoverable Items cannot be seen: {error.message}"
            done.update((one.id, Removal(one.id, Outcome.REMOVED, detail)) for one in gone)
            return
        for target in targets:
            if done[target.id].outcome is Outcome.REMOVED and kept.get(target.version, set()) - self._known(target):
                detail = "kept by the server in Recoverable Items (Purges) until retention and holds end"
                done[target.id] = Removal(target.id, Outcome.REMOVED, detail)

    def look(
        self, tree: FolderTree, refresh: Callable[[], FolderTree], targets: Sequence[Target]
    ) -> dict[str, Whereabouts]:
        """Where each target is now; UNKNOWN where that cannot be seen. ``refresh`` reads the folders anew."""
        self._planned.update(target.id for target in targets)
        places: dict[str, Whereabouts] = {}
        lost: list[Target] = []
        for target, found in _read(self._account, tree, targets):
            if isinstance(found, EwsItem):
                places[target.id] = _place(tree, found, target)
            elif found is None or found.code in codes.GONE:
                lost.append(target)
            else:
                places[target.id] = Whereabouts.UNKNOWN
        if lost:
            places |= self._look_in(tree, _bins(tree), lost)
            # What we removed ourselves was moved by nobody: an equal message elsewhere is another one.
            left = [target for target in lost if target.id not in places and target.id not in self._before]
            if left:
                tree = refresh()
                places |= self._look_in(tree, [node for node in tree if node.id not in _bin_ids(tree)], left)
            places = {target.id: places.get(target.id, Whereabouts.ABSENT) for target in targets}
        return places

    def _look_in(
        self, tree: FolderTree, nodes: Sequence[FolderNode], targets: Sequence[Target]
    ) -> dict[str, Whereabouts]:
        """Where those of ``targets`` are whose version is found in ``nodes``; their ids are gone."""
        try:
            copies = list(self._versions.find(nodes, {target.version for target in targets}))
        except ExciseError:
            return dict.fromkeys((target.id for target in targets), Whereabouts.UNKNOWN)
        places: dict[str, Whereabouts] = {}
        for target in targets:
            found = _best(tree, [c for c in copies if c.version == target.version], self._known(target), target)
            if found is not None:
                places[target.id] = found
        return places

    def _known(self, target: Target) -> frozenset[str]:
        """Copies that are surely not ``target``: what lay in the bins before, and its equals among the targets."""
        return self._before.get(target.id, frozenset()) | self._planned


def _read(
    account: Account, tree: FolderTree, targets: Sequence[Target]
) -> Iterator[tuple[Target, EwsItem | Answer | None]]:
    """Each target as it is now; the server's refusal, or None for an id that cannot be one."""
    known = [target for target in dict.fromkeys(targets) if is_item_id(target.id)]
    for start in range(0, len(known), _BATCH):
        batch = known[start : start + _BATCH]
        answers = read_items(account, [target.id for target in batch], VERSION_FIELDS)
        for target in batch:
            answer = answers[target.id]
            item = item_of(answer, "")
            if item is not None and item.parent in tree.nodes:
                item.folder = tree.nodes[item.parent].path
            yield target, item or answer
    yield from ((target, None) for target in dict.fromkeys(targets) if not is_item_id(target.id))


def _place(tree: FolderTree, item: EwsItem, target: Target) -> Whereabouts:
    """Where an item is that still has its id (some servers keep it when the item moves)."""
    if item.version != target.version:
        return Whereabouts.CHANGED
    if item.parent in tree.nodes and target.folder in ("", *tree.names(item.parent)):
        return Whereabouts.HERE
    return _bin_of(tree, item.parent) or (Whereabouts.ELSEWHERE if item.parent in tree.nodes else Whereabouts.ABSENT)


def _best(tree: FolderTree, copies: Iterable[Copy], known: frozenset[str], target: Target) -> Whereabouts | None:
    """Where of several copies the target is taken to be: trash, recoverable, elsewhere, gone for good."""
    found = []
    for copy in copies:
        if copy.id in known:
            continue
        node = tree.nodes.get(copy.folder_id)
        if copy.folder_id in _bin_ids(tree):
            found.append(_bin_of(tree, copy.folder_id))
        elif node is not None and node.path != target.folder:
            found.append(Whereabouts.ELSEWHERE)
    order = (Whereabouts.RECOVERABLE, Whereabouts.IN_TRASH, Whereabouts.ELSEWHERE, Whereabouts.ABSENT)
    return next((place for place in order if place in found), None)


def _bin_of(tree: FolderTree, folder_id: str) -> Whereabouts | None:
    bins = tree.bins
    if not folder_id:
        return None
    if folder_id == bins.trash:
        return Whereabouts.IN_TRASH
    if folder_id == bins.recoverable:
        return Whereabouts.RECOVERABLE
    return Whereabouts.ABSENT if folder_id in (bins.purges, bins.holds) else None


def _bin_ids(tree: FolderTree) -> frozenset[str]:
    bins = tree.bins
    return frozenset(one for one in (bins.trash, bins.recoverable, bins.purges, bins.holds) if one)


def _dumpster(tree: FolderTree) -> frozenset[str]:
    return _bin_ids(tree) - {tree.bins.trash}


def _bins(tree: FolderTree) -> list[FolderNode]:
    return [tree.nodes.get(one) or FolderNode(one, "", 0) for one in sorted(_bin_ids(tree))]


def _refused(tree: FolderTree, item: EwsItem, disposal: Disposal) -> str:
    """Why this disposal makes no sense for an item that lies where it does."""
    if item.parent not in tree.nodes:
        return "it lies in another part of the mailbox"
    if disposal is Disposal.TRASH and item.parent == tree.bins.trash:
        return "it lies in the trash already"
    if disposal is not Disposal.HARD and item.parent in _dumpster(tree):
        return "it lies in Recoverable Items already: only --disposal hard takes it further"
    return ""


def _lost(target: Target, place: Whereabouts, disposal: Disposal, *, sent: bool) -> Removal:
    """The outcome for a target that is not there; ``sent``: we asked for its removal and got no answer."""
    if sent and place is _PLACES[disposal]:
        return Removal(target.id, Outcome.REMOVED, "the server's answer was lost; it was looked for and is gone")
    return Removal(target.id, _LOST.get(place, Outcome.MOVED_ELSEWHERE))


def _unread(target: Target, answer: Answer, *, sent: bool) -> Removal:
    """The outcome for a target that cannot be read; once its removal was asked for, nobody knows what became of it."""
    failed = _failed(target, answer)
    return Removal(target.id, Outcome.UNKNOWN, failed.detail) if sent else failed


def _failed(target: Target, answer: Answer, *, held: bool = False) -> Removal:
    hint = codes.hint_for(answer.code)
    outcome = Outcome.HELD if held or answer.code in codes.HELD else Outcome.FAILED
    return Removal(target.id, outcome, f"{answer}" + (f" ({hint})" if hint else ""))
