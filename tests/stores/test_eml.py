"""Files of one message each, beyond the contract: what is one, .msg files, links, hostile and damaged archives."""

from __future__ import annotations

import io
import os
import resource
import signal
import stat
import struct
import tarfile
import time
import zipfile
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import olefile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.digests import sha256_hex
from excise.core.errors import ExciseError
from excise.criteria import Criteria, Matcher
from excise.model.item import Deposit, Disposal, Outcome, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, Unsupported
from excise.store_api.protocols import Tally, Unreadable
from excise.stores import eml_zip
from excise.stores.eml import EmlStore
from excise.stores.zip_rewrite import replace_archive
from stores.msg_file import msg_file

STORE = EmlStore()


def mail(subject: str, body: str = "Hello.\n") -> bytes:
    return f"From: ann@example.com\nSubject: {subject}\nMessage-ID: <{subject}@x>\n\n{body}".encode()


def scan(path: Path, **options):
    """Matches, unreadable ones and tally of a search; of everything without ``options``."""
    wanted = Matcher(Criteria.from_options(**(options or {"larger": "1"})))
    mailbox = STORE.open(f"eml:{path}")
    try:
        tally = Tally()
        matches, bad = [], []
        for one in mailbox.find(wanted, tally):
            if isinstance(one, Unreadable):
                bad.append(one)
            elif wanted.test(one.view).matched:
                matches.append(one)
        return matches, bad, tally
    finally:
        mailbox.close()


def fetch(path: Path, item_id: str):
    mailbox = STORE.open(f"eml:{path}")
    try:
        return mailbox.fetch(item_id)
    finally:
        mailbox.close()


def remove(path: Path, chosen: list[Target]):
    mailbox = STORE.open(f"eml:{path}", writable=True)
    try:
        return {answer.id: answer for answer in mailbox.remove(chosen, Disposal.HARD)}
    finally:
        mailbox.close()


def put(path: Path, *deposits: Deposit):
    mailbox = STORE.open(f"eml:{path}", writable=True)
    try:
        return list(mailbox.put(deposits))
    finally:
        mailbox.close()


def as_targets(found) -> list[Target]:
    return [Target(one.id, one.version, one.view.folder) for one in found]


def deposit_of(item) -> Deposit:
    return Deposit(item.content, item.folder, item.flags, item.delivered, item.attributes)


