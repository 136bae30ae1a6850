"""Messages of an mbox that look alike are found again without reading all of them for each one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import pytest

from excise.mbox import scan
from excise.model.item import Target, Whereabouts
from excise.stores.mbox.index import Index, make_id, version_of
from excise.stores.mbox.mailbox import MboxMailbox

FROM = b"From - Mon Nov  2 10:00:00 2026\n"


class Counted:
    """Bytes as a buffer that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read = 0

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __getitem__(self, key: int | slice, /) -> int | bytes:
        found = self.data[key]
        self.read += len(found) if isinstance(found, bytes) else 1
        return found

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        return self.data.find(sub, start, end)


def message(number: int) -> bytes:
    return (
        FROM + b"From: a@b.c\nSubject: Invoice\nMessage-ID: <%d@x>\n\n" % number + b"A line of the body.\n" * 40 + b"\n"
    )


def versions(data: bytes) -> list[str]:
    return [version_of(data, entry) for entry in scan(data)]


ALIKE = [message(number) for number in range(300)]
EQUAL = [message(number // 100) for number in range(300)]


@pytest.mark.parametrize("messages", [ALIKE, EQUAL], ids=["one From_ line", "equal messages"])
def test_every_message_is_found_by_reading_the_file_a_few_times(messages: Sequence[bytes]) -> None:
    data = b"".join(messages)
    buffer, names = Counted(data), versions(data)
    index = Index(buffer)
    seen: dict[str, int] = {}
    starts = []
    for version in names:
        entry = index.at(version, seen.setdefault(version, 0))
        seen[version] += 1
        assert entry is not None
        starts.append(entry.start)
    assert starts == [sum(map(len, messages[:number])) for number in range(len(messages))]
    assert index.counts(set(names)) == seen
    assert [len(index.named(version)) for version in names] == [seen[version] for version in names]
    assert buffer.read < 6 * len(data)


def test_what_is_not_there_is_not_found() -> None:
    data = b"".join(ALIKE[:20])
    index, names = Index(data), versions(data)
    assert index.at(names[3], 1) is None
    assert index.at(names[3][:-1] + ("0" if names[3][-1] != "0" else "1"), 0) is None
    assert index.at("f" * 72, 0) is None
    assert index.at("no version", 0) is None
    assert index.named(names[3][:16] + "0" * 56) == []
    assert index.counts([names[0], "f" * 72, names[19]]) == {names[0]: 1, names[19]: 1}


def test_a_message_that_changed_since_is_not_the_one_that_was_named() -> None:
    data = bytearray(b"".join(EQUAL[:4]))
    buffer = Counted(bytes(data))
    index, (version, *_) = Index(buffer), versions(bytes(data))
    assert index.at(version, 2) is not None
    data[2 * len(EQUAL[0]) + 200] ^= 1
    buffer.data = bytes(data)
    assert index.at(version, 2) is None
    assert index.at(version, 3) is not None


def test_messages_with_one_from_line_are_fetched_and_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "box.mbox"
    path.write_bytes(b"".join([*ALIKE[:9], *EQUAL[:3]]))
    box = MboxMailbox(path, writable=False)
    targets = [Target(make_id(version, 0), version, "") for version in versions(path.read_bytes())]
    assert [box.fetch(target.id).content for target in targets[:9]] == [each[len(FROM) : -1] for each in ALIKE[:9]]
    assert set(box.look(targets).values()) == {Whereabouts.HERE}
    box.close()
