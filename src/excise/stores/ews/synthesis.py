"""A message made of an item's properties, for items of which the server gives no MIME."""

from __future__ import annotations

from email.header import Header
from email.utils import format_datetime, formataddr

from excise.stores.ews.item import EwsItem


def made_of_properties(item: EwsItem) -> bytes:
    """Header and plain text of ``item`` in RFC 5322 form; the same each time."""
    fields: list[tuple[str, str]] = []
    for name, people in (("From", "From"), ("To", "ToRecipients"), ("Cc", "CcRecipients"), ("Bcc", "BccRecipients")):
        found = item.people(people)
        if found:
            fields.append((name, ", ".join(formataddr((_line(n), _line(a) or "unknown")) for n, a in found)))
    if item.subject:
        charset = None if item.subject.isascii() else "utf-8"
        subject = Header(_line(item.subject), charset, header_name="Subject").encode(linesep="\r\n")
        fields.append(("Subject", subject))
    if item.sent is not None:
        fields.append(("Date", format_datetime(item.sent)))
    if item.message_id:
        fields.append(("Message-ID", _line(item.message_id)))
    fields.append(("X-Item-Class", _line(item.item_class)))
    fields.append(("MIME-Version", "1.0"))
    fields.append(("Content-Type", "text/plain; charset=utf-8"))
    fields.append(("Content-Transfer-Encoding", "8bit"))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    body = "\r\n".join(item.body.splitlines())
    return f"{head}\r\n{body}\r\n".encode("utf-8", "replace")


def _line(text: str) -> str:
    return " ".join(text.split())
