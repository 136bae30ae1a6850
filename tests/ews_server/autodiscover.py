"""Autodiscover: where a mailbox is served, told in SOAP (autodiscover.svc), in plain XML (autodiscover.xml), and
without a login in JSON (autodiscover.json)."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from lxml import etree

from .model import Mailbox
from .soap import SOAP, XSI, Element, legal_text
from .world import World

PATHS = ("/autodiscover/autodiscover.svc", "/autodiscover/autodiscover.xml")
JSON_PATH = "/autodiscover/autodiscover.json"
NS = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
_REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"


def autodiscover(world: World, url: str, path: str, data: bytes) -> tuple[int, bytes]:
    """Answer a request at one of `PATHS`: the HTTP status and XML. `url` is the EWS endpoint."""
    try:
        tree = etree.fromstring(data)
    except etree.XMLSyntaxError:
        return 400, b"Bad Request"
    made = _soap(world, url, tree) if path.lower().endswith(".svc") else _plain(world, url, tree)
    return 200, bytes(etree.tostring(made, xml_declaration=True, encoding="utf-8"))


def without_login(url: str, target: str) -> tuple[int, bytes]:
    """Answer a GET of `JSON_PATH`: the HTTP status and JSON. Nothing tells whether there is such a mailbox."""
    asked = {name.lower(): values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    if asked.get("protocol", "").lower() != "ews" or "@" not in asked.get("email", ""):
        told = {"ErrorCode": "InvalidProtocol", "ErrorMessage": "The given protocol value is invalid."}
        return 400, json.dumps(told).encode()
    return 200, json.dumps({"Protocol": "EWS", "Url": url}).encode()


def _settings(mailbox: Mailbox, url: str) -> dict[str, str]:
    return {
        "AutoDiscoverSMTPAddress": mailbox.address,
        "UserDisplayName": mailbox.name,
        "UserDN": mailbox.legacy_dn,
        "UserDeploymentId": mailbox.guid,
        "MailboxDN": mailbox.legacy_dn,
        "InternalEwsUrl": url,
        "ExternalEwsUrl": url,
        "EwsSupportedSchemas": "Exchange2007, Exchange2010, Exchange2010_SP2, Exchange2013, Exchange2013_SP1",
        "CasVersion": "15.01.2507.037",
    }


def _add(parent: Element, namespace: str, name: str, text: str | None = None) -> Element:
    made = etree.SubElement(parent, f"{{{namespace}}}{name}")
    if text is not None:
        made.text = legal_text(text)
    return made


def _soap(world: World, url: str, tree: Element) -> Element:
    root = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"s": SOAP, "a": NS, "i": XSI})
    body = _add(root, SOAP, "Body")
    response = _add(_add(body, NS, "GetUserSettingsResponseMessage"), NS, "Response")
    _add(response, NS, "ErrorCode", "NoError")
    _add(response, NS, "ErrorMessage", "")
    users = _add(response, NS, "UserResponses")
    wanted = [setting.text or "" for setting in tree.iterfind(f".//{{{NS}}}Setting")]
    for address in tree.iterfind(f".//{{{NS}}}User/{{{NS}}}Mailbox"):
        _user(users, world.find_mailbox((address.text or "").strip()), url, wanted)
    return root


def _user(users: Element, mailbox: Mailbox | None, url: str, wanted: list[str]) -> None:
    user = _add(users, NS, "UserResponse")
    if mailbox is None or mailbox.kind != "mailbox":
        _add(user, NS, "ErrorCode", "InvalidUser")
        _add(user, NS, "ErrorMessage", "Invalid user.")
        return
    _add(user, NS, "ErrorCode", "NoError")
    _add(user, NS, "ErrorMessage", "No error.")
    known = _settings(mailbox, url)
    errors = _add(user, NS, "UserSettingErrors")
    settings = _add(user, NS, "UserSettings")
    for name in wanted:
        if name in known:
            setting = _add(settings, NS, "UserSetting")
            setting.set(f"{{{XSI}}}type", "a:StringSetting")
            _add(setting, NS, "Name", name)
            _add(setting, NS, "Value", known[name])
        else:
            error = _add(errors, NS, "UserSettingError")
            _add(error, NS, "ErrorCode", "SettingIsNotAvailable")
            _add(error, NS, "ErrorMessage", "The setting is not available.")
            _add(error, NS, "SettingName", name)


def _plain(world: World, url: str, tree: Element) -> Element:
    root = etree.Element(f"{{{_RESPONSE}}}Autodiscover", nsmap={None: _RESPONSE})
    wanted = tree.findtext(f".//{{{_REQUEST}}}EMailAddress") or tree.findtext(f".//{{{_REQUEST}}}LegacyDN") or ""
    mailbox = world.find_mailbox(wanted.strip())
    if mailbox is None:
        error = _add(_add(root, _RESPONSE, "Response"), _RESPONSE, "Error")
        _add(error, _RESPONSE, "ErrorCode", "500")
        _add(error, _RESPONSE, "Message", "The email address can't be found.")
        return root
    response = etree.SubElement(root, f"{{{_OUTLOOK}}}Response", nsmap={None: _OUTLOOK})
    user = _add(response, _OUTLOOK, "User")
    _add(user, _OUTLOOK, "DisplayName", mailbox.name)
    _add(user, _OUTLOOK, "LegacyDN", mailbox.legacy_dn)
    _add(user, _OUTLOOK, "AutoDiscoverSMTPAddress", mailbox.address)
    account = _add(response, _OUTLOOK, "Account")
    _add(account, _OUTLOOK, "AccountType", "email")
    _add(account, _OUTLOOK, "Action", "settings")
    for kind in ("EXCH", "EXPR"):
        protocol = _add(account, _OUTLOOK, "Protocol")
        _add(protocol, _OUTLOOK, "Type", kind)
        _add(protocol, _OUTLOOK, "EwsUrl", url)
    return root