class TestTree:
    def test_s03_a_file_is_a_message_by_what_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.eml").write_bytes(mail("a"))
        (tmp_path / "b.EML").write_bytes(b"\xef\xbb\xbf" + mail("b"))
        (tmp_path / "c.msg").write_bytes(mail("c"))
        (tmp_path / "d.eml").write_bytes(msg_file("d"))
        (tmp_path / "e.eml").write_bytes(b"From x@y Mon Feb  2 10:00:00 2026\n" + mail("e"))
        (tmp_path / "f.eml").write_bytes(b"%PDF-1.7 is no message")
        (tmp_path / "g.eml").write_bytes(b"")
        (tmp_path / "h.msg").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and then nothing")
        (tmp_path / "i.txt").write_bytes(mail("i"))
        found, bad, tally = scan(tmp_path)
        assert sorted(one.view.subject for one in found) == ["a", "b", "c", "d", "e"]
        assert sorted(one.id for one in bad) == ["f.eml", "g.eml", "h.msg"]
        assert tally.seen == 8
        assert {one.id for one in scan(tmp_path, subject=["nothing"])[1]} == {"f.eml", "g.eml", "h.msg"}

    def test_s03_only_a_directory_with_messages_is_claimed(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(mail("a"))
        (tmp_path / "b.eml").write_bytes(b"\x00\x01 nothing")
        assert not STORE.claims(tmp_path, b"")
        (tmp_path / "c.eml").write_bytes(mail("c"))
        assert STORE.claims(tmp_path, b"")
        assert STORE.claims(tmp_path / "c.eml", mail("c"))
        assert not STORE.claims(tmp_path / "b.eml", b"\x00\x01 nothing")
        assert not STORE.claims(tmp_path / "a.txt", mail("a"))

    def test_s27_links_are_reported_and_never_followed(self, tmp_path: Path) -> None:
        root, other = tmp_path / "root", tmp_path / "other"
        root.mkdir()
        other.mkdir()
        (other / "secret.eml").write_bytes(mail("secret"))
        (root / "link.eml").symlink_to(other / "secret.eml")
        (root / "links").symlink_to(other)
        (root / "loop").symlink_to(root)
        os.mkfifo(root / "fifo.eml")
        found, bad, tally = scan(root)
        assert not found
        assert sorted(one.id for one in bad) == ["fifo.eml", "link.eml", "links", "loop"]
        assert tally.seen == 4
        for item_id in ("links/secret.eml", "link.eml", "loop/link.eml", "../other/secret.eml"):
            with pytest.raises(ExciseError):
                fetch(root, item_id)
            [answer] = remove(root, [Target(item_id, sha256_hex(mail("secret")))]).values()
            assert answer.outcome is not Outcome.REMOVED
        assert (other / "secret.eml").exists()

    def test_s18_no_file_but_a_message_is_ever_removed(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_bytes(mail("notes"))
        (tmp_path / "odd.eml").write_bytes(b"\0\0\0")
        for name in ("notes.txt", "odd.eml"):
            version = sha256_hex((tmp_path / name).read_bytes())
            [answer] = remove(tmp_path, [Target(name, version)]).values()
            assert answer.outcome in (Outcome.ALREADY_ABSENT, Outcome.FAILED)
            assert (tmp_path / name).exists()

    def test_s28_a_case_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "a.eml").write_bytes(mail("a"))
        (tmp_path / "case" / "eml").mkdir(parents=True)
        (tmp_path / "case" / "case.json").write_text('{"excise_case": 1}')
        (tmp_path / "case" / "eml" / "b.eml").write_bytes(mail("b"))
        assert [one.id for one in scan(tmp_path)[0]] == ["a.eml"]

    def test_names_that_are_not_utf8_are_kept(self, tmp_path: Path) -> None:
        raw = os.fsencode(tmp_path) + b"/caf\xe9.eml"
        Path(os.fsdecode(raw)).write_bytes(mail("latin"))
        [found] = scan(tmp_path)[0]
        item = fetch(tmp_path, found.id)
        assert remove(tmp_path, as_targets([found]))[found.id].outcome is Outcome.REMOVED
        [placed] = put(tmp_path, deposit_of(item))
        assert placed.outcome is Outcome.RESTORED

    def test_s21_name_mode_and_time_come_back_and_a_taken_name_is_numbered(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "one.eml"
        path.parent.mkdir()
        path.write_bytes(mail("one"))
        path.chmod(0o604)
        os.utime(path, ns=(5, 1_700_000_000_123_456_789))
        item = fetch(tmp_path, "a/one.eml")
        path.unlink()
        [placed] = put(tmp_path, deposit_of(item))
        assert placed.id == "a/one.eml"
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime_ns) == (0o604, 1_700_000_000_123_456_789)
        [placed] = put(tmp_path, deposit_of(item))
        assert placed.id == "a/one (1).eml"
        assert path.read_bytes() == mail("one")

    def test_what_would_not_be_recognised_again_is_not_written(self, tmp_path: Path) -> None:
        [placed] = put(tmp_path, Deposit(b"\n\nno header at all\n"))
        assert placed.outcome is Outcome.FAILED
        assert not list(tmp_path.iterdir())

    def test_recover_takes_away_what_a_dead_process_left(self, tmp_path: Path) -> None:
        (tmp_path / "a.eml").write_bytes(mail("a"))
        child = os.fork()
        if child == 0:
            from excise.stores.unfinished import unfinished_name

            (tmp_path / unfinished_name()).write_bytes(b"half")
            os._exit(0)
        os.waitpid(child, 0)
        mailbox = STORE.open(f"eml:{tmp_path}", writable=True)
        assert len(mailbox.recover()) == 1
        assert not mailbox.recover()
        mailbox.close()
        assert [path.name for path in tmp_path.iterdir()] == ["a.eml"]

    def test_a_header_larger_than_the_window_is_read_whole(self, tmp_path: Path) -> None:
        pad = "".join(f"X-Pad-{n}: {'y' * 60}\n" for n in range(500))
        (tmp_path / "a.eml").write_bytes(pad.encode() + mail("far away"))
        assert len(scan(tmp_path, subject=["far away"])[0]) == 1

    def test_journal_reports_are_matched_by_what_they_carry_and_kept_whole(self, tmp_path: Path) -> None:
        report = (
            b"From: exchange@example.com\nSubject: Journal\nX-MS-Journal-Report:\nMIME-Version: 1.0\n"
            b'Content-Type: multipart/mixed; boundary="j"\n\n--j\nContent-Type: text/plain\n\n'
            b"Sender: ann@example.com\nSubject: inner\nRecipient: hidden@example.net\n\n"
            b"--j\nContent-Type: message/rfc822\n\n" + mail("inner") + b"\n--j--\n"
        )
        (tmp_path / "j.eml").write_bytes(report)
        [found] = scan(tmp_path, subject=["inner"])[0]
        assert [one.id for one in scan(tmp_path, recipient=["hidden@example.net"])[0]] == ["j.eml"]
        assert fetch(tmp_path, found.id).content == report


class TestSingleFile:
    def test_it_is_found_removed_and_put_back(self, tmp_path: Path) -> None:
        path = tmp_path / "only.eml"
        path.write_bytes(mail("only"))
        (tmp_path / "other.eml").write_bytes(mail("other"))
        [found] = scan(path)[0]
        assert found.id == "only.eml"
        mailbox = STORE.open(f"eml:{path}", writable=True)
        before, item = mailbox.info.identity, mailbox.fetch(found.id)
        [target] = as_targets([found])
        [answer] = mailbox.remove([target], Disposal.HARD)
        assert answer.outcome is Outcome.REMOVED
        assert mailbox.look([target]) == {target.id: Whereabouts.ABSENT}
        mailbox.close()
        mailbox = STORE.open(f"eml:{path}", writable=True)
        assert mailbox.info.identity == before
        assert [placed.outcome for placed in mailbox.put([deposit_of(item)])] == [Outcome.RESTORED]
        assert [placed.outcome for placed in mailbox.put([deposit_of(item)])] == [Outcome.FAILED]
        with pytest.raises(ItemNotFound):
            mailbox.fetch("other.eml")
        mailbox.close()
        assert path.read_bytes() == mail("only")

    def test_a_file_without_a_suffix_may_be_named(self, tmp_path: Path) -> None:
        path = tmp_path / "spam-abc"
        path.write_bytes(mail("quarantined"))
        assert [one.view.subject for one in scan(path)[0]] == ["quarantined"]


class TestMsg:
    def test_the_writer_of_these_tests_is_believed_by_olefile(self) -> None:
        with olefile.OleFileIO(msg_file("x", attachments={"a.bin": b"1" * 9000})) as ole:
            assert ole.exists("__properties_version1.0")
            assert ole.openstream("__attach_version1.0_#00000000/__substg1.0_37010102").read() == b"1" * 9000

    def test_it_is_matched_by_its_properties_and_given_as_mime(self, tmp_path: Path) -> None:
        data = msg_file("Rechnung für März", attachments={"virus.exe": b"MZ" + b"\0" * 5000})
        (tmp_path / "a.msg").write_bytes(data)
        assert len(scan(tmp_path, subject=["rechnung für märz"])[0]) == 1
        [found] = scan(tmp_path, attachment=["VIRUS.exe"])[0]
        item = fetch(tmp_path, found.id)
        assert item.version == sha256_hex(data)
        parsed = message_from_bytes(item.content)
        assert [part.get_filename() for part in parsed.walk() if part.get_filename()] == ["virus.exe"]
        assert item.headers
        assert {origin for _, origin in item.headers} == {"synthesised"}
        assert item.properties is not None
        assert any(line.get("value") == "Rechnung für März" for line in item.properties["properties"])

    @pytest.mark.parametrize("archive", [False, True], ids=["tree", "zip"])
    def test_s21_the_file_itself_goes_back_byte_for_byte(self, tmp_path: Path, archive: bool) -> None:
        data = msg_file("Board minutes", attachments={"a.bin": b"1" * 9000})
        place = tmp_path / "box.zip" if archive else tmp_path / "box"
        if archive:
            with zipfile.ZipFile(place, "w") as made:
                made.writestr("in/a.msg", data)
        else:
            (place / "in").mkdir(parents=True)
            (place / "in" / "a.msg").write_bytes(data)
        [found] = scan(place)[0]
        item = fetch(place, found.id)
        assert remove(place, as_targets([found]))[found.id].outcome is Outcome.REMOVED
        assert not scan(place)[0]
        mailbox = STORE.open(f"eml:{place}")
        assert mailbox.version_of(deposit_of(item)) == found.version
        mailbox.close()
        assert [placed.id for placed in put(place, deposit_of(item))] == ["in/a.msg"]
        again = fetch(place, "in/a.msg")
        assert again.attributes["original"] == item.attributes["original"]
        if not archive:
            assert (place / "in" / "a.msg").read_bytes() == data

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_s08_a_damaged_one_is_found_or_unreadable_and_nothing_else(self, tmp_path_factory, data) -> None:
        root = tmp_path_factory.mktemp("damaged")
        content = bytearray(msg_file("Board minutes", attachments={"a.bin": b"1" * 5000}))
        for _ in range(data.draw(st.integers(1, 12))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (root / "a.msg").write_bytes(content)
        wanted = Matcher(Criteria.from_options(larger="1"))
        mailbox = STORE.open(f"eml:{root}")
        tally = Tally()
        found = list(mailbox.find(wanted, tally))
        mailbox.close()
        assert len(found) == tally.seen == 1


def raw_members(path: Path) -> dict[str, tuple[bytes, tuple[object, ...]]]:
    """The raw bytes of each member, and what the directory says of it."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        found = {}
        for info in archive.infolist():
            name, extra = struct.unpack_from("<2H", data, info.header_offset + 26)
            stop = info.header_offset + 30 + name + extra + info.compress_size
            facts = (info.CRC, info.date_time, info.extra, info.comment, info.external_attr, info.flag_bits)
            found[info.filename] = (data[info.header_offset : stop], facts)
        return found


class TestZip:
    @settings(max_examples=60, deadline=None)
    @given(
        contents=st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0, 8, 12])), min_size=1, max_size=8),
        dropped=st.sets(st.integers(0, 7)),
        comment=st.binary(max_size=30),
        prefix=st.binary(max_size=40),
    )
    def test_s18_every_other_byte_stays(self, tmp_path_factory, contents, dropped, comment, prefix) -> None:
        path = tmp_path_factory.mktemp("zip") / "a.zip"
        path.write_bytes(prefix)
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
            for number, (body, method) in enumerate(contents):
                info = zipfile.ZipInfo(f"m{number}.eml", (2026, 2, 1 + number, 1, 2, 4))
                info.comment, info.external_attr, info.compress_type = b"c%d" % number, 0o640 << 16, method
                archive.writestr(info, mail(f"m{number}") + body)
        before = raw_members(path)
        names = [f"m{number}.eml" for number in dropped if number < len(contents)]
        with path.open("rb") as stream:
            assert replace_archive(path, stream.fileno(), dropped) == ""
        after = raw_members(path)
        assert after == {name: value for name, value in before.items() if name not in names}
        assert list(after) == [name for name in before if name not in names]
        assert path.read_bytes().startswith(prefix)
        with zipfile.ZipFile(path) as archive:
            assert archive.comment == comment
            assert archive.testzip() is None

    def test_s19_owner_mode_and_attributes_are_kept_and_the_time_changes(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one", "two")
        path.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(path, 8, 12)
        try:
            os.setxattr(path, "user.origin", b"ticket 17")
        except OSError:
            pytest.skip("no extended attributes on this file system")
        os.utime(path, (1, 1))
        before = path.stat()
        remove(path, as_targets(scan(path, subject=["one"])[0]))
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
        assert os.getxattr(path, "user.origin") == b"ticket 17"
        assert after.st_mtime > before.st_mtime
        assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]

    def test_s19_a_second_hard_link_is_refused(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one")
        os.link(path, tmp_path / "b.zip")
        [found] = scan(path)[0]
        assert "hard link" in found.doubt
        [answer] = remove(path, as_targets([found])).values()
        assert answer.outcome is Outcome.FAILED
        assert "hard links" in answer.detail
        assert scan(path)[0]

    def test_s19_a_write_that_fails_leaves_the_archive(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one", "two", body=os.urandom(100_000).hex())
        before = path.read_bytes()
        chosen = as_targets(scan(path, subject=["one"])[0])
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            [answer] = remove(path, chosen).values()
            os._exit(0 if answer.outcome is Outcome.FAILED and "File too large" in answer.detail else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]

    def test_s19_sigkill_leaves_the_old_archive_or_the_new_one(self, tmp_path: Path) -> None:
        names = [f"m{n}" for n in range(60)]
        path = self.make(tmp_path / "a.zip", *names, body=os.urandom(20_000).hex())
        before = raw_members(path)
        for delay in (0.0, 0.002, 0.004, 0.008, 0.016, 0.03):
            chosen = as_targets(scan(path)[0])[:5]
            child = os.fork()
            if child == 0:
                try:
                    remove(path, chosen)
                finally:
                    os._exit(0)
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            after = raw_members(path)
            gone = before.keys() - after.keys()
            assert gone in (set(), {target.id for target in chosen})
            assert after == {name: value for name, value in before.items() if name not in gone}
            before = after
            mailbox = STORE.open(f"eml:{path}", writable=True)
            mailbox.recover()
            mailbox.close()
            assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]

    def test_s19_an_archive_that_is_locked_or_changes_is_left_alone(self, tmp_path: Path) -> None:
        import fcntl

        path = self.make(tmp_path / "a.zip", "one", "two")
        chosen = as_targets(scan(path, subject=["one"])[0])
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            [answer] = remove(path, chosen).values()
            assert answer.outcome is Outcome.FAILED
            assert "locked" in answer.detail
        with path.open("rb") as stream:
            other = self.make(tmp_path / "b.zip", "new")
            other.rename(path)
            with pytest.raises(ExciseError, match="was changed by another program"):
                replace_archive(path, stream.fileno(), {0})
        assert [one.view.subject for one in scan(path)[0]] == ["new"]

    def test_what_is_not_plain_is_searched_and_never_written(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one", "two")
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            second = archive.infolist()[1].header_offset
            start = archive.start_dir
        gap = b"hidden"
        moved = bytearray(data[:second] + gap + data[second:])
        end = moved.rindex(b"PK\x05\x06")
        moved[end + 16 : end + 20] = struct.pack("<L", start + len(gap))
        record = moved.rindex(b"PK\x01\x02")
        moved[record + 42 : record + 46] = struct.pack("<L", second + len(gap))
        path.write_bytes(moved)
        found, bad, _ = scan(path)
        assert ([one.view.subject for one in found], bad) == (["one", "two"], [])
        assert all("belong to nothing" in one.doubt for one in found)
        [answer] = remove(path, as_targets(found[:1])).values()
        assert answer.outcome is Outcome.FAILED
        assert path.read_bytes() == moved

    def test_s27_member_names_are_only_ids(self, tmp_path: Path) -> None:
        path = tmp_path / "box" / "a.zip"
        path.parent.mkdir()
        names = ["../../out.eml", "/abs.eml", "a/../../b.eml", "C:\\x.eml", "\x1b[31m.eml"]
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, mail("hostile"))
        found, bad, _ = scan(path)
        assert ({one.id for one in found}, bad) == (set(names), [])
        items = [fetch(path, one.id) for one in found]
        assert {answer.outcome for answer in remove(path, as_targets(found)).values()} == {Outcome.REMOVED}
        put(tmp_path / "box", *map(deposit_of, items))
        assert {p.parent.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*.eml")} <= {"box"}

    def test_s27_bombs_are_unreadable_and_cost_little(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.eml", b"Subject: bomb\n\n" + b"\0" * (20 << 20))
            archive.writestr("good.eml", mail("good"))
        found, [bad], tally = scan(path)
        assert ([one.view.subject for one in found], bad.id, tally.seen) == (["good"], "bomb.eml", 2)
        assert "bomb" in bad.reason

    def test_s08_encrypted_and_damaged_members_are_unreadable(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one", "two", "three")
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            one, two, _ = archive.infolist()
        data[one.header_offset + 6] |= 1
        record = data.index(b"PK\x01\x02")
        data[record + 8] |= 1
        data[two.header_offset + 30 + len("two.eml") + 9] ^= 0x55
        path.write_bytes(data)
        found, bad, tally = scan(path, larger="1")
        assert [one.view.subject for one in found] == ["three"]
        assert {one.id for one in bad} == {"one.eml", "two.eml"}
        assert tally.seen == 3
        with pytest.raises(ItemDamaged):
            fetch(path, "one.eml")

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_s27_a_mutated_archive_gives_errors_and_no_traceback(self, tmp_path_factory, data) -> None:
        path = self.make(tmp_path_factory.mktemp("fuzz") / "a.zip", "one", "two", "three")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        STORE.claims(path, bytes(content[:4096]))
        try:
            found, bad, tally = scan(path)
        except ExciseError:
            return
        assert len(found) + len(bad) <= tally.seen
        try:
            answers = remove(path, as_targets(found)[:1])
        except ExciseError:
            return
        assert len(answers) == len(found[:1])

    def test_zip64_archives_are_written_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("one", "two", "three"):
                with archive.open(f"{name}.eml", "w", force_zip64=True) as member:
                    member.write(mail(name))
        data = path.read_bytes()
        end = data.rindex(b"PK\x05\x06")
        number, _, size, start = struct.unpack_from("<2H2L", data, end + 8)
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, size, start)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        tail = bytearray(data[end:])
        tail[8:20] = b"\xff" * 12
        path.write_bytes(data[:end] + end64 + locator + tail)
        before = raw_members(path)
        [answer] = remove(path, as_targets(scan(path, subject=["one"])[0])).values()
        assert (answer.outcome, answer.detail) == (Outcome.REMOVED, "")
        assert raw_members(path) == {name: value for name, value in before.items() if name != "one.eml"}
        assert put(path, Deposit(mail("four"), "in"))[0].outcome is Outcome.RESTORED
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["two.eml", "three.eml", "in/" + archive.namelist()[2].partition("/")[2]]
            assert archive.testzip() is None

    def test_the_delivery_time_is_kept_in_utc_and_never_made_up(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one")
        assert fetch(path, "one.eml").delivered is None
        when = datetime(2026, 2, 3, 4, 5, 7, tzinfo=UTC)
        [placed] = put(path, Deposit(mail("two"), "", frozenset(), when))
        assert fetch(path, placed.id or "").delivered == when

    def test_an_emptied_archive_is_still_a_mailbox(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one")
        item = fetch(path, "one.eml")
        remove(path, as_targets(scan(path)[0]))
        assert scan(path)[2].seen == 0
        assert [placed.id for placed in put(path, deposit_of(item))] == ["one.eml"]

    def test_s03_only_an_archive_with_messages_is_claimed(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.zip", "one")
        assert STORE.claims(path, path.read_bytes()[:4096])
        other = tmp_path / "b.zip"
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("a.txt", mail("one"))
        assert not STORE.claims(other, other.read_bytes()[:4096])

    def make(self, path: Path, *subjects: str, body: str = "Hello.\n") -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for subject in subjects:
                archive.writestr(f"{subject}.eml", mail(subject, body))
        return path


class TestTar:
    def make(self, path: Path, *subjects: str, mode: str = "w") -> Path:
        with tarfile.open(path, mode) as archive:
            for subject in subjects:
                info = tarfile.TarInfo(f"in/{subject}.eml")
                info.size = len(mail(subject))
                archive.addfile(info, io.BytesIO(mail(subject)))
        return path

    def test_removal_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.tar", "one")
        [found] = scan(path)[0]
        assert "tar" in found.doubt
        with pytest.raises(Unsupported, match="unpack it"):
            remove(path, as_targets([found]))
        with pytest.raises(Unsupported):
            put(path, Deposit(mail("two")))

    @pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
    def test_s08_an_archive_that_is_cut_short_is_never_clean(self, tmp_path: Path, mode: str) -> None:
        path = self.make(tmp_path / "a.tar", *[f"m{n}" for n in range(40)], mode=mode)
        data = path.read_bytes()
        for size in {len(data) * n // 10 for n in range(3, 10)} | {512 * 20 if mode == "w" else 300}:
            path.write_bytes(data[:size])
            try:
                found, bad, tally = scan(path)
            except ExciseError:
                continue
            if len(found) < 40:
                assert bad
            assert len(found) + len(bad) == tally.seen

    def test_s08_damage_in_the_middle_is_reported(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.tar", "one", "two", "three")
        data = bytearray(path.read_bytes())
        data[1024 + 20] ^= 0x55
        path.write_bytes(data)
        found, [bad], tally = scan(path)
        assert ([one.view.subject for one in found], tally.seen) == (["one"], 2)
        assert "rest of the archive" in bad.reason

    def test_members_with_one_name_and_links(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / "a.tar", "one", "one")
        with tarfile.open(path, "a") as archive:
            link = tarfile.TarInfo("in/link.eml")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        found, [bad], _ = scan(path)
        assert [one.id for one in found] == ["in/one.eml", "in/one.eml#2"]
        assert bad.id == "in/link.eml"
        assert fetch(path, "in/one.eml#2").content == mail("one")


def test_the_limit_of_a_message_holds_for_archives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(eml_zip, "MAX_MESSAGE", 1000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("large.eml", mail("large", "x" * 2000))
    assert [bad.id for bad in scan(path)[1]] == ["large.eml"]
