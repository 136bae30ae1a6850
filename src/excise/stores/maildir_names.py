"""Names in a Maildir: of messages, of their flags, of folders.

A message's file is called ``base:2,FLAGS``; the base names it for good, the rest changes with its flags (Maildir's own
specification; ``;`` and ``!`` stand for the colon on systems that have none in file names). Folders are named as
Dovecot and Courier name them: modified UTF-7 (RFC 3501, 5.1.3), parts joined by ``.`` (Maildir++) or by directories
(Dovecot's LAYOUT=fs).

Invariant: ``folder_path`` and ``folder_parts`` are each other's reverse for every path that the latter accepts.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from excise.stores.directory import is_component

INBOX = "INBOX"
_INFO = re.compile(r"([:;!])([12],[^:;!/]*)\Z")
_SIZE = re.compile(r",S=(\d{1,18})(?=[,:;!]|\Z)")
_BASE = re.compile(r"[^\x00-\x20\x7f/:;!.][^\x00-\x20\x7f/:;!]*\Z")
_LETTERS = {"S": "seen", "R": "answered", "F": "flagged", "D": "draft", "T": "deleted", "P": "forwarded"}
_LETTER_OF = {flag: letter for letter, flag in _LETTERS.items()}
_FORWARDED = "$Forwarded"
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_UNPRINTABLE = re.compile(r"[^ -~]+")
_ESCAPED = re.compile(r"\\(2e|2f|5c)")
_SUBDIRECTORIES = ("cur", "new", "tmp")


@dataclass(frozen=True, slots=True)
class MessageName:
    """A file name taken apart. ``info`` is what follows the separator, such as ``2,FS``; empty where there is none."""

    base: str
    info: str = ""
    separator: str = ":"

    @classmethod
    def parse(cls, name: str) -> MessageName:
        """``name`` taken apart."""
        match = _INFO.search(name)
        return cls(name) if match is None else cls(name[: match.start()], match[2], match[1])

    @property
    def text(self) -> str:
        """The file name."""
        return f"{self.base}{self.separator}{self.info}" if self.info else self.base

    @property
    def stated_size(self) -> int | None:
        """What ``,S=`` says of the size, which quota programs count by; never trusted for reading."""
        match = _SIZE.search(self.base)
        return int(match[1]) if match else None


def base_of(name: str) -> str:
    """The base of the file name ``name``."""
    match = _INFO.search(name)
    return name if match is None else name[: match.start()]


def is_base(base: str) -> bool:
    """True where a message may be given this base: no white space (Dovecot's list of UIDs is made of lines)."""
    return is_component(base, 200) and _BASE.match(base) is not None and base.isprintable()


def read_keywords(data: bytes) -> dict[str, str]:
    """Letter to keyword, from the content of a ``dovecot-keywords`` file."""
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        number, _, keyword = line.partition(" ")
        if number.isascii() and number.isdigit() and len(number) < 3 and int(number) < 26 and keyword:
            found[chr(ord("a") + int(number))] = keyword
    return found


def flags_of(info: str, keywords: Mapping[str, str]) -> frozenset[str]:
    """The flags that ``info`` gives; a letter that ``keywords`` does not know is left out."""
    if not info.startswith("2,"):
        return frozenset()
    flags = {_LETTERS.get(letter) or keywords.get(letter) for letter in info[2:]}
    if _FORWARDED in flags:
        flags = flags - {_FORWARDED} | {"forwarded"}
    return frozenset(flag for flag in flags if flag)


def info_for(flags: Iterable[str], keywords: Mapping[str, str]) -> tuple[str, list[str]]:
    """The ``info`` that gives ``flags``, and those that no letter stands for."""
    letter_of = {keyword: letter for letter, keyword in keywords.items()}
    letters, lost = set(), []
    for flag in flags:
        letter = letter_of.get(_FORWARDED) if flag == "forwarded" else None
        letter = letter or _LETTER_OF.get(flag) or letter_of.get(flag)
        if letter is None:
            lost.append(flag)
        else:
            letters.add(letter)
    return "2," + "".join(sorted(letters)), sorted(lost)


def folder_path(parts: tuple[str, ...]) -> str:
    """The path of the folder that lies in the directory ``parts`` below the Maildir."""
    if not parts:
        return INBOX
    names = parts[0][1:].split(".") if parts[0].startswith(".") else list(parts)
    path = "/".join(_decode(name) for name in names)
    return parts[0] if path == INBOX else path


def folder_parts(path: str, *, nested: bool) -> tuple[str, ...] | None:
    """The directory below the Maildir for the folder ``path``, to be made new; None where it can have none.

    ``nested``: as directories in directories, else as Maildir++.
    """
    if path in ("", INBOX):
        return ()
    names = [_encode(part, nested=nested) for part in path.split("/")]
    if any(name is None for name in names):
        return None
    parts = tuple(name for name in names if name is not None)
    if not nested:
        parts = ("." + ".".join(parts),)
    if len(parts) > 32 or not all(is_component(part) for part in parts) or folder_path(parts) != path:
        return None
    return parts


def _decode(name: str) -> str:
    """One part of a folder's path from its name on disk; a name that is not modified UTF-7 stays as it is."""
    try:
        text = _SHIFTED.sub(_unshift, name)
    except ValueError:
        text = name
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text).replace("/", "%2F")


def _unshift(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    try:
        data = base64.b64decode(match[1].replace(",", "/") + "=" * (-len(match[1]) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return data.decode("utf-16-be")


def _encode(part: str, *, nested: bool) -> str | None:
    """The reverse of ``_decode``. A ``.`` becomes ``\\2e`` for Maildir++, as Dovecot's listescape has it."""
    if part in ("", ".", "..") or "\0" in part or (nested and part in _SUBDIRECTORIES):
        return None
    text = part.replace("\\", "\\5c").replace("%2F", "\\2f")
    if not nested:
        text = text.replace(".", "\\2e")
    elif text.startswith("."):
        text = "\\2e" + text[1:]
    try:
        return _UNPRINTABLE.sub(_shift, text.replace("&", "&-"))
    except UnicodeEncodeError:
        return text.replace("&-", "&")  # bytes that are no text: the name on disk was not modified UTF-7 either


def _shift(match: re.Match[str]) -> str:
    coded = base64.b64encode(match[0].encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",")
    return f"&{coded}-"
