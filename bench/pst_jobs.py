"""What pst_made.py measures, each job in a process of its own: it prints its seconds and peak memory as JSON.

    python bench/pst_jobs.py JOB ARGUMENT…

The seconds are of the work alone, without the start of Python, its imports and the making of what is written.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from make_pst import Mails
from measure import clock, peak_mb

import excise.pst

Result = dict[str, Any]


def export_excise(source: str, target: str) -> Result:
    """Every message to an .eml file of its own, rebuilt with all of its properties by ``excise.mapi.to_mime``."""
    from excise.mapi.to_mime import to_mime
    from excise.stores.pst_file import PstFile
    from excise.stores.pst_item import PstItem

    passed, count = clock(), 0
    file = PstFile(Path(source))
    for at, folder in enumerate(file.reader.folders()):
        place = Path(target, str(at))
        place.mkdir()
        for nid in folder.message_nids:
            item = PstItem(file, nid)
            if problems := item.read_whole():
                raise SystemExit(f"{source}: {problems}")
            (place / f"{nid}.eml").write_bytes(to_mime(item).data)
            count += 1
    file.close()
    return {**passed(), "count": count}


def export_pypff(source: str, target: str) -> Result:
    """Headers and plain text of every message, and its attachments, to files of their own, by pypff."""
    import pypff

    def walk(folder: Any) -> Iterator[Any]:
        for number in range(folder.number_of_sub_messages):
            yield folder.get_sub_message(number)
        for number in range(folder.number_of_sub_folders):
            yield from walk(folder.get_sub_folder(number))

    passed, count = clock(), 0
    file = pypff.file()
    file.open(source)
    for message in walk(file.get_root_folder()):
        Path(target, f"{message.identifier}.txt").write_bytes(
            (message.transport_headers or "").encode() + (message.plain_text_body or b"")
        )
        for number, one in enumerate(message.attachments):
            Path(target, f"{message.identifier}-{number}").write_bytes(one.read_buffer(one.size))
        count += 1
    file.close()
    return {**passed(), "count": count}


def write(target: str, count: str, attached: str) -> Result:
    """``count`` small messages, each with an attachment of ``attached`` bytes (0: none), to a new file, synced."""
    size = int(attached)
    mails = Mails(int(count), size=800)
    numbers, spent = iter(range(int(count))), Counter[str]()
    with excise.pst.create(target) as new:
        inbox = new.folder(("Inbox",))
        while batch := [mails.message(number, size) for number in islice(numbers, 64)]:
            passed = clock()
            for message in batch:
                inbox.add(message)
            spent.update(passed())
        passed = clock()
    spent.update(passed())
    return {**spent, "count": int(count), "bytes": Path(target).stat().st_size}


def purge(path: str, share: str) -> Result:
    """One message in ``share`` removed from the file, in place."""
    with excise.pst.open(path) as pst:
        nids = sorted(nid for folder in pst.folders() for nid in folder.message_nids)[:: int(share)]
    os.sync()
    passed = clock()
    excise.pst.purge(path, nids)
    return {**passed(), "count": len(nids)}


JOBS: dict[str, Callable[..., Result]] = {
    "export_excise": export_excise, "export_pypff": export_pypff, "write": write, "purge": purge,
}  # fmt: skip


def main() -> None:
    """Run one job."""
    found = JOBS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({**found, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
