"""Restrictions: every SearchExpression of the schema, over the fields and properties of items and folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from .mime import Address
from .model import Extended
from .shapes import extended_key
from .soap import Element, EwsError, T

# What Exchange refuses in a restriction.
UNSUPPORTED = frozenset(
    {
        "item:MimeContent", "item:Attachments", "item:ItemId", "item:ParentFolderId", "item:InternetMessageHeaders",
        "message:ToRecipients", "message:CcRecipients", "message:BccRecipients", "message:ReplyTo",
        "item:EffectiveRights", "item:UniqueBody", "item:ResponseObjects", "item:ConversationId",
    }
)  # fmt: skip
_NUMBERS = {
    "item:Importance": {"low": 0, "normal": 1, "high": 2},
    "item:Sensitivity": {"normal": 0, "personal": 1, "private": 2, "confidential": 3},
}


@dataclass(frozen=True)
class Subject:
    """What a restriction is asked about: how to get its fields and its extended properties."""

    field: Callable[[str], object]
    extended: Callable[[str], Extended | None]
    bodies: bool = True


def matches(expression: Element, subject: Subject) -> bool:
    """Whether the subject fulfils a SearchExpression; EwsError where a server refuses the expression."""
    name = etree.QName(expression).localname
    if name in ("And", "Or", "Not"):
        return _boolean(name, [child for child in expression if isinstance(child.tag, str)], subject)
    path = expression[0]
    _refuse(path, subject)
    value = _value(path, subject)
    if name == "Exists":
        return value is not None
    if name == "Excludes":
        return not int(value or 0) & _mask(expression)  # type: ignore[call-overload]
    if name == "Contains":
        return _contains(expression, value)
    if name in _COMPARE:
        return _compared(name, expression, path, value, subject)
    raise EwsError("ErrorInvalidRestriction", f"The restriction {name} is unknown.")


def check(expression: Element, subject: Subject) -> None:
    """Refuse what a server refuses, without anything to match: an empty folder refuses as well."""
    for part in expression.iter():
        if isinstance(part.tag, str) and etree.QName(part).localname in ("FieldURI", "ExtendedFieldURI"):
            _refuse(part, subject)


def _boolean(name: str, parts: list[Element], subject: Subject) -> bool:
    if name == "Not":
        return not matches(parts[0], subject)
    found = (matches(part, subject) for part in parts)
    return all(found) if name == "And" else any(found)


def _refuse(path: Element, subject: Subject) -> None:
    uri = path.get("FieldURI", "")
    if uri in UNSUPPORTED or (uri in ("item:Body", "item:TextBody") and not subject.bodies):
        raise EwsError("ErrorUnsupportedPathForQuery", f"The property {uri} cannot be used in a restriction.")


def _value(path: Element, subject: Subject) -> object:
    name = etree.QName(path).localname
    if name == "FieldURI":
        return subject.field(path.get("FieldURI", ""))
    if name == "ExtendedFieldURI":
        found = subject.extended(extended_key(path))
        return None if found is None else _typed(*found)
    raise EwsError("ErrorUnsupportedPathForQuery", f"{name} cannot be used in a restriction.")


def _typed(kind: str, content: str | list[str]) -> object:
    if isinstance(content, list):
        return content
    if kind in ("Integer", "Short", "Long"):
        return int(content)
    if kind == "Boolean":
        return content == "true"
    if kind == "SystemTime":
        return _time(content)
    return content


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise EwsError("ErrorInvalidRestriction", f"The time {text} has no zone.")
    return found


def _mask(expression: Element) -> int:
    mask = expression.find(f"{{{T}}}Bitmask")
    return int(mask.get("Value", "0"), 0) if mask is not None else 0


def _contains(expression: Element, value: object) -> bool:
    constant = expression.find(f"{{{T}}}Constant")
    wanted = constant.get("Value", "") if constant is not None else ""
    mode = expression.get("ContainmentMode", "FullString")
    comparison = expression.get("ContainmentComparison", "Exact")
    if isinstance(value, bool | int | datetime):
        raise EwsError("ErrorContainsFilterWrongType", "Contains needs a property that is a string.")
    return any(_text_contains(_folded(text, comparison), _folded(wanted, comparison), mode) for text in _texts(value))


def _texts(value: object) -> list[str]:
    """The texts in which Contains looks. Of people only the display name: their addresses are another property."""
    if isinstance(value, Address):
        return [value.name or value.address]
    if isinstance(value, list):
        return [str(entry) for entry in value]
    return [] if value is None else [str(value)]


def _folded(text: str, comparison: str) -> str:
    if "IgnoreCase" in comparison:
        text = text.casefold()
    if "NonSpac" in comparison:
        text = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
    return text


def _text_contains(text: str, wanted: str, mode: str) -> bool:
    if mode == "FullString":
        return text == wanted
    if mode == "Prefixed":
        return text.startswith(wanted)
    if mode == "PrefixOnWords":
        return any(word.startswith(wanted) for word in text.split())
    if mode == "ExactPhrase":
        return f" {wanted} " in f" {text} "
    return wanted in text


_COMPARE: dict[str, Callable[[int], bool]] = {
    "IsEqualTo": lambda order: order == 0,
    "IsNotEqualTo": lambda order: order != 0,
    "IsGreaterThan": lambda order: order > 0,
    "IsGreaterThanOrEqualTo": lambda order: order >= 0,
    "IsLessThan": lambda order: order < 0,
    "IsLessThanOrEqualTo": lambda order: order <= 0,
}


def _compared(name: str, expression: Element, path: Element, value: object, subject: Subject) -> bool:
    operand = expression.find(f"{{{T}}}FieldURIOrConstant")
    if operand is None or len(operand) == 0:
        raise EwsError("ErrorInvalidRestriction", "A comparison needs a second operand.")
    if value is None:
        return name == "IsNotEqualTo"
    constant = operand.find(f"{{{T}}}Constant")
    if constant is None:
        return _ordered(name, value, _value(operand[0], subject))
    text = constant.get("Value", "")
    if isinstance(value, Address):
        known = {value.name.casefold(), value.address.casefold()}
        return _COMPARE[name](0 if text.casefold() in known else 1)
    if isinstance(value, list):
        found = text in [str(entry) for entry in value]
        return _COMPARE[name](0 if found else 1)
    uri = path.get("FieldURI", "")
    if uri in _NUMBERS:
        return _ordered(name, _NUMBERS[uri][str(value).lower()], _NUMBERS[uri].get(text.lower()))
    return _ordered(name, value, _as(value, text))


def _as(value: object, text: str) -> object:
    """The constant's text as the type of the property."""
    try:
        if isinstance(value, bool):
            return text.lower() in ("true", "1")
        if isinstance(value, int):
            return int(text)
        if isinstance(value, datetime):
            return _time(text)
    except ValueError as error:
        raise EwsError("ErrorInvalidValueForProperty", f"{text!r} is no value of this property.") from error
    return text


def _ordered(name: str, left: object, right: object) -> bool:
    if right is None:
        return name == "IsNotEqualTo"
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.casefold(), right.casefold()
    if left == right:
        return _COMPARE[name](0)
    return _COMPARE[name](1 if left > right else -1)  # type: ignore[operator]
