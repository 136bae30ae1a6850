"""The mbox store under the conformance suite, and what is particular to it."""

from __future__ import annotations

import bz2
import errno
import gzip
import itertools
import lzma
import mailbox
import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excise import mbox as mbox_format
from excise.core.errors import DamagedInput, ExciseError, Refused, SourceUnavailable
from excise.model.item import Deposit, Disposal, Outcome, Target, Whereabouts
from excise.store_api.conformance import StoreConformance, seeds
from excise.store_api.conformance.base import everything, matcher, search
from excise.store_api.discovery import find_mailboxes
from excise.store_api.errors import MailboxChanged, Unsupported
from excise.store_api.protocols import MailboxInfo, NotSearched, Tally, Unreadable
from excise.stores.mbox import STORE, MboxMailbox
from excise.stores.mbox.source import Source

START = datetime(2026, 2, 2, 10, 0, 0, tzinfo=UTC)


def from_line(when: datetime | None) -> bytes:
    return b"From ann@example.com " + (when or START).strftime("%a %b %e %H:%M:%S %Y").encode("ascii")


def with_flags(content: bytes, flags: frozenset[str]) -> bytes:
    head, blank, body = content.partition(b"\n\n")
    return head + b"\n" + mbox_format.flag_fields(flags).rstrip(b"\n") + blank + body if flags else content


def write_mbox(path: Path, deposits: Sequence[Deposit]) -> Path:
    """An mbox, not written by the store under test."""
    path.write_bytes(
        b"".join(from_line(d.delivered) + b"\n" + with_flags(d.content, d.flags) + b"\n" for d in deposits)
    )
    return path


class TestMboxConformance(StoreConformance):
    store = STORE
    main_folder = ""
    other_folder = None
    twins_keep_ids = False
    kept_flags = frozenset({"seen", "answered", "flagged", "draft", "deleted", "forwarded", "work"})

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path
        self.numbers = itertools.count()

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        directory = self.place / f"spool-{next(self.numbers)}"
        directory.mkdir()
        (directory / "bob").write_bytes(b"canary")
        return f"mbox:{write_mbox(directory / 'ann', messages)}"

    def path(self, locator: str) -> Path:
        return Path(locator.partition(":")[2])

    def deliver(self, locator: str, content: bytes) -> None:
        box = mailbox.mbox(str(self.path(locator)), create=False)
        box.lock()
        box.add(mailbox.mboxMessage(content))
        box.close()

    def _edit(self, locator: str, item_id: str, old: bytes, new: bytes) -> None:
        path = self.path(locator)
        data = path.read_bytes()
        with Source(path) as source:
            for entry in mbox_format.scan(source.view):
                print_ = mbox_format.fingerprint(source.view, entry)
                if print_ in item_id:
                    part = data[entry.start : entry.end].replace(old, new, 1)
                    path.write_bytes(data[: entry.start] + part + data[entry.end :])
                    return
        raise AssertionError(item_id)

    def tamper(self, locator: str, item_id: str) -> None:
        self._edit(locator, item_id, b"\n\n", b"\n\nMore.\n")

    def change_flags(self, locator: str, item_id: str) -> None:
        self._edit(locator, item_id, b"\nSubject:", b"\nStatus: RO\nX-Status: F\nX-UID: 12\nSubject:")

    def replace_mailbox(self, locator: str) -> None:
        path = self.path(locator)
        path.rename(path.with_name("aside"))
        write_mbox(path, seeds(self.main_folder, self.other_folder))


def opened(path: Path, *, writable: bool = True) -> MboxMailbox:
    return MboxMailbox(path, writable=writable)


def targets_of(box: MboxMailbox) -> list[Target]:
    return search(box, everything())


def remove(path: Path, wanted: Sequence[int]) -> list[Outcome]:
    """Remove the messages with these places in the file; their outcomes."""
    box = opened(path)
    try:
        found = targets_of(box)
        return [answer.outcome for answer in box.remove([found[n] for n in wanted], Disposal.HARD)]
    finally:
        box.close()


