"""What is asked of Autodiscover services, and what they answer: JSON ("version 2"), plain XML [MS-OXDSCLI], and SOAP
[MS-OXWSADISC]. Only text in and out; no entity is expanded and a document type is refused (S27)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from lxml import etree

from excise.core.text import shown

PLAIN, SOAP = "/autodiscover/autodiscover.xml", "/autodiscover/autodiscover.svc"
_REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_NS = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_ADDRESSING = "http://www.w3.org/2005/08/addressing"
_ACTION = f"{_NS}/Autodiscover/GetUserSettings"


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: addresses of EWS, the best first; or another service or another mailbox to ask about; or why not."""

    urls: tuple[str, ...] = ()
    service: str = ""
    address: str = ""
    problem: str = ""


class NoAnswer(Exception):
    """What came is no answer of this kind; the text says what it is instead."""


def json_path(address: str, hops: int) -> str:
    """What is asked for without a login, by GET."""
    return f"/autodiscover/autodiscover.json?Email={quote(address)}&Protocol=EWS&RedirectCount={hops}"


def plain_request(address: str) -> bytes:
    """The request in plain XML."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{_REQUEST}"><Request>'
        f"<EMailAddress>{escape(address)}</EMailAddress>"
        f"<AcceptableResponseSchema>{_OUTLOOK}</AcceptableResponseSchema></Request></Autodiscover>"
    ).encode()


def soap_request(address: str, url: str) -> bytes:
    """The request in SOAP."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{_ENVELOPE}" xmlns:a="{_NS}" '
        f'xmlns:w="{_ADDRESSING}"><s:Header><a:RequestedServerVersion>Exchange2013</a:RequestedServerVersion>'
        f"<w:Action>{_ACTION}</w:Action><w:To>{escape(url)}</w:To></s:Header><s:Body>"
        f"<a:GetUserSettingsRequestMessage><a:Request><a:Users><a:User><a:Mailbox>{escape(address)}</a:Mailbox></a:User>"
        "</a:Users><a:RequestedSettings><a:Setting>InternalEwsUrl</a:Setting><a:Setting>ExternalEwsUrl</a:Setting>"
        "</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage></s:Body></s:Envelope>"
    ).encode()


def read_json(data: bytes) -> Told:
    """An answer in JSON; NoAnswer where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("what it answers is not JSON") from error
    if not isinstance(found, dict):
        raise NoAnswer("what it answers is another JSON")
    url = found.get("Url")
    if isinstance(url, str) and url:
        return Told(urls=(url,))
    code = found.get("ErrorCode")
    if isinstance(code, str):
        return Told(problem=shown(f"{code}: {found.get('ErrorMessage', '')}", 300))
    raise NoAnswer("what it answers is another JSON")


def read_plain(data: bytes) -> Told:
    """An answer in plain XML; NoAnswer where it is none."""
    root = _root(data)
    if _name(root) != "Autodiscover":
        raise NoAnswer(f"what it answers is another XML ({shown(_name(root), 60)})")
    action = _text(root, "Action").lower()
    if action == "redirectaddr":
        return Told(address=_text(root, "RedirectAddr"))
    if action == "redirecturl":
        return Told(service=_text(root, "RedirectUrl"))
    urls: dict[str, str] = {}
    for protocol in (one for one in root.iter() if _name(one) == "Protocol"):
        url = _text(protocol, "EwsUrl")
        if url:
            urls.setdefault(_text(protocol, "Type").upper(), url)
    if urls:
        best = sorted(urls, key=lambda kind: {"EXHTTP": 0, "EXCH": 1}.get(kind, 2))
        return Told(urls=tuple(dict.fromkeys(urls[kind] for kind in best)))
    words = _text(root, "Message") or "it names no Exchange Web Services"
    return Told(problem=shown(words, 300))


def read_soap(data: bytes) -> Told:
    """An answer in SOAP; NoAnswer where it is none."""
    root = _root(data)
    if _name(root) != "Envelope":
        raise NoAnswer(f"what it answers is another XML ({shown(_name(root), 60)})")
    target = _text(root, "RedirectTarget")
    codes = [one.text or "" for one in root.iter() if _name(one) == "ErrorCode"]
    if target and "RedirectAddress" in codes:
        return Told(address=target)
    if target and "RedirectUrl" in codes:
        return Told(service=target)
    urls: dict[str, str] = {}
    for setting in (one for one in root.iter() if _name(one) == "UserSetting"):
        urls[_text(setting, "Name")] = _text(setting, "Value")
    found = [urls.get(name, "") for name in ("InternalEwsUrl", "ExternalEwsUrl")]
    if any(found):
        return Told(urls=tuple(dict.fromkeys(filter(None, found))))
    wrong = next((code for code in codes if code not in ("", "NoError")), "it names no Exchange Web Services")
    return Told(problem=shown(f"{wrong}: {_text(root, 'ErrorMessage')}".strip(": "), 300))


def _root(data: bytes) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NoAnswer("what it answers is not XML") from error
    if root.getroottree().docinfo.doctype:
        raise NoAnswer("what it answers has a document type")
    return root


def _name(element: Any) -> str:
    return str(etree.QName(element).localname) if isinstance(element.tag, str) else ""


def _text(element: Any, name: str) -> str:
    return next(((one.text or "").strip() for one in element.iter() if _name(one) == name), "")
