"""SOAP of Exchange Web Services: requests as bytes, answers as checked elements.

A rule of the reader: an answer is whole (it ends with its envelope, and it is well-formed XML), it answers the
operation that was asked, and it has one response message for each thing that was asked for. Anything else raises.
No entity is expanded and a document type is refused (S27). Large contents go to disk as they come (``sieve``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from excise.core.bulk import SMALL, pieces
from excise.core.text import shown
from excise.stores.ews.sieve import BULK, Base64, NotXml, read_document

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
#: The oldest schema that has all that is asked for (Exchange Server 2013 SP1 and later).
SCHEMA = "Exchange2013_SP1"

_S, _M, _T = f"{{{SOAP}}}", f"{{{MESSAGES}}}", f"{{{TYPES}}}"
_FRACTION = re.compile(r"(\.\d{1,6})\d*")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: An lxml element; the library has no types of its own.
Element = Any
#: The body of a request: XML, or parts of it, of which bytes go in base64.
Body = str | tuple[str | bytes, ...]


class BadAnswer(Exception):
    """The answer is cut, is not XML, or answers something else: nothing can be learnt from it."""


class Fault(Exception):
    """The server refused the request as a whole. ``back_off`` in seconds, where it asks for a pause."""

    def __init__(self, code: str, text: str, back_off: float | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.back_off = code, text, back_off


@dataclass(frozen=True, slots=True)
class Answer:
    """One response message: its code, what the server says of it, the element, and the pause that it asks for.

    ``bulk``: the large contents of the whole answer, by the mark of their elements; see ``content_at``.
    """

    code: str
    text: str
    element: Element
    back_off: float | None = None
    bulk: Mapping[str, Base64] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """True where it was done."""
        return self.code == "NoError"

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: the server's version in words, and the response messages in their order."""

    version: str
    answers: tuple[Answer, ...]


def envelope(body: Body, impersonate: str = "") -> bytes | Request:
    """A request with ``body``, in the name of the owner of ``impersonate`` where that is not empty."""
    header = f'<t:RequestServerVersion Version="{SCHEMA}"/>'
    if impersonate:
        header += (
            "<t:ExchangeImpersonation><t:ConnectingSID>"
            f"<t:PrimarySmtpAddress>{text(impersonate)}</t:PrimarySmtpAddress>"
            "</t:ConnectingSID></t:ExchangeImpersonation>"
        )
    start = (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
        f"<s:Header>{header}</s:Header><s:Body>"
    )
    made = Request((start, *([body] if isinstance(body, str) else body), "</s:Body></s:Envelope>"))
    return made if len(made) > SMALL else b"".join(made)


class Request:
    """A request that is made each time it is sent, so that a large content in it is not held in memory again."""

    def __init__(self, parts: Sequence[str | bytes]) -> None:
        """``parts``: those that are bytes go in base64."""
        self._parts = [part.encode() if isinstance(part, str) else _Encoded(part) for part in parts]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part


class _Encoded:
    """``data`` in base64."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return (len(self._data) + 2) // 3 * 4

    def __iter__(self) -> Iterator[bytes]:
        return (base64.b64encode(piece) for piece in pieces(self._data, 3 << 18))


def text(value: str) -> str:
    """``value`` as XML text; what XML cannot hold becomes U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", value))


def attribute(value: str) -> str:
    """``value`` as a quoted XML attribute."""
    return quoteattr(_NOT_XML.sub("\ufffd", value))


def read_reply(data: Iterable[bytes], operation: str, expected: int | None = None) -> Reply:
    """The answer to ``operation`` in the pieces ``data``; ``expected`` response messages where that is given.

    A Fault where the server refused the request, a BadAnswer where ``data`` is no whole answer to it.
    """
    try:
        root, bulk = read_document(data)
    except NotXml as error:
        raise BadAnswer(f"the answer to {operation} {error}") from error
    bodies = root.findall(f"{_S}Body")
    body = next(iter(bodies[0]), None) if len(bodies) == 1 else None
    if body is None:
        raise BadAnswer(f"the answer to {operation} has no body")
    if body.tag == f"{_S}Fault":
        raise _fault(body)
    if body.tag != f"{_M}{operation}Response":
        raise BadAnswer(f"expected an answer to {operation}, found {shown(str(body.tag), 120)}")
    listed = body.find(f"{_M}ResponseMessages")
    if listed is None:
        listed = [body]
    answers = tuple(_answer(message, bulk) for message in listed if isinstance(message.tag, str))
    if expected is not None and len(answers) != expected:
        raise BadAnswer(f"expected {expected} answers to {operation}, found {len(answers)}")
    return Reply(_version(root), answers)


