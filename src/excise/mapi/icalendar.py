"""Appointments, meetings and tasks as iCalendar (RFC 5545), as far as one event goes ([MS-OXCICAL])."""

from __future__ import annotations

import re
from datetime import datetime

from excise.mapi.addresses import Address
from excise.mapi.item import MapiItem, RecipientType
from excise.mapi.mime_entity import Entity, text_entity
from excise.mapi.mime_fields import is_internet
from excise.mapi.tags import (
    PidLidAppointmentEndWhole,
    PidLidAppointmentSequence,
    PidLidAppointmentStartWhole,
    PidLidAppointmentSubType,
    PidLidCleanGlobalObjectId,
    PidLidGlobalObjectId,
    PidLidLocation,
    PidLidPercentComplete,
    PidLidRecurring,
    PidLidTaskDateCompleted,
    PidLidTaskDueDate,
    PidLidTaskStartDate,
    PidLidTaskStatus,
    PidTagCreationTime,
    PidTagLastModificationTime,
    PidTagSearchKey,
)

_METHODS = {
    "IPM.SCHEDULE.MEETING.REQUEST": ("REQUEST", ""),
    "IPM.SCHEDULE.MEETING.CANCELED": ("CANCEL", ""),
    "IPM.SCHEDULE.MEETING.RESP.POS": ("REPLY", "ACCEPTED"),
    "IPM.SCHEDULE.MEETING.RESP.NEG": ("REPLY", "DECLINED"),
    "IPM.SCHEDULE.MEETING.RESP.TENT": ("REPLY", "TENTATIVE"),
    "IPM.APPOINTMENT": ("PUBLISH", ""),
}
_TASK_STATUS = {0: "NEEDS-ACTION", 1: "IN-PROCESS", 2: "COMPLETED", 3: "NEEDS-ACTION", 4: "NEEDS-ACTION"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def calendar_part(item: MapiItem, text: str) -> tuple[Entity | None, list[str]]:
    """A text/calendar part for a calendar or task item, else None; and notes on what it does not say.

    ``text`` is the item's plain text body, for the description.
    """
    upper = item.message_class.upper()
    for prefix, (method, answer) in _METHODS.items():
        if upper == prefix or upper.startswith(prefix + "."):
            lines = _event(item, text, method, answer)
            notes = ["the appointment recurs; iCalendar shows its first date only"] * bool(
                item.properties.boolean(PidLidRecurring)
            )
            return _part(lines, method), notes
    if upper == "IPM.TASK" or upper.startswith(("IPM.TASK.", "IPM.TASKREQUEST")):
        return _part(_task(item, text), "PUBLISH"), []
    return None, []


def _part(lines: list[str], method: str) -> Entity:
    whole = [
        "BEGIN:VCALENDAR",
        "PRODID:-//Excise//MAPI//EN",
        "VERSION:2.0",
        f"METHOD:{method}",
        *lines,
        "END:VCALENDAR",
    ]
    data = "".join(fold_line(line) for line in whole).encode("utf-8", "replace")
    return text_entity("calendar", data, "utf-8", f"; method={method}")


def fold_line(line: str) -> str:
    """A content line cut into lines of at most 75 bytes, with its line end (RFC 5545 3.1, RFC 6350 3.2)."""
    pieces, size = [""], 0
    for char in line:
        width = len(char.encode("utf-8", "replace"))
        if size + width > 75:
            pieces.append(" ")
            size = 1
        pieces[-1] += char
        size += width
    return "\r\n".join(pieces) + "\r\n"


def escape(text: str) -> str:
    """``text`` as a TEXT value: no line break and no separator stands bare."""
    text = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return re.sub("\r\n|\r|\n|\u2028|\u2029|\x85", r"\\n", text)


def _event(item: MapiItem, text: str, method: str, answer: str) -> list[str]:
    bag = item.properties
    start, end = bag.time(PidLidAppointmentStartWhole), bag.time(PidLidAppointmentEndWhole)
    whole_day = bool(bag.boolean(PidLidAppointmentSubType))
    lines = ["BEGIN:VEVENT", *_common(item, text)]
    lines += _moment("DTSTART", start, whole_day) + _moment("DTEND", end, whole_day)
    location = bag.text(PidLidLocation)
    lines += [f"LOCATION:{escape(location)}"] if location else []
    lines.append(f"SEQUENCE:{max(0, bag.integer(PidLidAppointmentSequence) or 0)}")
    if method == "REPLY":
        lines += _attendee(item.representing, f";PARTSTAT={answer}")
        organisers = item.recipients_of(RecipientType.To)[:1]
    else:
        organisers = [item.representing] if item.representing else []
        for kind, role in ((RecipientType.To, "REQ-PARTICIPANT"), (RecipientType.Cc, "OPT-PARTICIPANT")):
            for person in item.recipients_of(kind):
                lines += _attendee(person, f";ROLE={role}")
    lines += [line for person in organisers for line in _person("ORGANIZER", person, "")]
    lines += ["STATUS:CANCELLED"] if method == "CANCEL" else []
    return [*lines, "END:VEVENT"]


def _task(item: MapiItem, text: str) -> list[str]:
    bag = item.properties
    lines = ["BEGIN:VTODO", *_common(item, text)]
    lines += _moment("DTSTART", bag.time(PidLidTaskStartDate), True) + _moment("DUE", bag.time(PidLidTaskDueDate), True)
    lines += _moment("COMPLETED", bag.time(PidLidTaskDateCompleted), False)
    status = _TASK_STATUS.get(bag.integer(PidLidTaskStatus) or 0)
    lines += [f"STATUS:{status}"] if status else []
    percent = bag.get(PidLidPercentComplete)
    if isinstance(percent, float) and 0 <= percent <= 1:
        lines.append(f"PERCENT-COMPLETE:{round(percent * 100)}")
    return [*lines, "END:VTODO"]


def _common(item: MapiItem, text: str) -> list[str]:
    bag = item.properties
    stamp = bag.time(PidTagLastModificationTime) or item.submitted or bag.time(PidTagCreationTime)
    uid = bag.binary(PidLidCleanGlobalObjectId) or bag.binary(PidLidGlobalObjectId) or bag.binary(PidTagSearchKey)
    lines = [f"UID:{(uid or b'').hex().upper() or 'unknown'}"]
    lines += _moment("DTSTAMP", stamp, False)
    lines.append(f"SUMMARY:{escape(item.subject)}")
    return [*lines, f"DESCRIPTION:{escape(text)}"] if text else lines


def _moment(name: str, moment: datetime | None, whole_day: bool) -> list[str]:
    if moment is None:
        return []
    if whole_day and not (moment.hour or moment.minute or moment.second):
        return [f"{name};VALUE=DATE:{moment.year:04}{moment:%m%d}"]
    return [f"{name}:{moment.year:04}{moment:%m%dT%H%M%SZ}"]


def _attendee(person: Address, parameters: str) -> list[str]:
    return _person("ATTENDEE", person, parameters)


def _person(name: str, person: Address, parameters: str) -> list[str]:
    if not is_internet(person):
        return []
    shown = re.sub(r'["\x00-\x1f\x7f\x85\u2028\u2029]', " ", person.name)
    return [f"{name}" + (f';CN="{shown}"' if shown else "") + f"{parameters}:mailto:{person.smtp}"]
