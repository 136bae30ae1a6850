"""What each of ExMerge's settings becomes in a profile.

Rules: what narrows in ExMerge narrows here, or the import is refused; nothing that is empty comes to mean everything
(S01, S03); a key that is not known is an error unless it is to be ignored by name; no path in the settings is opened
but by its last part, beside them (S27). Where ExMerge's documentation does not settle what a number means, the caller
says it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from excise.api.exmerge.dates import after, parse_date
from excise.api.exmerge.ini import Settings
from excise.api.exmerge.keys import LOGGING, NO_COUNTERPART, SECTIONS
from excise.api.lists import read_mailboxes
from excise.api.text_files import read_text
from excise.core.errors import Refused, UsageError
from excise.core.text import is_blank, shown

_LIST_LIMIT = 16 << 20
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)
_SUBJECTS = {"whole": "subject", "part": "subject_contains", "start": "subject_prefix"}
_LDAPS_PORTS = (636, 3269)
#: The parts of a mailbox that ExMerge read where it was to take items from the dumpster too.
_WITH_DUMPSTER = ("primary", "recoverable")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the settings do not say. ``subjects``: ``whole``, ``part`` or ``start``; ``attachments``: ``whole`` or
    ``part``; ``folders``: ``only`` or ``except``. ``timezone``: of the dates. ``encoding``: of all files.
    ``ignored``: keys that are left out though they are not known."""

    subjects: str | None = None
    attachments: str | None = None
    folders: str | None = None
    timezone: str | None = None
    encoding: str | None = None
    ignored: frozenset[str] = frozenset()


