"""New messages and folders in the two maps of a store that name them: the message index and the id map.

Neither is described in [MS-PST]; their layout is that of files which Outlook wrote. A map that a file does not use, or
that cannot be read, is left as it is: Outlook makes it anew.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from struct import Struct

from excise.pst.disk import ids
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.heaps import CLIENT_ID_MAP, CLIENT_MESSAGE_INDEX
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_table import NewCell
from excise.pst.ltp.rebuild import HeapMap, Keep
from excise.pst.messaging.create_index import index_key
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.write_types import Sink, SubnodeEntry

_ROOT = Struct("<III")
_BY_CONVERSATION = 1
_REPLICA_SIZE = 24
_ITEM_ID, _CHANGE_NUMBER, _VERSION_HISTORY = 0x0E300102, 0x0E330014, 0x0E340102


class IndexAdditions:
    """Messages that come into the index by conversation.

    It says up to which NID it is complete. Where it is not, messages are left to Outlook, which adds all above that.
    """

    def __init__(self, ndb: NodeDatabase, highest_message: int) -> None:
        self._map = _read(ndb, ids.NID_MESSAGE_INDEX, CLIENT_MESSAGE_INDEX, 4)
        self._new: defaultdict[int, list[int]] = defaultdict(list)
        self._highest = highest_message
        if self._map is not None:
            root = self._map.root
            kind, highest = _ROOT.unpack_from(root)[1:] if len(root) >= _ROOT.size else (0, 0)
            if kind != _BY_CONVERSATION or highest_message > highest:
                self._map = None

    def add(self, conversation: bytes | None, nid: int) -> None:
        """Enter the message ``nid``, of a ``conversation`` or of none."""
        self._highest = max(self._highest, nid)
        if conversation is not None:
            self._new[index_key(conversation)].append(nid)

    @property
    def changed(self) -> bool:
        """True where the index is to be written."""
        return self._map is not None and bool(self._new)

    def rebuild(self, sink: Sink, keep: Keep) -> Built:
        """Write the index with what was added."""
        assert self._map is not None  # noqa: S101 - it is to be written
        root = self._map.root
        fresh = replace(self._map, root=root[:8] + self._highest.to_bytes(4, "little") + root[12:])
        return fresh.rebuild(sink, keep, list(self._records(self._map, keep)))

    def _records(self, index: HeapMap, keep: Keep) -> Iterator[tuple[bytes, bytes | SubnodeEntry]]:
        stored = {int.from_bytes(key, "little"): hnid for key, hnid in index.records}
        for key in sorted(stored.keys() | self._new.keys()):
            new = b"".join(nid.to_bytes(4, "little") for nid in self._new.get(key, ()))
            packed = key.to_bytes(4, "little")
            if not new:
                yield packed, index.kept(keep, stored[key])
            else:
                yield packed, (index.heap.value(stored[key]) if key in stored else b"") + new


class IdMapAdditions:
    """Messages and folders that get an id of their own, in a file that has given some already."""

    def __init__(self, ndb: NodeDatabase, replica: bytes) -> None:
        """``replica``: PidTagReplVersionhistory of the store."""
        found = _read(ndb, ids.NID_ID_MAP, CLIENT_ID_MAP, 16)
        self._map = found if found is not None and found.records and len(replica) == _REPLICA_SIZE else None
        self._replica = replica[:-4] + (1).to_bytes(4, "little")
        self._new: dict[bytes, int] = {}

    def cells(self, nid: int, unique: int) -> Mapping[int, NewCell]:
        """An id for ``nid`` and what goes with it, for its row; ``unique`` is a number that no row has yet."""
        if self._map is None:
            return {}
        key = secrets.token_bytes(16)
        self._new[key] = nid
        return {_ITEM_ID: key, _CHANGE_NUMBER: unique.to_bytes(8, "little"), _VERSION_HISTORY: self._replica}

    @property
    def changed(self) -> bool:
        """True where the map is to be written."""
        return bool(self._new)

    def keep_only(self, nids: set[int]) -> None:
        """Forget what is not among ``nids`` of those that got an id."""
        self._new = {key: nid for key, nid in self._new.items() if nid in nids}

    @property
    def nids(self) -> set[int]:
        """Those that got an id."""
        return set(self._new.values())

    def rebuild(self, sink: Sink, keep: Keep) -> Built:
        """Write the map with what was added."""
        assert self._map is not None  # noqa: S101 - ids were given
        return self._map.rebuild(sink, keep, sorted([*self._map.records, *self._new.items()]))


def _read(ndb: NodeDatabase, nid: int, client: int, cb_key: int) -> HeapMap | None:
    node = ndb.node(nid, DamageLog())
    if node is None or not node.bid_data:
        return None
    with suppress(Damaged):  # what cannot be read stays as it is, and nothing of it is lost
        return HeapMap.read(node, client, cb_key)
    return None