lines = st.sampled_from(
    [b"", b"text", b"From here on", b">From x", b">>From y", from_line(None), b"\xff\x00", b"Subject: x", b"--b", b"."]
)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """An mbox of any variant, perhaps with junk before and no newline after, and where its messages stand in it."""
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    variant = draw(st.sampled_from(["rd", "cl", "cl2"]))
    data = draw(st.sampled_from([b"", b"junk" + newline * 2])) if variant == "rd" else b""
    places = []
    count = draw(st.integers(1, 6))
    for _ in range(count):
        body = newline.join([*draw(st.lists(lines, max_size=6)), b"end", b""])
        if variant != "cl2":
            body = mbox_format.quote_mboxrd(body)
        head = [b"Subject: %d" % draw(st.integers(0, 2)), b"Status: O"]
        if variant != "rd":
            head.append(b"Content-Length: %d" % len(body))
        start = len(data)
        data += from_line(START + timedelta(seconds=draw(st.integers(0, 1)))) + newline
        data += newline.join([*head, b"", body]) + newline
        places.append((start, len(data)))
    if variant == "rd" and draw(st.booleans()):
        data = data.rstrip(b"\r\n")
        places[-1] = (places[-1][0], len(data))
    return data, places


@given(files(), st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_s18_any_subset_goes_and_every_other_byte_stays(
    tmp_path: Path, made: tuple[bytes, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """For every variant, line end, junk and subset (equal messages are interchangeable: they are equal bytes)."""
    content, places = made
    path = tmp_path / "box"
    path.write_bytes(content)
    wanted = data.draw(st.lists(st.integers(0, len(places) - 1), unique=True, min_size=1))
    box = opened(path)
    found = targets_of(box)
    assert len(found) == len(places)
    outcomes = {answer.outcome for answer in box.remove([found[n] for n in wanted], Disposal.HARD)}
    box.close()
    assert outcomes == {Outcome.REMOVED}
    keep = [n for n in range(len(places)) if n not in wanted]
    begin = content[: places[0][0]]
    assert path.read_bytes() == begin + b"".join(content[slice(*places[n])] for n in keep)
    assert [p.name for p in tmp_path.iterdir()] == ["box"]


@given(files())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_s21_what_was_removed_comes_back(tmp_path: Path, made: tuple[bytes, list[tuple[int, int]]]) -> None:
    """All removed and put back: the same messages, byte for byte, each as often as before."""
    content, _ = made
    path = tmp_path / "box"
    path.write_bytes(content)
    box = opened(path)
    items = [box.fetch(target.id) for target in targets_of(box)]
    list(box.remove(targets_of(box), Disposal.HARD))
    placed = list(box.put([Deposit(i.content, "", i.flags, i.delivered, i.attributes) for i in items]))
    assert [p.outcome for p in placed] == [Outcome.RESTORED] * len(items)
    again = [box.fetch(target.id) for target in targets_of(box)]
    assert [i.content.rstrip() for i in again] == [i.content.rstrip() for i in items] or any(
        b"\nFrom " in i.content for i in items
    )
    assert sorted(i.attributes["from_line"] for i in again) == sorted(i.attributes["from_line"] for i in items)
    assert [p.id for p in placed] == [i.id for i in again]
    box.close()


def simple(path: Path, count: int = 3) -> Path:
    return write_mbox(path, [Deposit(b"Subject: s%d\n\nbody %d\n" % (n, n)) for n in range(count)])


def test_s19_owner_mode_and_attributes_are_kept(tmp_path: Path) -> None:
    """The new file is the old one's likeness, but for its inode and its time."""
    path = simple(tmp_path / "ann")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    os.setxattr(path, "user.note", b"keep me")
    os.utime(path, (1, 1))
    before = path.stat()
    assert remove(path, [1]) == [Outcome.REMOVED]
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert os.getxattr(path, "user.note") == b"keep me"
    assert after.st_ino != before.st_ino
    assert after.st_mtime > before.st_mtime + 1000


def test_s30_the_identity_is_handed_on_but_not_to_copies(tmp_path: Path) -> None:
    """After two removals it is still the same mailbox; a copy with all attributes is another one."""
    path = simple(tmp_path / "ann", 4)
    first = opened(path).info.identity
    remove(path, [0])
    remove(path, [0])
    assert opened(path).info.identity == first
    copy = tmp_path / "copy"
    shutil.copy2(path, copy)
    assert os.listxattr(copy) == os.listxattr(path)
    assert opened(copy).info.identity != first
    assert len(find_mailboxes([str(tmp_path)]).mailboxes) == 2


def test_s19_symbolic_and_hard_links(tmp_path: Path) -> None:
    """A link is resolved once, when the mailbox is listed; opening through one is refused, and so is a second name."""
    path = simple(tmp_path / "ann")
    link = tmp_path / "link"
    link.symlink_to(path)
    (info,) = STORE.mailboxes(f"mbox:{link}")
    assert isinstance(info, MailboxInfo)
    assert info.locator == f"mbox:{path}"
    with pytest.raises(SourceUnavailable, match="link"):
        opened(link)
    os.link(path, tmp_path / "second")
    before = path.read_bytes()
    with pytest.raises(Refused, match="hard links"):
        remove(path, [0])
    assert path.read_bytes() == before
    box = opened(path)
    with pytest.raises(Refused, match="hard links"):
        list(box.put([Deposit(b"Subject: x\n\nx\n")]))


def test_s19_what_was_appended_since_is_kept(tmp_path: Path) -> None:
    """Mail that comes between search and removal moves no offset that matters."""
    path = simple(tmp_path / "ann")
    box = opened(path)
    found = targets_of(box)
    with path.open("ab") as stream:
        stream.write(from_line(None) + b"\nSubject: late\n\nlate\n\n")
    assert [a.outcome for a in box.remove(found[:1], Disposal.HARD)] == [Outcome.REMOVED]
    assert path.read_bytes().count(b"Subject: ") == 3
    assert b"Subject: late" in path.read_bytes()


def test_a_message_in_doubt_is_found_and_not_removed(tmp_path: Path) -> None:
    """It is shown with the reason; removal refuses it and does the rest."""
    path = tmp_path / "ann"
    line = from_line(None)
    path.write_bytes(b"%s\nSubject: a\n\nx\n%s\nSubject: b\n\ny\n\n%s\nSubject: c\n\nz\n" % (line, line, line))
    before = path.read_bytes()
    box = opened(path)
    found = list(box.find(everything(), Tally()))
    assert [bool(one.doubt) for one in found if not isinstance(one, Unreadable)] == [True, True, False]
    outcomes = [answer.outcome for answer in box.remove(targets_of(box), Disposal.HARD)]
    assert outcomes == [Outcome.REFUSED, Outcome.REFUSED, Outcome.REMOVED]
    assert path.read_bytes() == before[: before.rindex(line)]


def test_folder_data_is_no_message_and_stays(tmp_path: Path) -> None:
    """The pseudo message of UW imapd and Alpine is never an item."""
    path = tmp_path / "ann"
    pseudo = from_line(None) + b"\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n\n"
    path.write_bytes(pseudo + from_line(None) + b"\nSubject: a\n\nx\n\n")
    box = opened(path)
    assert [f.count for f in box.folders()] == [1]
    assert len(targets_of(box)) == 1
    list(box.remove(targets_of(box), Disposal.HARD))
    assert path.read_bytes() == pseudo


def test_s18_the_folder_s_data_stays_where_its_message_goes(tmp_path: Path) -> None:
    """X-IMAPbase moves to the message that will be the first; nothing else changes, and no fingerprint does."""
    path = tmp_path / "ann"
    line = from_line(None) + b"\n"
    base = b"X-IMAPbase: 1795507381 0000000004 work\n"
    messages = [b"Subject: s%d\nX-UID: %d\n\nbody\n\n" % (n, n) for n in range(4)]
    messages[1] = messages[1].replace(b"X-UID", b"Content-Length: 5\nX-UID")
    path.write_bytes(line + messages[0].replace(b"X-UID", base + b"X-UID") + b"".join(line + m for m in messages[1:]))
    box = opened(path)
    found = targets_of(box)
    list(box.remove([found[0], found[1], found[3]], Disposal.HARD))
    assert path.read_bytes() == line + base + messages[2]
    assert targets_of(box)[0].version == found[2].version
    list(box.remove(found[2:3], Disposal.HARD))
    assert path.read_bytes() == b""


def test_s13_the_quoting_is_told_with_each_message(tmp_path: Path) -> None:
    """As far as it shows: the restore, and whoever reads the evidence, need it."""
    path = tmp_path / "ann"
    line = from_line(None) + b"\n"
    bodies = {"mboxo or mboxrd": b">From x\n", "mboxrd": b">>From x\n", "unknown": b"\nFrom x\n"}
    path.write_bytes(b"".join(line + b"Subject: x\n\n" + body + b"\n" for body in bodies.values()))
    box = opened(path)
    assert [box.fetch(target.id).attributes["quoting"] for target in targets_of(box)] == list(bodies)
    counted = {"mboxcl2": b"From x\n", "mboxcl": b">From x\n"}
    path.write_bytes(
        b"".join(line + b"Subject: x\nContent-Length: %d\n\n%s\n" % (len(body), body) for body in counted.values())
    )
    assert [box.fetch(target.id).attributes["quoting"] for target in targets_of(box)] == list(counted)


def test_junk_before_the_first_message_is_reported(tmp_path: Path) -> None:
    """It is counted and named, and search goes on."""
    path = tmp_path / "ann"
    path.write_bytes(b"junk\n\n" + from_line(None) + b"\nSubject: a\n\nx\n\n")
    tally = Tally()
    found = list(opened(path).find(everything(), tally))
    assert isinstance(found[0], Unreadable)
    assert "6 bytes" in found[0].reason
    assert tally.seen == len(found) == 2


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_mailbox_is_read_and_not_changed(tmp_path: Path, compress) -> None:
    """Search and fetch work; removal is refused in words; a damaged one is an error."""
    plain = simple(tmp_path / "plain")
    path = tmp_path / "box"
    path.write_bytes(compress(plain.read_bytes()))
    assert STORE.claims(path, path.read_bytes()[:4096])
    box = opened(path)
    found = [one for one in box.find(everything(), Tally()) if not isinstance(one, Unreadable)]
    assert len(found) == 3
    assert all("compressed" in one.doubt for one in found)
    assert box.fetch(found[1].id).content == b"Subject: s1\n\nbody 1\n"
    with pytest.raises(Unsupported, match="compressed"):
        box.remove([Target(found[0].id, found[0].version)], Disposal.HARD)
    box.close()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedInput, match="damaged"):
        opened(path)


def test_s03_in_a_directory_only_mboxes_are_taken(tmp_path: Path) -> None:
    """Not patches, locks, private or empty files; an empty file that is named is an empty mailbox."""
    simple(tmp_path / "sub" if (tmp_path / "sub").mkdir() else tmp_path / "sub" / "ann")
    simple(tmp_path / "bob")
    simple(tmp_path / ".bob.excise-new")
    simple(tmp_path / "bob.lock")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "prose").write_bytes(b"From here on there is nothing.\n")
    (tmp_path / "patch").write_bytes(
        b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\nFrom: Ann\nSubject: [PATCH] x\n\nx\n"
    )
    listed = [info.name for info in STORE.mailboxes(f"mbox:{tmp_path}")]
    assert listed == [str(tmp_path / "bob"), str(tmp_path / "sub" / "ann")]
    assert [info.name for info in STORE.mailboxes(f"mbox:{tmp_path / 'empty'}")] == [str(tmp_path / "empty")]
    assert targets_of(opened(tmp_path / "empty")) == []
    with pytest.raises(DamagedInput, match="no From_ line"):
        opened(tmp_path / "prose")
    (refused,) = STORE.mailboxes(f"mbox:{tmp_path / 'patch'}")
    assert isinstance(refused, NotSearched)


def test_a_small_mailbox_is_read_as_it_was_at_one_moment(tmp_path: Path) -> None:
    """A rewrite in the middle of a search does not show."""
    path = simple(tmp_path / "ann", 50)
    found = opened(path).find(everything(), Tally())
    next(found)
    path.write_bytes(b"")
    assert len(list(found)) == 49


def test_a_rewrite_during_a_search_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large mailbox that another program rewrites while it is read is an error, never a short list."""
    monkeypatch.setattr("excise.stores.mbox.source.SNAPSHOT_MAX", 100)
    path = simple(tmp_path / "ann", 50)
    box = opened(path)
    found = box.find(everything(), Tally())
    next(found)
    path.write_bytes(path.read_bytes()[200:])
    with pytest.raises(MailboxChanged):
        list(found)


@pytest.mark.parametrize("snapshot", [100, 1 << 24])
def test_growth_during_a_search_is_none_of_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot: int
) -> None:
    """New mail is not seen, and no error."""
    monkeypatch.setattr("excise.stores.mbox.source.SNAPSHOT_MAX", snapshot)
    path = simple(tmp_path / "ann", 5)
    found = opened(path).find(everything(), Tally())
    next(found)
    with path.open("ab") as stream:
        stream.write(from_line(None) + b"\nSubject: late\n\nlate\n\n")
    assert len(list(found)) == 4


def test_a_missing_mailbox_is_made_again(tmp_path: Path) -> None:
    """Put makes the file; nothing else does."""
    path = tmp_path / "ann"
    with pytest.raises(SourceUnavailable):
        opened(path, writable=False)
    box = opened(path)
    assert targets_of(box) == []
    assert box.recover() == []
    assert not path.exists()
    (placed,) = box.put([Deposit(b"Subject: x\n\nFrom me\n", flags=frozenset({"seen"}), delivered=START)])
    assert placed.outcome is Outcome.RESTORED
    data = path.read_bytes()
    assert data == b"From MAILER-DAEMON Mon Feb  2 10:00:00 2026\nSubject: x\nStatus: RO\n\n>From me\n\n"
    assert box.fetch(placed.id or "").flags == {"seen"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_what_is_put_follows_a_blank_line_in_the_file_s_own_style(tmp_path: Path, newline: bytes, end: bytes) -> None:
    """Whatever the file's end was like, the old bytes stay and the new message stands apart."""
    path = tmp_path / "ann"
    before = (from_line(None) + b"\nSubject: a\n\nx" + end).replace(b"\n", newline)
    path.write_bytes(before)
    box = opened(path)
    list(box.put([Deposit(b"Subject: new\n\ny")]))
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().endswith(b"y" + newline * 2)
    assert len(targets_of(box)) == 2
    assert not any(entry.doubt for entry in mbox_format.scan(path.read_bytes()))


def test_what_cannot_be_put_is_said(tmp_path: Path) -> None:
    """No header, a folder, a From_ line that is none."""
    box = opened(simple(tmp_path / "ann"))
    before = (tmp_path / "ann").read_bytes()
    good = b"Subject: x\n\nx\n"
    answers = list(
        box.put(
            [
                Deposit(b"no header\n"),
                Deposit(good, folder="INBOX"),
                Deposit(good, attributes={"from_line": "From x\nFrom y Mon Jan  1 00:00:00 2020"}),
                Deposit(good, attributes={"from_line": 5}),
            ]
        )
    )
    assert [a.outcome for a in answers] == [Outcome.FAILED] * 4
    assert all(a.detail for a in answers)
    assert (tmp_path / "ann").read_bytes() == before


def test_unquoted_lines_of_another_variant_are_quoted_where_they_would_split(tmp_path: Path) -> None:
    """A message from an mboxcl2 file stays one message in an mboxrd file, and as it is in an mboxcl2 file."""
    content = b"Subject: x\nContent-Length: %d\n\nbody\n\n" + from_line(None) + b"\nSubject: inner\n\nz\n"
    body = content.partition(b"\n\n")[2]
    deposit = Deposit(content % len(body), attributes={"from_line": from_line(None).decode()})
    plain, counted = simple(tmp_path / "plain"), tmp_path / "counted"
    counted.write_bytes(from_line(None) + b"\nSubject: a\nContent-Length: 2\n\nx\n\n")
    for path in (plain, counted):
        box = opened(path)
        before = len(targets_of(box))
        version = box.version_of(deposit)
        (placed,) = box.put([deposit])
        assert placed.outcome is Outcome.RESTORED
        assert (placed.id or "").startswith(version)
        assert len(targets_of(box)) == before + 1
        assert (b"\n>From " in path.read_bytes()) == (path == plain)


def test_removal_reads_each_item_again_and_only_planned_ones_go(tmp_path: Path) -> None:
    """Ids of this kind that name nothing are absent; what is left is found."""
    path = simple(tmp_path / "ann")
    box = opened(path)
    found = targets_of(box)
    other = Target("0" * 72 + ".0", "0" * 72)
    answers = {a.id: a.outcome for a in box.remove([found[0], other], Disposal.HARD)}
    assert answers == {found[0].id: Outcome.REMOVED, other.id: Outcome.ALREADY_ABSENT}
    assert box.look([*found, other]) == {
        found[0].id: Whereabouts.ABSENT,
        found[1].id: Whereabouts.HERE,
        found[2].id: Whereabouts.HERE,
        other.id: Whereabouts.ABSENT,
    }
    assert len(search(box, matcher(subject=["s1"]))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to limit a user")
def test_without_the_right_to_write_nothing_changes(tmp_path: Path) -> None:
    """One clear error that names the file."""
    path = simple(tmp_path / "ann")
    before = path.read_bytes()
    tmp_path.chmod(0o755)
    os.chown(path, 65534, 65534)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o005)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            remove(path, [0])
        except ExciseError as error:
            code = 0 if re.search("ann: .*Permission denied", error.message) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_errors_have_one_message() -> None:
    """An OSError of any step names the mailbox."""
    from excise.stores.mbox.source import translated

    with (
        pytest.raises(SourceUnavailable, match=r"box: searching failed: No space"),
        translated(Path("box"), "searching"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