@dataclass(slots=True)
class Conversion:
    """The settings on their way into a profile; ``notes`` says of each key, in lower case, what it became."""

    settings: Settings
    choices: Choices
    notes: dict[str, str] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    criteria: dict[str, Any] = field(default_factory=dict)
    directory: dict[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """The profile, as a table."""
        self.profile["description"] = f"From ExMerge's settings in {self.settings.file.path.name}"
        self._action()
        self._data()
        self._source()
        self._scope()
        self.profile["evidence"] = ["pst"]
        self._dates()
        self._subjects()
        self._attachments()
        self._folders()
        self._rest()
        tables = {"directory": self.directory, "criteria": self.criteria}
        return self.profile | {name: table for name, table in tables.items() if table}

    # Reading values

    def value(self, key: str) -> str:
        """A setting's value; empty where it is not set."""
        setting = self.settings.own().get(key.lower())
        return "" if setting is None or is_blank(setting.value) else setting.value

    def note(self, key: str, words: str) -> None:
        """Say what a key became."""
        self.notes[key.lower()] = words

    def number(self, key: str, known: range | tuple[int, ...], default: int) -> int:
        """A setting that is one of the numbers ``known``."""
        text = self.value(key)
        if not text:
            return default
        if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) not in known:
            raise UsageError(f"{key}: expected one of {', '.join(map(str, known))}, found {shown(text, 80)!r}")
        return int(text)

    def host(self, key: str) -> str:
        """A setting that is the name of a machine."""
        text = self.value(key).lstrip("\\")
        if text and not _HOST.fullmatch(text):
            raise UsageError(f"{key}: expected the name of a server, found {shown(text, 80)!r}")
        return text

    def beside(self, key: str) -> Path | None:
        """The list that a setting names, beside the settings whatever its path says."""
        text = self.value(key)
        if not text:
            return None
        name = PureWindowsPath(text).name
        folder = self.settings.file.path.parent
        same = sorted(place.name for place in folder.iterdir() if place.name.casefold() == name.casefold())
        if not name or len(same) != 1:
            raise UsageError(
                f"{key}: expected the file {shown(name)!r} beside {self.settings.file.path}, found "
                f"{' and '.join(map(shown, same)) or 'none'}",
                hint=f"Copy {shown(text)} from the machine that ExMerge ran on.",
            )
        return folder / same[0]

    def lines(self, key: str, what: str) -> list[tuple[int, str]]:
        """The lines of the list that a setting names, with their numbers; an empty list is refused (S01)."""
        path = self.beside(key)
        if path is None:
            return []
        file = read_text(path, self.choices.encoding, _LIST_LIMIT)
        split = file.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        found = [(number, line.strip()) for number, line in enumerate(split, 1) if not is_blank(line)]
        if not found:
            raise Refused(
                "S01",
                f"{path}: expected {what}, found none; no {what} must not mean all mail",
                hint="Fill the list in.",
            )
        if file.assumed:
            self.note(key, f" (read as {file.encoding}; --encoding says otherwise)")
        return found

    # What they become

    def _action(self) -> None:
        merge = self.number("MergeAction", range(3), 0)
        if merge == 1:
            raise UsageError(
                "MergeAction=1 puts PST files into mailboxes, which is no job of a profile",
                hint="Put evidence into a mailbox: excise import EVIDENCE --into SOURCE --case DIR",
            )
        second = "; the second step is excise import CASE --into SOURCE" if merge == 2 else ""
        self.note("MergeAction", f"a profile of the first step, out of the mailboxes{second}")
        method = self.number("DataImportMethod", range(4), 0)
        if method == 3 and merge == 2:
            raise UsageError(
                "DataImportMethod=3 (archive) goes with MergeAction=0 alone", hint="Correct one of the two settings."
            )
        self.profile["action"] = "move" if method == 3 else "copy"
        words = 'action = "move": preserved, verified, then removed, each step proved' if method == 3 else ""
        self.note("DataImportMethod", words or 'action = "copy"; how it merges into the target is no part of a copy')

    def _data(self) -> None:
        if not self.number("CopyUserData", range(2), 1):
            raise Refused(
                "S01",
                "CopyUserData=0 leaves out all messages, and messages are all that Excise copies",
                hint="Set CopyUserData=1 if messages are meant.",
            )
        self.note("CopyUserData", "messages and all other items, which is what Excise copies")
        dumpster = self.number("CopyDeletedItemsFromDumpster", range(2), 0)
        if dumpster:
            self.profile["parts"] = list(_WITH_DUMPSTER)
            further = "; only --disposal hard removes what lies there" if self.profile["action"] == "move" else ""
            words = f"parts: the mailbox and its Recoverable Items, each counted as a mailbox of its own{further}"
            self.note("CopyDeletedItemsFromDumpster", words)
        else:
            self.note("CopyDeletedItemsFromDumpster", "not copied, here neither")
        level = self.number("LoggingLevel", range(4), 0)
        self.note("LoggingLevel", f"no counterpart ({LOGGING[level]}): --verbose tells more, logs are always whole")

    def _source(self) -> None:
        server = self.host("SourceServerName")
        if server:
            self.profile["sources"] = [f"ews://{server}"]
            self.note("SourceServerName", f'sources = ["ews://{server}"]: write the name of a server of today')
        controller = self.host("DomainControllerForSourceServer")
        port = self.number("SrcServerLDAP-Port", range(1, 65536), 0)
        if controller:
            scheme = "ldaps" if port in (0, *_LDAPS_PORTS) else "ldap"
            self.directory["url"] = f"{scheme}://{controller}" + (f":{port}" if port else "")
            self.note("DomainControllerForSourceServer", f'directory.url = "{self.directory["url"]}", over TLS')
            self.note("SrcServerLDAP-Port", "part of directory.url")
        else:
            self.note("SrcServerLDAP-Port", "goes with DomainControllerForSourceServer, which is not set")

    def _scope(self) -> None:
        databases = [line for _, line in self.lines("FileContainingListOfDatabases", "databases")]
        listed = self.beside("FileContainingListOfMailboxes")
        server = self.host("SourceServerName")
        if databases:
            self.directory["databases"] = list(dict.fromkeys(databases))
            self._add_note("FileContainingListOfDatabases", f"directory.databases: {len(databases)}")
            self.note("FileContainingListOfMailboxes", "not used: ExMerge takes the list of databases instead")
        elif listed is not None:
            found = read_mailboxes(listed, self.choices.encoding)
            counted = len(found.entries) * len(self.profile.get("parts", ("primary",)))
            self.profile |= {"mailboxes": list(found.values), "expect_mailboxes": counted}
            again = f", {found.repeated} named more than once" if found.repeated else ""
            words = f"mailboxes: {len(found.entries)}{again}; looked up in the directory (--directory)"
            self.note("FileContainingListOfMailboxes", words)
        elif server:
            self.directory["servers"] = [server]
            self.notes["sourceservername"] += "; without a list, all its mailboxes: directory.servers"
        else:
            raise UsageError(
                "the settings name no server, no databases and no mailboxes", hint="Set SourceServerName at least."
            )

    def _dates(self) -> None:
        keys = ("SelectMessageStartDate", "SelectMessageEndDate")
        given = {key: parse_date(self.value(key), key) for key in keys if self.value(key)}
        if self.number("DateAttribute", range(2), 0) and given:
            raise Refused(
                "S01",
                "DateAttribute=1 asks for the time of the last change, which Excise has no criterion for, and without "
                "its dates the profile would match more than ExMerge did",
                hint="Set DateAttribute=0 for the time of delivery, or take the dates out.",
            )
        self.note("DateAttribute", "the dates test the time of delivery" if given else "no dates are given")
        zone = self.choices.timezone
        for key, name in zip(keys, ("received_since", "received_before"), strict=True):
            if key in given:
                at = after(given[key]) if name == "received_before" else given[key]
                self.criteria[name] = at.isoformat()
                where = zone or "the zone of the machine that reads it (--timezone names one)"
                note = ", with the second after it, since an end is exclusive here" if name == "received_before" else ""
                self.note(key, f'criteria.{name} = "{at.isoformat()}"{note}, in {where}')
        if given and zone:
            self.criteria["timezone"] = zone

    def _subjects(self) -> None:
        key = "FileContainingListOfMessageSubjects"
        found = self.lines(key, "subjects")
        if found:
            how = self._chosen("SubjectStringComparisonCriteria", self.choices.subjects, "--subjects", tuple(_SUBJECTS))
            name = _SUBJECTS[how]
            self.criteria[name] = list(dict.fromkeys(line for _, line in found))
            self._add_note(key, f"criteria.{name}: {len(self.criteria[name])}")
        else:
            self.note("SubjectStringComparisonCriteria", "no subjects are given")

    def _attachments(self) -> None:
        key = "FileContainingListOfAttachmentNames"
        found = self.lines(key, "names of attachments")
        if not found:
            self.note("AttachmentNameStringComparisonCriteria", "no names of attachments are given")
            return
        for number, line in found:
            if "*" in line or "?" in line:
                raise UsageError(
                    f"{key}, line {number}: {shown(line, 80)!r} holds * or ?, which stood for themselves in ExMerge "
                    "and stand for any characters here",
                    hint="Take the line out, and write the pattern into the profile if it is meant.",
                )
        choices = ("whole", "part")
        how = self._chosen("AttachmentNameStringComparisonCriteria", self.choices.attachments, "--attachments", choices)
        names = [line if how == "whole" else f"*{line}*" for _, line in found]
        self.criteria["attachment"] = list(dict.fromkeys(names))
        self._add_note(key, f"criteria.attachment: {len(self.criteria['attachment'])}")

    def _folders(self) -> None:
        text = self.value("ListOfFolders")
        split = text.split(";" if ";" in text else ",")
        folders = [line for _, line in self.lines("FileContainingListOfFolders", "folders")]
        folders += [part.strip() for part in split if not is_blank(part)]
        if not folders:
            self.note("FoldersProcessed", "no folders are listed: all of them")
            self.note("ApplyActionToSubFolders", "no folders are listed")
            return
        how = self._chosen("FoldersProcessed", self.choices.folders, "--folders", ("only", "except"))
        below = self.number("ApplyActionToSubFolders", range(2), 0)
        if how == "only" and not below:
            raise Refused(
                "S01",
                "ApplyActionToSubFolders is not 1: ExMerge left out what lies below the folders, and a folder means "
                "what is below it too here, so that the profile would match more",
                hint="Set ApplyActionToSubFolders=1 if what is below is meant.",
            )
        name = "folder" if how == "only" else "exclude_folder"
        self.criteria[name] = list(dict.fromkeys(path.replace("\\", "/").strip("/") for path in folders))
        paths = ", ".join(shown(path, 40) for path in self.criteria[name][:5])
        for key in ("ListOfFolders", "FileContainingListOfFolders"):
            self._add_note(key, f"criteria.{name}: {paths}")
        self.note("ApplyActionToSubFolders", "a folder means what is below it too, always")

    def _chosen(self, key: str, choice: str | None, option: str, known: tuple[str, ...]) -> str:
        if choice is None:
            raise UsageError(
                f"{key}={shown(self.value(key), 20)}: what this number means is not known for sure, and a wrong guess "
                "would match other mail",
                hint=f"Say it with {option} ({', '.join(known)}), as ExMerge's own window shows it.",
            )
        self.note(key, f"{choice}, as {option} says")
        return choice

    def _add_note(self, key: str, words: str) -> None:
        self.note(key, words + self.notes.get(key.lower(), ""))

    def _rest(self) -> None:
        unknown = []
        for key, setting in self.settings.own().items():
            if key in NO_COUNTERPART:
                self.note(key, NO_COUNTERPART[key])
            elif is_blank(setting.value):
                self.note(key, "empty: left out, as in ExMerge")
            elif key not in self.notes and key in self.choices.ignored:
                self.note(key, "not known to Excise, and ignored, as you said")
            elif key not in self.notes:
                unknown.append(f"{shown(setting.key, 60)} (line {setting.line})")
        unknown += [
            f"[{shown(setting.section, 60)}] {shown(setting.key, 60)} (line {setting.line})"
            for setting in self.settings.others()
            if setting.section.lower() not in SECTIONS and setting.key.lower() not in self.choices.ignored
        ]
        if unknown:
            raise UsageError(
                f"{self.settings.file.path}: not known to Excise, so perhaps a criterion: {', '.join(unknown[:10])}",
                hint="Look up what it does; --ignore KEY leaves it out.",
            )
