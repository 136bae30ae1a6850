"""Text from mail made safe to compare and to show (S09, S27).

``normalise`` is the one form in which subjects, names and terms are compared. ``shown`` is the one way in which text
from a message, a file name or a case reaches a terminal or a page.
"""

from __future__ import annotations

import re
import unicodedata

# Default-ignorable marks that a reader does not see: soft hyphen, combining grapheme joiner, Arabic letter mark, Hangul
# fillers, Khmer inherent vowels, Mongolian separators, zero width and bidi controls, word joiner to invisible
# operators, # variation selectors, BOM, interlinear annotation, tags.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SPACE = re.compile(r"\s+")
_PLAIN = re.compile(r"[ -~]*\Z")


def strip_invisible(text: str) -> str:
    """``text`` without marks that have no width and bidi controls."""
    return text if text.isascii() else _INVISIBLE.sub("", text)


def normalise(text: str) -> str:
    """``text`` as it is compared: NFKC, case-folded, white space collapsed and trimmed, invisible marks dropped."""
    if text.isascii():
        return " ".join(text.replace("\0", " ").split()).lower()
    text = _INVISIBLE.sub("", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = _INVISIBLE.sub("", text).replace("\0", " ")
    return _SPACE.sub(" ", text).strip()


def is_blank(text: str) -> bool:
    """True where nothing is left of ``text`` after normalisation (S01)."""
    return not normalise(text)


def shown(text: str, limit: int | None = None) -> str:
    """``text`` safe for a terminal: control, escape, bidi, invisible and unassigned characters become ``\\u{…}``.

    With ``limit``, no longer than that many characters, the cut marked by an ellipsis.
    """
    if not _PLAIN.match(text):
        text = "".join(c if _is_safe(c) else f"\\u{{{ord(c):x}}}" for c in text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def count_of(number: float, noun: str) -> str:
    """``number`` and what it counts, in the singular for one: ``1 match``, ``2 matches``, ``3 copies``."""
    digits = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{digits} {counted(number, noun)}"


def counted(number: float, noun: str) -> str:
    """``noun`` as it is for so many."""
    if number == 1:
        return noun
    if noun.endswith(("ch", "x", "s")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("py") else f"{noun}s"


def are(number: int) -> str:
    """The verb that belongs to so many."""
    return "is" if number == 1 else "are"


def shown_lines(text: str) -> str:
    """``text`` of several lines, each made safe by ``shown``."""
    return "\n".join(shown(line) for line in text.split("\n"))


def _is_safe(char: str) -> bool:
    if char == " ":
        return True
    category = unicodedata.category(char)
    return category[0] not in "CZ" and not _INVISIBLE.match(char)
