"""Whether libpff, which shares no code with Excise, finds all items of a new PST file, each in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from excise.case.pst_held import Unreadable, reading
from excise.core.files import open_nofollow
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_NORMAL_FOLDER, NID_TYPE_NORMAL_MESSAGE, nid_type

_ITEMS = (NID_TYPE_NORMAL_MESSAGE, NID_TYPE_ASSOC_MESSAGE)
_DEEPEST = 300


def what_libpff_misses(path: Path, kept: Mapping[int, tuple[str, ...]]) -> str:
    """What differs from ``kept``: the folder of each item by NID, as names below the root; empty where nothing does."""
    import pypff

    left = dict(kept)
    handle = pypff.file()
    with os.fdopen(open_nofollow(path), "rb") as stream:
        try:
            with reading():
                handle.open_file_object(stream)
            for nid, place in _items(handle.get_root_folder()):
                if left.pop(nid, None) != place:
                    return f"item {nid:#x} in {place}, by libpff"
        except Unreadable as error:
            return str(error)
        finally:
            handle.close()
    return f"no item {next(iter(left)):#x}, by libpff" if left else ""


def _items(root: Any) -> Iterator[tuple[int, tuple[str, ...]]]:
    """NID and folder of each item whose properties can be read."""
    import pypff

    stack: list[tuple[Any, tuple[str, ...]]] = [(root, ())]
    while stack:
        folder, place = stack.pop()
        with reading():
            nodes = [folder.get_sub_item(at) for at in range(folder.number_of_sub_items)]
        for node in nodes:
            with reading():
                nid = node.identifier
                if nid_type(nid) == NID_TYPE_NORMAL_FOLDER and len(place) < _DEEPEST:
                    if not isinstance(node, pypff.folder):
                        raise ValueError(f"node {nid:#x} is no folder")
                    stack.append((node, (*place, node.name or "")))
                elif nid_type(nid) in _ITEMS:
                    if not node.get_record_set(0).number_of_entries:
                        raise ValueError(f"item {nid:#x} has no properties")
                    yield nid, place
