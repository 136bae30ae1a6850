"""What Maildir asks for beyond the contract: names, flags, renames meanwhile, damage, quota, owners."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.errors import ExciseError
from excise.criteria import Criteria, Matcher
from excise.model.item import Deposit, Disposal, Fetched, Outcome, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound
from excise.store_api.protocols import Tally, Unreadable
from excise.stores.compressed import expand
from excise.stores.directory import read_file
from excise.stores.maildir import MaildirStore
from excise.stores.maildir_folder import MaildirFolder
from excise.stores.maildir_names import MessageName, folder_parts, folder_path, is_base, read_keywords

STORE = MaildirStore()


def mail(subject: str, body: str = "Hello.\n") -> bytes:
    return f"From: ann@example.com\nSubject: {subject}\nMessage-ID: <{subject}@x>\n\n{body}".encode()


def make(root: Path, *folders: str) -> Path:
    for folder in ("", *folders):
        for name in ("cur", "new", "tmp"):
            (root / folder / name).mkdir(parents=True)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "Maildir")


def matcher(subject: str = "nothing bears this") -> Matcher:
    return Matcher(Criteria.from_options(subject=[subject]))


def everything() -> Matcher:
    return Matcher(Criteria.from_options(larger="1"))


def scan(root: Path, wanted: Matcher | None = None):
    mailbox = STORE.open(f"maildir:{root}")
    try:
        tally = Tally()
        found = list(mailbox.find(wanted or everything(), tally))
        readable = [one for one in found if not isinstance(one, Unreadable)]
        return readable, [one for one in found if isinstance(one, Unreadable)], tally
    finally:
        mailbox.close()


def targets(root: Path) -> list[Target]:
    return [Target(one.id, one.version, one.view.folder) for one in scan(root)[0]]


def remove(root: Path, chosen: list[Target], disposal: Disposal = Disposal.HARD):
    mailbox = STORE.open(f"maildir:{root}", writable=True)
    try:
        return {answer.id: answer for answer in mailbox.remove(chosen, disposal)}
    finally:
        mailbox.close()


def put(root: Path, *deposits: Deposit):
    mailbox = STORE.open(f"maildir:{root}", writable=True)
    try:
        return list(mailbox.put(deposits))
    finally:
        mailbox.close()


def fetch(root: Path, item_id: str) -> Fetched:
    mailbox = STORE.open(f"maildir:{root}")
    try:
        return mailbox.fetch(item_id)
    finally:
        mailbox.close()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "base", "info"),
        [
            ("1.M2P3.host", "1.M2P3.host", ""),
            ("1.M2P3.host:2,", "1.M2P3.host", "2,"),
            ("1.M2P3.host,S=10,W=12:2,FSab", "1.M2P3.host,S=10,W=12", "2,FSab"),
            ("1.M2P3.host;2,S", "1.M2P3.host", "2,S"),
            ("1.M2P3.host!2,S", "1.M2P3.host", "2,S"),
            ("1.M2P3.host:1,exp", "1.M2P3.host", "1,exp"),
            ("odd:name:2,R", "odd:name", "2,R"),
            (":2,S", "", "2,S"),
        ],
    )
    def test_a_name_is_base_and_info(self, name: str, base: str, info: str) -> None:
        parsed = MessageName.parse(name)
        assert (parsed.base, parsed.info, parsed.text) == (base, info, name)

    @pytest.mark.parametrize(
        ("parts", "path"),
        [
            ((), "INBOX"),
            ((".Sent",), "Sent"),
            ((".A.B.C",), "A/B/C"),
            ((".Entw&APw-rfe",), "Entwürfe"),
            ((".&ZeVnLIqe-",), "日本語"),
            ((".R&-D",), "R&D"),
            ((".a\\2eb",), "a.b"),
            ((".x&AC8-y",), "x%2Fy"),
            ((".bad&utf",), "bad&utf"),
            ((".INBOX",), ".INBOX"),
            (("A", "B"), "A/B"),
        ],
    )
    def test_folders_are_named_as_dovecot_does(self, parts: tuple[str, ...], path: str) -> None:
        assert folder_path(parts) == path

    @settings(max_examples=300)
    @given(st.text(min_size=1, max_size=40), st.booleans())
    def test_a_path_and_its_directory_are_each_others_reverse(self, path: str, nested: bool) -> None:
        parts = folder_parts(path, nested=nested)
        if parts is None:
            return
        assert folder_path(parts) == path or path == ""
        for part in parts:
            assert part not in ("", ".", "..", "cur", "new", "tmp")
            assert "/" not in part
            assert "\0" not in part

    @given(st.text(max_size=60))
    def test_a_base_that_is_accepted_breaks_no_list_of_uids(self, base: str) -> None:
        if is_base(base):
            assert len(base.split()) == 1
            assert not base.startswith(".")
            assert "/" not in base

    def test_keywords_are_read_as_far_as_they_make_sense(self) -> None:
        data = b"0 $Forwarded\n1 Junk\n25 last\n26 beyond\nx bad\n3\n1 Later\n"
        assert read_keywords(data) == {"a": "$Forwarded", "b": "Later", "z": "last"}


class TestFlags:
    def test_dovecots_keywords_are_read_and_its_file_is_left_alone(self, root: Path) -> None:
        (root / "dovecot-keywords").write_text("0 $Forwarded\n1 project-x\n")
        (root / "cur" / "1.a:2,FSab").write_bytes(mail("flags"))
        before = (root / "dovecot-keywords").stat()
        [found] = scan(root)[0]
        assert found.view.flags == {"flagged", "seen", "forwarded", "project-x"}
        item = fetch(root, found.id)
        assert item.flags == found.view.flags
        assert remove(root, targets(root))[found.id].outcome is Outcome.REMOVED
        [placed] = put(root, Deposit(item.content, item.folder, item.flags, item.delivered, item.attributes))
        assert (placed.outcome, placed.detail) == (Outcome.RESTORED, "")
        assert [path.name for path in (root / "cur").iterdir()] == ["1.a:2,FSab"]
        assert (root / "dovecot-keywords").stat() == before

    def test_a_keyword_that_the_folder_does_not_know_is_said(self, root: Path) -> None:
        [placed] = put(root, Deposit(mail("kept"), "INBOX", frozenset({"seen", "project-y"})))
        assert placed.outcome is Outcome.RESTORED
        assert "project-y" in placed.detail
        assert not (root / "dovecot-keywords").exists()

    def test_a_new_message_goes_back_unseen_to_cur(self, root: Path) -> None:
        (root / "new" / "1.a").write_bytes(mail("fresh"))
        [target] = targets(root)
        item = fetch(root, target.id)
        remove(root, [target])
        put(root, Deposit(item.content, item.folder, item.flags, item.delivered, item.attributes))
        assert [p.name for p in (root / "cur").iterdir()] == ["1.a:2,"]
        assert not list((root / "new").iterdir())

    def test_the_delivery_time_is_the_files_time_to_the_microsecond(self, root: Path) -> None:
        when = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
        [placed] = put(root, Deposit(mail("dated"), "INBOX", frozenset(), when))
        assert fetch(root, placed.id or "").delivered == when


class TestCompressed:
    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
    def test_s13_a_compressed_message_is_found_and_goes_back_byte_for_byte(self, root: Path, pack) -> None:
        content = mail("packed", "A line.\n" * 5000)
        packed = pack(content)
        (root / "cur" / f"1.a,S={len(content)}:2,S").write_bytes(packed)
        (root / "cur" / "2.b:2,S").write_bytes(mail("other"))
        [found], _, tally = scan(root, matcher("packed"))
        assert tally.seen == 2
        assert found.content == content
        item = fetch(root, found.id)
        assert item.content == content
        assert remove(root, [Target(found.id, found.version)])[found.id].outcome is Outcome.REMOVED
        [placed] = put(root, Deposit(item.content, item.folder, item.flags, item.delivered, item.attributes))
        assert placed.id == found.id
        assert (root / "cur" / f"1.a,S={len(content)}:2,S").read_bytes() == packed

    def test_s07_a_packed_message_that_looks_like_plain_text_is_expanded_before_it_is_judged(self, root: Path) -> None:
        stored = gzip.compress(b"X-First: 1\n" + mail("stored"), compresslevel=0)
        assert b"\n\n" in stored[:8192]
        (root / "cur" / "1.a:2,S").write_bytes(stored)
        readable = [one for one in scan(root, matcher("stored"))[0] if matcher("stored").test(one.view).matched]
        assert [one.view.subject for one in readable] == ["stored"]
        (root / "cur" / "2.b:2,S").write_bytes(b"\x28\xb5\x2f\xfd\nSubject: other\n\n")
        assert [bad.id for bad in scan(root, matcher("stored"))[1]] == ["./2.b"]

    def test_an_original_that_is_another_message_is_not_put_back(self, root: Path) -> None:
        forged = {"form": "gzip", "original": "H4sIAAAAAAAAAwMAAAAAAAAAAAA="}
        [placed] = put(root, Deposit(mail("true"), "INBOX", attributes=forged))
        assert fetch(root, placed.id or "").content == mail("true")

    @pytest.mark.parametrize(
        "data",
        [
            b"\x28\xb5\x2f\xfd" + b"x" * 50,
            b"CRYPTED\x03\x07" + b"x" * 50,
            gzip.compress(mail("cut"))[:-5],
            gzip.compress(mail("tail")) + b"junk",
            b"\x1f\x8b" + b"\0" * 40,
        ],
        ids=["zstd", "mail-crypt", "cut", "tail", "broken"],
    )
    def test_s08_what_cannot_be_expanded_is_unreadable_and_never_removed(self, root: Path, data: bytes) -> None:
        (root / "cur" / "1.a:2,S").write_bytes(data)
        readable, [bad], tally = scan(root, matcher())
        assert (readable, tally.seen) == ([], 1)
        assert bad.id == "./1.a"
        with pytest.raises(ItemDamaged):
            fetch(root, "./1.a")
        [answer] = remove(root, [Target("./1.a", "0" * 64)]).values()
        assert answer.outcome is Outcome.FAILED
        assert (root / "cur" / "1.a:2,S").exists()

    def test_s27_no_more_is_expanded_than_the_limit(self) -> None:
        bomb = gzip.compress(b"\0" * 10_000_000)
        with pytest.raises(ItemDamaged, match="expands to more"):
            expand(bomb, 1_000_000)


class TestWhatIsNoMessage:
    def test_tmp_and_dot_files_are_no_messages(self, root: Path) -> None:
        (root / "tmp" / "1.a").write_bytes(mail("half"))
        (root / "cur" / ".nfs0001").write_bytes(mail("hidden"))
        assert scan(root)[2].seen == 0

    def test_s08_links_fifos_and_directories_are_unreadable_and_block_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "cur" / "1.link:2,S").symlink_to("/etc/passwd")
        os.mkfifo(root / "cur" / "2.fifo:2,S")
        (root / "cur" / "3.dir:2,S").mkdir()
        sock = socket.socket(socket.AF_UNIX)
        with sock:
            monkeypatch.chdir(root / "cur")  # the path of a socket may have about a hundred bytes
            sock.bind("4.socket:2,S")
        _, bad, tally = scan(root, matcher())
        assert tally.seen == len(bad) == 4
        for one in bad:
            with pytest.raises(ExciseError):
                fetch(root, one.id or "")
            assert remove(root, [Target(one.id or "", "0" * 64)])[one.id].outcome is not Outcome.REMOVED
        assert len(list((root / "cur").iterdir())) == 4

    def test_a_linked_folder_is_reported_and_not_followed(self, root: Path, tmp_path: Path) -> None:
        other = make(tmp_path / "other")
        (other / "cur" / "1.a:2,S").write_bytes(mail("elsewhere"))
        (root / ".Linked").symlink_to(other)
        readable, [bad], tally = scan(root)
        assert (readable, tally.seen) == ([], 1)
        assert "symbolic link" in bad.reason
        with pytest.raises(ItemNotFound):
            fetch(root, ".Linked/../1.a")
        with pytest.raises(ExciseError):
            fetch(root, ".Linked/1.a")

    def test_s28_a_case_inside_is_passed_over(self, root: Path) -> None:
        make(root / "evidence")
        (root / "evidence" / "case.json").write_text('{"excise_case": 1}')
        (root / "evidence" / "cur" / "1.a:2,S").write_bytes(mail("evidence"))
        assert scan(root)[2].seen == 0

    def test_two_files_with_one_base_are_two_items_that_are_never_removed_by_plan(self, root: Path) -> None:
        (root / "cur" / "1.a:2,S").write_bytes(mail("one"))
        (root / "new" / "1.a").write_bytes(mail("two"))
        found, _, tally = scan(root)
        assert tally.seen == 2
        assert len({one.id for one in found}) == 2
        assert all(one.doubt for one in found)
        for one in found:
            assert fetch(root, one.id).content == one.content


class TestRenamesMeanwhile:
    def test_s07_each_message_is_seen_while_another_program_changes_flags(self, root: Path) -> None:
        count = 300
        for number in range(count):
            (root / "new" / f"{number}.x").write_bytes(mail(f"number {number}"))
        stop = threading.Event()
        failures: list[BaseException] = []

        def churn() -> None:
            letters = ["", "S", "FS", "RS"]
            turn = 0
            while not stop.is_set():
                turn += 1
                for directory in ("new", "cur"):
                    for path in list((root / directory).iterdir()):
                        base = path.name.partition(":")[0]
                        try:
                            path.rename(root / "cur" / f"{base}:2,{letters[turn % 4]}")
                        except OSError as error:
                            failures.append(error)

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(15):
                found, bad, tally = scan(root)
                ids = [one.id for one in found]
                assert sorted(ids) == sorted(set(ids))
                assert len(ids) + len(bad) == tally.seen == count
        finally:
            stop.set()
            thread.join()
        assert not failures

    def test_s07_a_file_that_a_listing_missed_is_found_by_the_next(self, root: Path) -> None:
        """The kernel may show a file that is renamed meanwhile under neither name; here the first listing lacks one."""

        class Missing(MaildirFolder):
            lacking = 1

            def _list_once(self):
                found = super()._list_once()
                if self.lacking:
                    self.lacking -= 1
                    found.popitem()
                return found

        for number in range(5):
            (root / "cur" / f"{number}.x:2,S").write_bytes(mail(f"number {number}"))
        fd = os.open(root, os.O_RDONLY)
        with Missing((), fd) as folder:
            assert len(folder.entries()) == 5
        os.close(fd)

    def test_s18_messages_are_removed_while_another_program_changes_flags(self, root: Path) -> None:
        for number in range(200):
            (root / "cur" / f"{number}.x:2,").write_bytes(mail(f"number {number}"))
        chosen = [target for target in targets(root) if int(target.id.split("/")[1].split(".")[0]) % 2]
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                for path in list((root / "cur").iterdir()):
                    flags = "" if path.name.endswith("S") else "S"
                    try:
                        path.rename(root / "cur" / f"{path.name.partition(':')[0]}:2,{flags}")
                    except FileNotFoundError:
                        continue

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            answers = remove(root, chosen)
        finally:
            stop.set()
            thread.join()
        outcomes = {answer.outcome for answer in answers.values()}
        assert outcomes <= {Outcome.REMOVED, Outcome.FAILED}
        left = {path.name.partition(":")[0] for path in (root / "cur").iterdir()}
        gone = {a.id.split("/")[1] for a in answers.values() if a.outcome is Outcome.REMOVED}
        assert left == {f"{number}.x" for number in range(200)} - gone
        assert len(gone) > 80

    def test_s16_a_message_that_a_user_moved_is_moved_elsewhere(self, root: Path) -> None:
        make(root / ".Work")
        (root / "cur" / "1.a:2,S").write_bytes(mail("moved"))
        [target] = targets(root)
        (root / "cur" / "1.a:2,S").rename(root / ".Work" / "cur" / "1.a:2,S")
        [answer] = remove(root, [target]).values()
        assert answer.outcome is Outcome.MOVED_ELSEWHERE
        assert (root / ".Work" / "cur" / "1.a:2,S").exists()

    @pytest.mark.parametrize("disposal", [Disposal.HARD, Disposal.TRASH])
    def test_directories_are_listed_for_all_messages_together(
        self, root: Path, disposal: Disposal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(100):
            (root / "cur" / f"{number}.a:2,").write_bytes(mail(f"number {number}"))
        chosen = targets(root)
        listed: list[object] = []
        scandir = os.scandir

        def counting(path):
            listed.append(path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", counting)
        mailbox = STORE.open(f"maildir:{root}", writable=True)
        assert {mailbox.fetch(target.id).version for target in chosen} == {target.version for target in chosen}
        assert {answer.outcome for answer in mailbox.remove(chosen, disposal)} == {Outcome.REMOVED}
        gone = Whereabouts.ABSENT if disposal is Disposal.HARD else Whereabouts.IN_TRASH
        assert mailbox.look(chosen) == {target.id: gone for target in chosen}
        mailbox.close()
        assert len(listed) < 60

    def test_a_look_tells_each_message_apart_though_the_names_it_knows_are_old(self, root: Path) -> None:
        for name in ("here", "flagged", "changed", "gone", "moved", "broken"):
            (root / "cur" / f"1.{name}:2,").write_bytes(mail(name))
        make(root / ".Work")
        chosen = targets(root)
        mailbox = STORE.open(f"maildir:{root}")
        assert set(mailbox.look(chosen).values()) == {Whereabouts.HERE}
        (root / "cur" / "1.flagged:2,").rename(root / "cur" / "1.flagged:2,FS")
        (root / "cur" / "1.changed:2,").write_bytes(mail("another"))
        (root / "cur" / "1.gone:2,").unlink()
        (root / "cur" / "1.moved:2,").rename(root / ".Work" / "cur" / "1.moved:2,S")
        (root / "cur" / "1.broken:2,").unlink()
        (root / "cur" / "1.broken:2,").symlink_to(root / "cur" / "1.here:2,")
        stranger, folderless = Target("no id", "0" * 64), Target(".None/1.here", chosen[0].version)
        assert mailbox.look([*chosen, stranger, folderless]) == {
            "./1.here": Whereabouts.HERE,
            "./1.flagged": Whereabouts.HERE,
            "./1.changed": Whereabouts.CHANGED,
            "./1.gone": Whereabouts.ABSENT,
            "./1.moved": Whereabouts.ELSEWHERE,
            "./1.broken": Whereabouts.UNKNOWN,
            "no id": Whereabouts.ABSENT,
            ".None/1.here": Whereabouts.ELSEWHERE,
        }
        mailbox.close()


class TestTrash:
    def test_flags_go_with_the_message_and_a_taken_name_is_not_replaced(self, root: Path) -> None:
        make(root / ".Trash")
        (root / ".Trash" / "cur" / "1.a:2,FS").write_bytes(mail("was there"))
        (root / "cur" / "1.a:2,FS").write_bytes(mail("goes there"))
        [target] = [t for t in targets(root) if t.folder == "INBOX"]
        assert remove(root, [target], Disposal.TRASH)[target.id].outcome is Outcome.REMOVED
        trash = {path.name: path.read_bytes() for path in (root / ".Trash" / "cur").iterdir()}
        assert trash == {"1.a:2,FS": mail("was there"), "1.1.a:2,FS": mail("goes there")}
        mailbox = STORE.open(f"maildir:{root}")
        assert mailbox.look([target]) == {target.id: Whereabouts.IN_TRASH}
        mailbox.close()

    def test_s19_a_removal_that_was_killed_between_link_and_unlink_is_finished(self, root: Path) -> None:
        make(root / ".Trash")
        (root / "cur" / "1.a:2,S").write_bytes(mail("twice"))
        [target] = targets(root)
        os.link(root / "cur" / "1.a:2,S", root / ".Trash" / "cur" / "1.a:2,")
        assert remove(root, [target], Disposal.TRASH)[target.id].outcome is Outcome.REMOVED
        assert [path.name for path in (root / ".Trash" / "cur").iterdir()] == ["1.a:2,"]
        assert not list((root / "cur").iterdir())

    def test_what_lies_in_the_trash_is_not_trashed_again(self, root: Path) -> None:
        make(root / ".Trash")
        (root / ".Trash" / "cur" / "1.a:2,S").write_bytes(mail("old"))
        [target] = targets(root)
        assert remove(root, [target], Disposal.TRASH)[target.id].outcome is Outcome.REFUSED
        assert remove(root, [target], Disposal.HARD)[target.id].outcome is Outcome.REMOVED

    def test_s19_sigkill_at_any_moment_leaves_each_message_whole(self, root: Path) -> None:
        count = 150
        for number in range(count):
            (root / "cur" / f"{number}.x:2,S").write_bytes(mail(f"number {number}"))
        everything_there = {mail(f"number {number}") for number in range(count)}
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
            chosen = [target for target in targets(root) if target.folder == "INBOX"]
            child = os.fork()
            if child == 0:
                try:
                    remove(root, chosen, Disposal.TRASH)
                finally:
                    os._exit(0)
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            files = [path for path in root.rglob("cur/*") if path.is_file()]
            assert {path.read_bytes() for path in files} == everything_there
        remove(root, [target for target in targets(root) if target.folder == "INBOX"], Disposal.TRASH)
        trash = [path.read_bytes() for path in (root / ".Trash" / "cur").iterdir()]
        assert sorted(trash) == sorted(everything_there)
        assert not list((root / "cur").iterdir())


class TestNeighbours:
    def test_another_name_of_the_file_stays_and_is_said(self, root: Path, tmp_path: Path) -> None:
        other = make(tmp_path / "other")
        (root / "cur" / "1.a:2,S").write_bytes(mail("shared"))
        os.link(root / "cur" / "1.a:2,S", other / "cur" / "9.z:2,")
        [target] = targets(root)
        [answer] = remove(root, [target]).values()
        assert answer.outcome is Outcome.REMOVED
        assert "1 other name " in answer.detail
        assert (other / "cur" / "9.z:2,").read_bytes() == mail("shared")

    def test_the_quota_file_is_kept_right_where_there_is_one(self, root: Path) -> None:
        (root / "cur" / "1.a,S=500:2,S").write_bytes(mail("one"))
        (root / "cur" / "2.b:2,S").write_bytes(mail("two"))
        chosen = targets(root)
        remove(root, chosen[:0])
        assert not (root / "maildirsize").exists()
        (root / "maildirsize").write_text("1000000S\n700 2\n")
        remove(root, chosen)
        size = 500 + len(mail("two"))
        assert (root / "maildirsize").read_text() == f"1000000S\n700 2\n{-size} -2\n"
        put(root, Deposit(mail("back")))
        assert (root / "maildirsize").read_text().splitlines()[-1] == f"{len(mail('back'))} 1"

    def test_reading_leaves_access_times(self, root: Path) -> None:
        path = root / "cur" / "1.a:2,S"
        path.write_bytes(mail("quiet"))
        os.utime(path, (1000, 2000))
        scan(root)
        fetch(root, "./1.a")
        assert path.stat().st_atime == 1000

    def test_a_symbolic_link_to_the_maildir_is_resolved_once(self, root: Path, tmp_path: Path) -> None:
        (root / "cur" / "1.a:2,S").write_bytes(mail("linked"))
        (tmp_path / "link").symlink_to(root)
        mailbox = STORE.open(f"maildir:{tmp_path / 'link'}")
        assert mailbox.info.locator == f"maildir:{root}"
        mailbox.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_what_root_puts_belongs_to_the_mailboxs_owner(self, root: Path) -> None:
        for path in [root, *root.rglob("*")]:
            os.chown(path, 8, 8)
            path.chmod(0o750)
        [placed] = put(root, Deposit(mail("owned"), "New/Folder"))
        assert placed.outcome is Outcome.RESTORED
        made = [path for path in root.rglob("*") if "New" in str(path)]
        assert len(made) == 6
        for path in made:
            info = path.stat()
            assert (info.st_uid, info.st_gid) == (8, 8)
            assert info.st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)

    def test_recover_takes_away_only_what_a_dead_process_left(self, root: Path) -> None:
        (root / "tmp" / "1.other").write_bytes(b"a delivery")
        child = os.fork()
        if child == 0:
            from excise.stores.unfinished import unfinished_name

            (root / "tmp" / unfinished_name()).write_bytes(b"half a mess")
            os._exit(0)
        os.waitpid(child, 0)
        [left] = [path for path in (root / "tmp").iterdir() if path.name != "1.other"]
        alive = root / "tmp" / left.name.replace(str(child), str(os.getppid()))
        alive.write_bytes(b"half a message")
        foreign = root / "tmp" / left.name.replace(left.name[-19:-11], "0badcafe")
        foreign.write_bytes(b"half a message")
        mailbox = STORE.open(f"maildir:{root}", writable=True)
        assert len(mailbox.recover()) == 1
        assert mailbox.recover() == []
        mailbox.close()
        assert {path.name for path in (root / "tmp").iterdir()} == {"1.other", alive.name, foreign.name}

    def test_a_write_that_fails_is_an_outcome_and_leaves_nothing(self, root: Path) -> None:
        large = Deposit(mail("large", "A line.\n" * 20_000), "INBOX")
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            placed = put(root, Deposit(mail("small"), "INBOX"), large, Deposit(mail("small too"), "INBOX"))
            outcomes = [one.outcome for one in placed]
            os._exit(0 if outcomes == [Outcome.RESTORED, Outcome.FAILED, Outcome.RESTORED] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(path.read_bytes() for path in (root / "cur").iterdir()) == [mail("small"), mail("small too")]
        assert not list((root / "tmp").iterdir())


def test_a_file_that_grows_while_it_is_read_is_damaged() -> None:
    """Files in /proc say that they are empty and are not: they have grown by the time they are read."""
    fd = os.open("/proc/self", os.O_RDONLY)
    try:
        with pytest.raises(ItemDamaged, match="changed while it was read"):
            read_file("status", fd)
    finally:
        os.close(fd)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("action", ["hard", "trash", "put"])
def test_s19_names_and_files_are_flushed_before_anything_depends_on_them(root: Path, action: str) -> None:
    """What a removal and an addition ask of the kernel, in order."""
    if action != "put":
        for number in range(3):
            (root / "cur" / f"{number}.x:2,S").write_bytes(mail(f"number {number}"))
    make(root / ".Trash")
    script = (
        "import sys; sys.path.insert(0, 'tests/stores'); from pathlib import Path\n"
        "import test_maildir as t; from excise.model.item import *\n"
        f"root = Path({str(root)!r}); chosen = t.targets(root)\n"
        f"action = {action!r}\n"
        "if action == 'put': t.put(root, Deposit(t.mail('new'), 'INBOX'))\n"
        "else: t.remove(root, chosen, Disposal(action))\n"
        "print('answered', flush=True)"
    )
    log = root.parent / "trace"
    calls = "trace=linkat,unlinkat,fsync,openat,close,dup,write"
    project = Path(__file__).parents[2]
    command = ["strace", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    subprocess.run(command, check=True, cwd=project, env=environment, stdout=subprocess.DEVNULL)
    lines = log.read_text().splitlines()
    at = [n for n, line in enumerate(lines) if re.match(r"(linkat|unlinkat)\(.*(/cur>|/tmp>)", line)]
    flushed = [(n, re.search(r"<(.*)>", line)[1]) for n, line in enumerate(lines) if line.startswith("fsync(")]
    answered = next(n for n, line in enumerate(lines) if "answered" in line)

    def is_flushed(place: Path, after: int, before: int) -> bool:
        return any(after < n < before and Path(path) == place for n, path in flushed)

    unlinks = [n for n in at if lines[n].startswith("unlinkat")]
    links = [n for n in at if lines[n].startswith("linkat")]
    assert at
    if action != "put":
        assert len(unlinks) == 3
        assert is_flushed(root / "cur", unlinks[-1], answered)
    if action == "trash":
        assert len(links) == 3
        assert is_flushed(root / ".Trash" / "cur", links[-1], unlinks[0])
    if action == "put":
        [link] = links
        assert any(n < link and "/tmp/" in path for n, path in flushed), "the file, before it has its name"
        assert is_flushed(root / "cur", link, answered)


def test_s03_only_a_maildir_is_one(tmp_path: Path) -> None:
    (tmp_path / "cur").mkdir()
    (tmp_path / "new").mkdir()
    assert not STORE.claims(tmp_path, b"")
    with pytest.raises(ExciseError, match="expected a Maildir"):
        STORE.open(f"maildir:{tmp_path}")
    (tmp_path / "tmp").mkdir()
    assert STORE.claims(tmp_path, b"")
    assert not STORE.claims(tmp_path, b"From ")
