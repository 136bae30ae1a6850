"""The terms that criteria are made of.

A term is one test of one message. ``kind`` is the name of the option on the command line that makes it; a term that is
``negated`` holds where the test does not, and never limits (S01).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from excise.core.errors import Refused, UsageError
from excise.core.text import is_blank, normalise, shown
from excise.criteria.limits import LITERALS_NEEDED, NotJudgedError, has_wildcards, regex_literals, wildcard_literals

SUBJECT_KINDS = ("subject", "subject-contains", "subject-prefix", "subject-regex")
ATTACHMENT_KINDS = ("attachment", "attachment-sha256")
DATE_KINDS = ("received-since", "received-before", "sent-since", "sent-before")
#: What only narrows (S02), by the names that a policy may allow; ``domain`` is a bare domain as sender or recipient.
NARROWING = frozenset({*DATE_KINDS, "folder", "item-class", "larger", "smaller", "domain"})
#: Memory that RE2 may use for one pattern; beyond it the pattern is refused when the criteria are made.
REGEX_MEMORY = 8 << 20


class TermBase(BaseModel):
    """What all terms share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    negated: bool = False

    def limits(self) -> bool:
        """True where the term is positive and limits (S01)."""
        return not self.negated

    def narrowing_name(self) -> str | None:
        """Its name in ``NARROWING`` where it only narrows (S02), else None."""
        return None

    def why_not(self) -> str:
        """Why it does not limit."""
        return "a negated term does not limit"


def _refuse_blank(kind: str, text: str) -> None:
    if is_blank(text):
        raise Refused(
            "S01",
            f"the text of --{kind} is blank: {shown(text)!r} holds nothing but white space and marks without width",
            hint="Give the text to look for, or leave the option out.",
        )


