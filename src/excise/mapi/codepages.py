"""Windows code pages as Python codecs and as MIME charset names ([MS-UCODEREF] 2.2.1).

Only names that Python knows in every build are listed; a page that is not listed is unknown, never guessed.
"""

from __future__ import annotations

import codecs
from functools import lru_cache

#: Code page -> MIME charset name, where it is not cp<number>.
_CHARSETS = {
    874: "windows-874",
    932: "shift_jis",
    936: "gb2312",
    949: "ks_c_5601-1987",
    950: "big5",
    1200: "utf-16le",
    1201: "utf-16be",
    1361: "johab",
    10000: "macintosh",
    12000: "utf-32le",
    12001: "utf-32be",
    20127: "us-ascii",
    20866: "koi8-r",
    20932: "euc-jp",
    20936: "gb2312",
    21866: "koi8-u",
    38598: "iso-8859-8",
    50220: "iso-2022-jp",
    50221: "iso-2022-jp",
    50222: "iso-2022-jp",
    50225: "iso-2022-kr",
    51932: "euc-jp",
    51936: "gb2312",
    51949: "euc-kr",
    52936: "hz-gb-2312",
    54936: "gb18030",
    65000: "utf-7",
    65001: "utf-8",
}
#: Code page -> Python codec, where the MIME name stands for less in Python than in Windows, or is not known to it.
_CODECS = {
    874: "cp874",
    932: "cp932",
    936: "gbk",
    949: "cp949",
    950: "cp950",
    10000: "mac_roman",
    10006: "mac_greek",
    10007: "mac_cyrillic",
    10029: "mac_latin2",
    10079: "mac_iceland",
    10081: "mac_turkish",
    50221: "iso2022_jp_ext",
    50222: "iso2022_jp_ext",
    52936: "hz",
}
#: Internet code page -> the Windows code page of the same script, in which a client of it stores its String8 values.
_WINDOWS = {
    20866: 1251,
    20932: 932,
    20936: 936,
    21866: 1251,
    28591: 1252,
    28592: 1250,
    28594: 1257,
    28595: 1251,
    28596: 1256,
    28597: 1253,
    28598: 1255,
    28599: 1254,
    28605: 1252,
    38598: 1255,
    50220: 932,
    50221: 932,
    50222: 932,
    50225: 949,
    51932: 932,
    51936: 936,
    51949: 949,
    52936: 936,
}
_DOS = frozenset({437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865, 866, 869})


@lru_cache(maxsize=256)
def charset(code_page: int) -> str | None:
    """The MIME charset name of ``code_page``, or None where it has none."""
    if code_page in _CHARSETS:
        return _CHARSETS[code_page]
    if 28591 <= code_page <= 28606 and code_page != 28602:
        return f"iso-8859-{code_page - 28590}"
    if 1250 <= code_page <= 1258:
        return f"windows-{code_page}"
    return f"ibm{code_page}" if code_page in _DOS else None


@lru_cache(maxsize=256)
def codec(code_page: int) -> str | None:
    """The Python codec of ``code_page``, or None where Python has none."""
    name = _CODECS.get(code_page) or (f"cp{code_page}" if code_page in _DOS else charset(code_page))
    if name is None:
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def windows(code_page: int) -> int:
    """The Windows code page that goes with an Internet code page; any other page is returned as it is."""
    return _WINDOWS.get(code_page, code_page)


def decode(raw: bytes, code_page: int) -> str:
    """``raw`` decoded; an unknown page or bytes that do not fit it are a ValueError."""
    name = codec(code_page)
    if name is None:
        raise ValueError(f"code page {code_page} is unknown")
    return raw.decode(name)
