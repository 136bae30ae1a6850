"""SOAP envelopes of Exchange Web Services: what a request holds, and the answers' elements.

`T` and `M` are the types' and the messages' namespaces. Elements are made in the order of Microsoft's schemas by the
callers; nothing here sorts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from lxml import etree

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
T = "http://schemas.microsoft.com/exchange/services/2006/types"
M = "http://schemas.microsoft.com/exchange/services/2006/messages"
ERRORS = "http://schemas.microsoft.com/exchange/services/2006/errors"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
NAMESPACES = {"s": SOAP, "t": T, "m": M}

Element: TypeAlias = etree._Element

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


class EwsError(Exception):
    """An answer that is an error: the response code of one item or folder, or of the whole request as a fault.

    `values` become `t:Value` elements of the answer's MessageXml, as BackOffMilliseconds does.
    """

    def __init__(self, code: str, text: str = "", values: dict[str, str] | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text or code
        self.values = values or {}


class SoapFault(EwsError):
    """An error of the whole request, answered as a SOAP fault."""


@dataclass(frozen=True)
class Envelope:
    """A request: its operation's element, the headers that matter, and the whole of it for the schema."""

    tree: Element
    operation: str
    body: Element
    version: str
    impersonated: str
    impersonated_by: str
    time_zone: str


def parse_envelope(data: bytes) -> Envelope:
    """Read a request; SoapFault where it is none."""
    try:
        tree = etree.fromstring(data, _PARSER)
    except etree.XMLSyntaxError as error:
        raise SoapFault("ErrorSchemaValidation", f"The request failed schema validation: {error}") from error
    body = tree.find(f"{{{SOAP}}}Body")
    operation = next((child for child in body if isinstance(child.tag, str)), None) if body is not None else None
    if operation is None:
        raise SoapFault("ErrorInvalidRequest", "The request is invalid: no operation in the SOAP body.")
    sid = _impersonated(tree)
    version = tree.find(f"{{{SOAP}}}Header/{{{T}}}RequestServerVersion")
    zone = tree.find(f"{{{SOAP}}}Header/{{{T}}}TimeZoneContext/{{{T}}}TimeZoneDefinition")
    return Envelope(
        tree=tree,
        operation=etree.QName(operation).localname,
        body=operation,
        version="" if version is None else version.get("Version", ""),
        impersonated=sid[1],
        impersonated_by=sid[0],
        time_zone="UTC" if zone is None else zone.get("Id", "UTC"),
    )


def _impersonated(tree: Element) -> tuple[str, str]:
    """How the impersonated user is named (PrimarySmtpAddress, SmtpAddress …) and the name."""
    sid = tree.find(f"{{{SOAP}}}Header/{{{T}}}ExchangeImpersonation/{{{T}}}ConnectingSID")
    if sid is None:
        return "", ""
    return next(
        ((etree.QName(child).localname, (child.text or "").strip()) for child in sid if isinstance(child.tag, str)),
        ("", ""),
    )


def t(name: str, text: str | None = None, *children: Element, **attributes: str) -> Element:
    """An element of the types' namespace."""
    return _element(T, name, text, children, attributes)


def m(name: str, text: str | None = None, *children: Element, **attributes: str) -> Element:
    """An element of the messages' namespace."""
    return _element(M, name, text, children, attributes)


def _element(
    namespace: str, name: str, text: str | None, children: tuple[Element, ...], attributes: dict[str, str]
) -> Element:
    made = etree.Element(f"{{{namespace}}}{name}", nsmap={"t": T, "m": M})
    if text is not None:
        made.text = legal_text(text)
    for key, value in attributes.items():
        made.set(key, value)
    made.extend(children)
    return made


_ILLEGAL: dict[int, str] = dict.fromkeys([*(code for code in range(32) if code not in (9, 10, 13)), 0xFFFE, 0xFFFF], "")
_ILLEGAL |= dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")


def legal_text(text: str) -> str:
    """The text without what XML 1.0 cannot hold, which Exchange leaves out as well."""
    return text.translate(_ILLEGAL)


def flag(value: bool) -> str:
    """An xs:boolean."""
    return "true" if value else "false"


def time(value: datetime, fraction: int = 0) -> str:
    """An xs:dateTime in UTC with `fraction` digits after the seconds: none on Exchange, 7 to 9 elsewhere."""
    text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if fraction:
        text += "." + f"{value.microsecond:06d}".ljust(9, "0")[:fraction]
    return text + "Z"


def envelope(header: list[Element], body: Element, prefix: str = "s") -> bytes:
    """The bytes of an answer."""
    root = etree.Element(f"{{{SOAP}}}Envelope", nsmap={prefix: SOAP, "t": T, "m": M})
    head = etree.SubElement(root, f"{{{SOAP}}}Header")
    head.extend(header)
    etree.SubElement(root, f"{{{SOAP}}}Body").append(body)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def server_version(version: tuple[int, int, int, int], schema: str) -> Element:
    """The header by which a client learns what server it talks to."""
    names = ("MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber")
    numbers = {name: str(number) for name, number in zip(names, version, strict=True)}
    return t("ServerVersionInfo", **numbers, Version=schema)


def message(operation: str, *children: Element) -> Element:
    """A response message that tells of success."""
    made = m(f"{operation}ResponseMessage", None, m("ResponseCode", "NoError"), ResponseClass="Success")
    made.extend(children)
    return made


def error_message(operation: str, error: EwsError, *children: Element) -> Element:
    """A response message that tells of `error`; `children` are what the schema wants of an error too."""
    parts = [m("MessageText", error.text), m("ResponseCode", error.code), m("DescriptiveLinkKey", "0")]
    if error.values:
        parts.append(message_xml(error.values))
    return m(f"{operation}ResponseMessage", None, *parts, *children, ResponseClass="Error")


def message_xml(values: dict[str, str]) -> Element:
    """The MessageXml element of an error with its named values."""
    return m("MessageXml", None, *(t("Value", value, Name=name) for name, value in values.items()))


def fault_element(error: EwsError, detail: bool = True) -> Element:
    """A SOAP fault as Exchange makes it; without the detail as others do (the code then stands in faultcode)."""
    fault = etree.Element(f"{{{SOAP}}}Fault", nsmap={"s": SOAP})
    code = etree.SubElement(fault, "faultcode")
    code.text = f"a:{error.code}" if detail else error.code
    if detail:
        code = _faultcode_with_prefix(fault, code)
    etree.SubElement(fault, "faultstring").text = legal_text(error.text)
    if detail:
        etree.SubElement(fault, "detail").extend(_fault_detail(error))
    return fault


def _faultcode_with_prefix(fault: Element, code: Element) -> Element:
    """The faultcode again with the namespace of its prefix declared, which lxml only does at creation."""
    text = code.text
    fault.remove(code)
    made = etree.SubElement(fault, "faultcode", nsmap={"a": T})
    made.text = text
    return made


def _fault_detail(error: EwsError) -> list[Element]:
    parts = [etree.Element(f"{{{ERRORS}}}{name}", nsmap={"e": ERRORS}) for name in ("ResponseCode", "Message")]
    for part, text in zip(parts, (error.code, error.text), strict=True):
        part.text = legal_text(text)
    if error.values:
        xml = etree.Element(f"{{{T}}}MessageXml", nsmap={"t": T})
        xml.extend(t("Value", value, Name=name) for name, value in error.values.items())
        parts.append(xml)
    return parts