class TextTerm(TermBase):
    """A text that is compared in its normalised form (S09): the whole subject, a part of it, its start, a part of the
    body or of a link; a Message-ID."""

    kind: Literal["subject", "subject-contains", "subject-prefix", "message-id", "body-contains", "url"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> TextTerm:
        _refuse_blank(self.kind, self.text.strip("<> ") if self.kind == "message-id" else self.text)
        return self


class RegexTerm(TermBase):
    """An RE2 pattern, found anywhere in the subject.

    The subject is decoded, in NFKC, without marks that have no width, its white space collapsed; case is ignored.
    """

    kind: Literal["subject-regex"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> RegexTerm:
        _refuse_blank(self.kind, self.text)
        compile_regex(self.text)
        return self

    def limits(self) -> bool:
        return not self.negated and not self._judgement()

    def why_not(self) -> str:
        return self._judgement() or super().why_not()

    def _judgement(self) -> str:
        try:
            count = regex_literals(unicodedata.normalize("NFC", self.text))
        except NotJudgedError as error:
            return f"what the pattern {shown(self.text)!r} matches at least cannot be judged ({error})"
        if count >= LITERALS_NEEDED:
            return ""
        return (
            f"a match of the pattern {shown(self.text)!r} need not hold more than {count} literal characters, "
            f"and {LITERALS_NEEDED} are needed"
        )


class AttachmentTerm(TermBase):
    """A whole attachment name, in its normalised form; ``*`` stands for any characters and ``?`` for one."""

    kind: Literal["attachment"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> AttachmentTerm:
        _refuse_blank(self.kind, self.text)
        return self

    def limits(self) -> bool:
        enough = not has_wildcards(self.text) or wildcard_literals(self.text) >= LITERALS_NEEDED
        return not self.negated and enough

    def why_not(self) -> str:
        if self.negated:
            return super().why_not()
        return (
            f"the name {shown(self.text)!r} holds {wildcard_literals(self.text)} literal characters beside its "
            f"wildcards, and {LITERALS_NEEDED} are needed"
        )


class DigestTerm(TermBase):
    """The SHA-256 of an attachment's decoded content, as 64 lower-case hex digits."""

    kind: Literal["attachment-sha256"]
    text: str

    @field_validator("text")
    @classmethod
    def _check(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise UsageError(
                f"--attachment-sha256 {shown(text, 80)!r} is not a SHA-256",
                hint="Give 64 hex digits, as sha256sum prints them.",
            )
        return text


class ConversationTerm(TermBase):
    """The id that a server gives to a conversation: PidTagConversationId, as 32 lower-case hex digits."""

    kind: Literal["conversation-id"]
    text: str

    @field_validator("text")
    @classmethod
    def _check(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{32}", text):
            raise UsageError(
                f"--conversation-id {shown(text, 80)!r} is not the id of a conversation", hint="Give 32 hex digits."
            )
        return text


class AddressTerm(TermBase):
    """A sender's or recipient's whole address; ``@example.com`` stands for every address of that domain (not of those
    below it) and only narrows (S02)."""

    kind: Literal["from", "recipient"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> AddressTerm:
        _refuse_blank(self.kind, self.text.replace("@", ""))
        local, at, domain = normalise(self.text).rpartition("@")
        if not (at and domain) and not normalise(self.text).startswith("/o="):
            raise UsageError(
                f"--{self.kind} {shown(self.text)!r} is not an address",
                hint="Give user@example.com, or @example.com for a whole domain.",
            )
        if "@" in local and not local.startswith('"'):
            raise UsageError(f"--{self.kind} {shown(self.text)!r} holds more than one @")
        return self

    @property
    def is_domain(self) -> bool:
        """True for a bare domain."""
        return normalise(self.text).startswith("@")

    def narrowing_name(self) -> str | None:
        return "domain" if self.is_domain else None


class HeaderTerm(TermBase):
    """A header field whose decoded, normalised value holds ``text``."""

    kind: Literal["header"]
    name: str
    text: str

    @model_validator(mode="after")
    def _check(self) -> HeaderTerm:
        _refuse_blank(self.kind, self.text)
        if not re.fullmatch(r"[!-9;-~]+", self.name):
            raise UsageError(
                f"--header: {shown(self.name)!r} is not the name of a header field",
                hint='Give NAME=TEXT, for example --header "X-Mailer=Outlook".',
            )
        return self


class ItemClassTerm(TermBase):
    """A message class such as ``IPM.Note``, whole; ``*`` and ``?`` as for attachments. It only narrows (S02)."""

    kind: Literal["item-class"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> ItemClassTerm:
        _refuse_blank(self.kind, self.text)
        return self

    def limits(self) -> bool:
        return not self.negated and wildcard_literals(self.text) >= LITERALS_NEEDED

    def why_not(self) -> str:
        return super().why_not() if self.negated else f"the class {shown(self.text)!r} holds too few literal characters"

    def narrowing_name(self) -> str | None:
        return "item-class"


class SizeTerm(TermBase):
    """Items of more, or of fewer, than ``size`` bytes. It only narrows (S02)."""

    kind: Literal["larger", "smaller"]
    size: Annotated[int, Field(ge=0)]

    def limits(self) -> bool:
        # "Larger than 0" is every message there is.
        return not self.negated and (self.kind == "smaller" or self.size > 0)

    def why_not(self) -> str:
        return super().why_not() if self.negated else "every item is larger than 0 bytes"

    def narrowing_name(self) -> str | None:
        return self.kind


class DateTerm(TermBase):
    """A time at or after which (``since``), or before which, the item was received or sent. It only narrows (S02)."""

    kind: Literal["received-since", "received-before", "sent-since", "sent-before"]
    at: Annotated[AwareDatetime, Field(strict=False)]

    @field_validator("at")
    @classmethod
    def _in_utc(cls, at: datetime) -> datetime:
        return at.astimezone(UTC)

    def narrowing_name(self) -> str | None:
        return self.kind


class FolderTerm(TermBase):
    """A folder and what is below it: ``/`` between the parts, compared in normalised form. It only narrows (S02)."""

    kind: Literal["folder"]
    text: str

    @model_validator(mode="after")
    def _check(self) -> FolderTerm:
        _refuse_blank(self.kind, self.text.replace("/", ""))
        return self

    def narrowing_name(self) -> str | None:
        return "folder"


Term = Annotated[
    TextTerm
    | RegexTerm
    | AttachmentTerm
    | DigestTerm
    | ConversationTerm
    | AddressTerm
    | HeaderTerm
    | ItemClassTerm
    | SizeTerm
    | DateTerm
    | FolderTerm,
    Field(discriminator="kind"),
]


def folder_key(path: str) -> tuple[str, ...]:
    """A folder's path as it is compared: its parts, normalised."""
    return tuple(part for part in map(normalise, path.split("/")) if part)


@cache
def _options() -> Any:
    import re2

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    return options


def compile_regex(pattern: str) -> Any:
    """``pattern`` compiled by RE2; what RE2 refuses is a ``UsageError``."""
    import re2

    try:
        return re2.compile(unicodedata.normalize("NFC", pattern), _options())
    except (re2.error, UnicodeError) as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise UsageError(
            f"--subject-regex {shown(pattern, 200)!r} is not an RE2 pattern: {shown(reason, 200)}",
            hint="RE2 knows no look-around and no back-references: https://github.com/google/re2/wiki/Syntax",
        ) from error
