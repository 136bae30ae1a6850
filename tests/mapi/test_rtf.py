"""RTF: decompression and what is wrapped in it, on the examples of the specifications and on hostile input."""

from __future__ import annotations

import struct
import time

import compressed_rtf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.mapi.rtf import MAX_GROUPS, MAX_RTF, RtfError, decompress, read_rtf

# [MS-OXRTFCP] 4.1.1 and 4.1.2: compressed bytes and the RTF that they stand for.
EXAMPLE = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
CROSSING = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")


def test_the_examples_of_the_specification() -> None:
    assert decompress(EXAMPLE) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert decompress(CROSSING) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_compressed_rtf_comes_back(rtf: bytes, compressed: bool) -> None:
    assert decompress(compressed_rtf.compress(rtf, compressed)) == rtf


@pytest.mark.parametrize(
    "data",
    [
        b"",
        EXAMPLE[:15],
        EXAMPLE[:-4],
        EXAMPLE[:8] + b"ABCD" + EXAMPLE[12:],
        EXAMPLE[:20] + b"\xff" + EXAMPLE[21:],
        struct.pack("<II4sI", 16, MAX_RTF + 1, b"LZFu", 0) + bytes(4),
        struct.pack("<II4sI", 16, 1000, b"LZFu", 0) + bytes(4),
        struct.pack("<II4sI", 3, 3, b"LZFu", 0) + bytes(4),
    ],
)
def test_damaged_compression_is_an_error(data: bytes) -> None:
    with pytest.raises(RtfError):
        decompress(data)


def test_html_is_taken_out() -> None:
    # The shape of [MS-OXRTFEX] 4.1, with a DBCS run, a \u with its fallback, and an \mhtmltag that does not count.
    rtf = (
        rb"{\rtf1\ansi\ansicpg1251\fromhtml1 \deff0 {\fonttbl {\f0\fmodern Courier;}{\f1\fnil\fcharset128 MS Gothic;}}"
        b"\r\n" + rb"{\colortbl\red0\green0\blue0;}\uc1\pard\plain\deftab360 \f0\fs24 "
        rb"{\*\htmltag19 <html>}{\*\htmltag34 <body>\par}"
        rb"{\*\mhtmltag84 <img src=old>}{\*\htmltag84 <img src=\{new\}>}"
        rb"{\*\htmltag148 <b>}\htmlrtf {\b \htmlrtf0 bold\htmlrtf }\htmlrtf0 {\*\htmltag156 </b>}"
        rb"\tab \'cf\'f0 {\f1 \'93\'fa\'96\'7b} \u8364? \emdash \~{\*\htmltag84 &lt;}\htmlrtf \'3c\htmlrtf0 "
        rb"\line x{\*\bkmkstart b}{\*\htmltag27 </body>}{\*\htmltag27 </html>}}"
    )
    body = read_rtf(rtf)
    assert body.kind == "html"
    assert body.text == ("<html><body>\r\n<img src={new}><b>bold</b>\tПр 日本 € &mdash;&nbsp;&lt;\r\nx</body></html>")


def test_text_is_taken_out() -> None:
    rtf = rb"{\rtf1\ansi\fbidis\ansicpg1252\fromtext \deff0{\fonttbl{\f0 A;}}\uc1\pard one\par two \{\'e9\}\par}"
    assert read_rtf(rtf).kind == "text"
    assert read_rtf(rtf).text == "one\r\ntwo {é}\r\n"


def test_plain_rtf_gives_its_text() -> None:
    rtf = (
        rb"{\rtf1\ansi{\info{\title hidden}}{\stylesheet{\s0 Normal;}}{\*\generator hidden}"
        rb"\pard a\'e9{\pict\bin5 {}{}\ hidden}b\u-10179?\u-8704?\cell\row "
        rb"{\field{\*\fldinst HYPERLINK}{\fldrslt link}}}"
    )
    assert read_rtf(rtf).text == "aéb\U0001f600\t\r\nlink"


def test_hostile_rtf_is_bounded() -> None:
    with pytest.raises(RtfError):
        read_rtf(b"plain text")
    with pytest.raises(RtfError):
        read_rtf(b"{\\rtf1" + b"{" * (MAX_GROUPS + 1))
    started = time.process_time()
    for piece in (
        b"{\\b x}",
        b"\\'41",
        b"\\u65?",
        b"\\",
        b"}",
        b"\\bin99999999999 ",
        b"{\\fonttbl{\\f1\\fcharset2 x}}",
    ):
        read_rtf(b"{\\rtf1\\fromhtml1 " + piece * 20_000)
    assert time.process_time() - started < 10


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"{",
                b"}",
                b"\\",
                b"\\*",
                b"\\htmltag1 ",
                b"\\htmlrtf",
                b"\\htmlrtf0 ",
                b"\\u55357",
                b"\\uc9",
                b"\\'9",
                b"\\f1",
                b"\\fonttbl",
                b"\\fcharset128",
                b"\\'93",
                b"text",
                b"\\bin3 ",
                b"\\ansicpg932",
                b"\r\n",
                b"\0",
                b"\\par",
                b"\xff",
            ]
        ),
        max_size=40,
    )
)
def test_no_rtf_breaks_the_reader(pieces: list[bytes]) -> None:
    text = read_rtf(b"{\\rtf1\\fromhtml1" + b"".join(pieces)).text
    assert text.encode("utf-8") is not None
    assert len(text) <= 10 * sum(map(len, pieces)) + 10