def _answer(message: Element, bulk: Mapping[str, Base64]) -> Answer:
    code = (message.findtext(f"{_M}ResponseCode") or "").strip()
    kind = message.get("ResponseClass")
    if not code or (code == "NoError") != (kind == "Success"):
        code = code if code and code != "NoError" else f"no response code in a response of the class {kind}"
    # What succeeded may be large, and has no details that are worth a walk through it.
    values = {} if code == "NoError" and message.find(f"{_M}MessageXml") is None else _values(message)
    inner = values.get("InnerErrorResponseCode")
    words = (message.findtext(f"{_M}MessageText") or "").strip()
    if inner and inner != code:
        # ErrorInternalServerError is what Exchange wraps its quota errors in; the inner code says what happened.
        code, words = inner, f"{words} (in {code})"
    return Answer(shown(code, 120), shown(words, 500), message, _pause(values), bulk)


def _values(element: Element) -> dict[str, str]:
    found = element.iter(f"{_T}Value")
    return {value.get("Name", ""): (value.text or "").strip() for value in found if value.get("Name")}


def _pause(values: dict[str, str]) -> float | None:
    wanted = values.get("BackOffMilliseconds", "")
    return int(wanted) / 1000 if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else None


def _fault(body: Element) -> Fault:
    texts = {etree.QName(e).localname: (e.text or "").strip() for e in body.iter() if isinstance(e.tag, str)}
    code = texts.get("ResponseCode") or texts.get("faultcode", "").rpartition(":")[2] or "a fault without a code"
    words = texts.get("Message") or texts.get("faultstring", "")
    return Fault(shown(code, 120), shown(words, 500), _pause(_values(body)))


def _version(root: Element) -> str:
    info = root.find(f"{_S}Header/{_T}ServerVersionInfo")
    if info is None:
        return ""
    numbers = [info.get(name, "0") for name in ("MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber")]
    return shown(".".join(numbers), 40)


# Reading elements


def find(element: Element, path: str) -> Element | None:
    """The first element at ``path``, whose steps are names of the types' namespace (``m:`` before a message's)."""
    return element.find(_path(path))


def find_all(element: Element, path: str) -> Sequence[Element]:
    """Every element at ``path``."""
    found: Sequence[Element] = element.findall(_path(path))
    return found


def text_at(element: Element, path: str) -> str | None:
    """The text at ``path``; None where there is no such element."""
    found = find(element, path)
    return None if found is None else found.text or ""


def content_at(element: Element, path: str, bulk: Mapping[str, Base64]) -> tuple[bytes, str]:
    """The bytes that stand in base64 at ``path``, and why they are not whole (empty where they are)."""
    found = find(element, path)
    if found is None:
        return b"", ""
    told = bulk.get(found.get(BULK, "")) or Base64(found.text or "")
    return told.content(), told.flaw


def children(element: Element | None) -> Iterator[Element]:
    """The child elements; none of None."""
    return (child for child in (() if element is None else element) if isinstance(child.tag, str))


def local_name(element: Element) -> str:
    """The element's name without its namespace."""
    return str(etree.QName(element).localname)


def moment(value: str | None) -> datetime | None:
    """A date and time, UTC, whatever number of digits its seconds have; None for none, or for what is no date."""
    if not value:
        return None
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", value.strip()))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


@cache
def _path(path: str) -> str:
    return "/".join(_named(step) for step in path.split("/"))


def _named(step: str) -> str:
    return _M + step[2:] if step.startswith("m:") else _T + step
