"""Charset labels from mail as Python codecs, and bytes to text that never fails (S09).

Invariant: a label from mail never reaches ``codecs.lookup`` unless it is in a fixed list. Python imports a module for
each unknown label and remembers it for ever, and some of its codecs are no charsets (``punycode``, ``unicode_escape``
…).
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases
from functools import lru_cache

# Labels that stand for more in real mail than Python's codec of that name holds.
_WIDER = {
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "cp950",
    "iso2022_jp": "iso2022_jp_ext",
    "utf_16": "utf_16",
}
_EXTRA = {
    "ks_c_5601_1987": "cp949",
    "ks_c_5601": "cp949",
    "windows_31j": "cp932",
    "x_sjis": "cp932",
    "x_euc_jp": "euc_jp",
    "x_gbk": "gb18030",
    "x_big5": "cp950",
    "windows_874": "cp874",
    "tis_620": "cp874",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "unicode_1_1_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "x_utf_8": "utf_8",
    "unicode_1_1": "utf_16",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "hz_gb_2312": "hz",
    "iso_2022_jp_ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "gb_18030": "gb18030",
    "utf_8_sig": "utf_8_sig",
}
_NOT_TEXT = frozenset(
    [
        "base64_codec",
        "bz2_codec",
        "hex_codec",
        "quopri_codec",
        "rot_13",
        "uu_codec",
        "zlib_codec",
        "mbcs",
        "oem",
        "punycode",
        "idna",
        "undefined",
        "unicode_escape",
        "raw_unicode_escape",
        "charmap",
    ]
)
_CODECS = frozenset(aliases.values()) - _NOT_TEXT | {"utf_8_sig", "cp874", "cp720", "cp875", "koi8_u", "mac_arabic"}


@lru_cache(maxsize=512)
def codec_of(label: str) -> str | None:
    """The Python codec for a charset label of RFC 2047, 2231 or Content-Type, or None where there is none."""
    name = re.sub(r"[^a-z0-9]+", "_", label.partition("*")[0].strip().strip("\"'").lower()[:64]).strip("_")
    name = _EXTRA.get(name) or aliases.get(name) or name
    if name not in _CODECS:
        return None
    name = _WIDER.get(name, name)
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def decode_text(data: bytes, label: str | None) -> tuple[str, bool]:
    """``data`` as text, and whether the charset is sure.

    The declared charset is tried first, then strict UTF-8, then Windows-1252, and Latin-1 for the bytes that
    Windows-1252 lacks. Not sure: a charset was named, and neither it nor UTF-8 fits.
    """
    plain = label is None or codec_of(label) in (None, "ascii", "cp1252", "utf-8")
    if plain and data.isascii() and b"\x1b" not in data:
        return data.decode("ascii"), True
    codec = codec_of(label) if label is not None else _undeclared(data)
    if codec is not None:
        try:
            return data.decode(codec), True
        except UnicodeDecodeError as error:
            cut = _cut(data, codec, error)
            if cut is not None:
                return cut, True
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError as error:
        cut = _cut(data, "utf-8", error) if label is None else None
        return (_western(data), label is None or codec in ("ascii", "cp1252")) if cut is None else (cut, True)


def _cut(data: bytes, codec: str, error: UnicodeDecodeError) -> str | None:
    """The text where only its end was cut off in the middle of a character, and what precedes shows the charset."""
    ends = error.reason in ("unexpected end of data", "incomplete multibyte sequence") and error.end == len(data)
    if not ends or data[: error.start].isascii():
        return None
    return data[: error.start].decode(codec, "replace") + "\ufffd"


def _undeclared(data: bytes) -> str | None:
    """Raw ISO-2022-JP announces itself by its escape sequences."""
    return "iso2022_jp_ext" if b"\x1b$" in data or b"\x1b(J" in data else None


def _western(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(bytes((byte,)).decode("cp1252", "ignore") or chr(byte) for byte in data)
