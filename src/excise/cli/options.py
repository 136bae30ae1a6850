"""Options that read the same on every command, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from excise.core.errors import UsageError
from excise.core.files import os_error, read_regular
from excise.core.text import shown

if TYPE_CHECKING:
    from excise.api import Authorisation, Caps, EvidenceKind, Order
    from excise.api.directory import DirectorySettings
    from excise.api.profile import Profile
    from excise.criteria import Criteria
    from excise.model.item import Action
    from excise.model.recipient import Recipients
    from excise.policy.effective import Effective
    from excise.store_api.discovery import Scope

Command = TypeVar("Command", bound=Callable[..., Any])

_CRITERIA = (
    ("--subject", "TEXT", "The whole subject, decoded and normalised."),
    ("--subject-contains", "TEXT", "Part of the subject."),
    ("--subject-prefix", "TEXT", "The start of the subject."),
    ("--subject-regex", "PATTERN", "An RE2 pattern in the subject."),
    ("--attachment", "NAME", "An attachment's name; * and ? stand for any characters."),
    ("--attachment-sha256", "HEX", "SHA-256 of an attachment's content."),
    ("--from", "ADDR", "The sender's address, or @domain."),
    ("--recipient", "ADDR", "An address in To, Cc or Bcc, or @domain."),
    ("--message-id", "ID", "A Message-ID."),
    ("--conversation-id", "HEX", "The conversation, by the id that its server gives it."),
    ("--body-contains", "TEXT", "Part of the decoded text."),
    ("--url", "TEXT", "Part of a link."),
    ("--header", "NAME=TEXT", "Part of any header field."),
    ("--item-class", "CLASS", "The message class, as IPM.Note."),
    ("--folder", "PATH", "A folder and what is below it."),
    ("--exclude-folder", "PATH", "Not this folder nor what is below it."),
)
_SINGLE = (
    ("--larger", "SIZE", "More bytes than SIZE (10MB, 2GiB). Only narrows."),
    ("--smaller", "SIZE", "Fewer bytes than SIZE. Only narrows."),
    ("--received-since", "TIME", "Received at or after TIME (ISO 8601). Only narrows."),
    ("--received-before", "TIME", "Received before TIME. Only narrows."),
    ("--sent-since", "TIME", "Sent at or after TIME. Only narrows."),
    ("--sent-before", "TIME", "Sent before TIME. Only narrows."),
    ("--timezone", "ZONE", "The zone of dates without one (default: the machine's)."),
)
_CRITERIA_NAMES = tuple(flag[2:].replace("-", "_") for flag, _, _ in (*_CRITERIA, *_SINGLE))
_PATH = click.Path(path_type=Path, dir_okay=False)


def _apply(command: Command, decorators: list[Callable[[Any], Any]]) -> Command:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _name(flag: str) -> str:
    name = flag[2:].replace("-", "_")
    return "from_" if name == "from" else name


def criteria_options(command: Command) -> Command:
    """What to look for, and where."""
    sources = click.argument("sources", nargs=-1, metavar="SOURCE...")
    return _apply(command, [sources, term_options, scope_options, directory_options])


def term_options(command: Command) -> Command:
    """What to look for."""
    made = [click.option(flag, _name(flag), metavar=what, multiple=True, help=text) for flag, what, text in _CRITERIA]
    made += [click.option(flag, _name(flag), metavar=what, help=text) for flag, what, text in _SINGLE]
    made += [
        click.option(
            "--message-ids", type=_PATH, metavar="FILE", help="Message-IDs, one a line or a CSV with such a column."
        ),
        click.option(
            "--any", "any_", is_flag=True, help="Subject and attachment terms are alternatives of each other."
        ),
        click.option("--with-replies", is_flag=True, help="Replies to and forwards of the matches too, told apart."),
        click.option("--criteria", "criteria_file", type=_PATH, metavar="FILE", help="Criteria as TOML."),
    ]
    return _apply(command, made)


def scope_options(command: Command) -> Command:
    """Which mailboxes of the sources, and the profile."""
    made = [
        click.option("--profile", metavar="FILE|NAME", help="A saved job in TOML; options override it."),
        click.option("--replace-criteria", is_flag=True, help="Use the criteria given here instead of the profile's."),
        click.option("--mailbox", "mailbox", multiple=True, metavar="NAME", help="Only this mailbox of the sources."),
        click.option(
            "--mailboxes", "mailboxes_file", type=_PATH, metavar="FILE", help="Mailboxes, one a line or a CSV."
        ),
        click.option("--all-mailboxes", is_flag=True, help="Every mailbox of the sources, said out loud."),
        click.option(
            "--expect-mailboxes", type=click.IntRange(0), metavar="N", help="Stop unless there are N mailboxes."
        ),
        click.option(
            "--parts", metavar="PART,...", help="Of a server's mailboxes: primary, archive, recoverable, public."
        ),
    ]
    return _apply(command, made)


def directory_options(command: Command) -> Command:
    """Which mailboxes, by a directory over LDAP."""
    url = "Mailboxes by a directory: ldaps://HOST, ldap://HOST (StartTLS), or a mail server's own: ews://HOST."
    user = "Who logs in to the directory; the password is asked for."
    made = [
        click.option("--directory", metavar="URL", help=url),
        click.option("--directory-base", metavar="DN", help="Those below this entry."),
        click.option("--directory-filter", metavar="FILTER", help="Those that this LDAP filter admits."),
        click.option("--directory-database", multiple=True, metavar="NAME", help="Those of this mailbox database."),
        click.option("--directory-server", multiple=True, metavar="NAME", help="Those of this Exchange server."),
        click.option("--directory-user", metavar="NAME", help=user),
        click.option("--directory-ca", type=_PATH, metavar="FILE", help="The CA certificates to trust there."),
    ]
    return _apply(command, made)


def work_options(command: Command) -> Command:
    """How to work and what to show."""
    made = [
        click.option(
            "--jobs",
            type=click.IntRange(1),
            metavar="N",
            help="Mailboxes worked on at once (default: processors; on a server, twice the connections).",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout."),
        click.option("--quiet", is_flag=True, help="Only results and errors."),
        click.option("--verbose", is_flag=True, help="More of what happens, on stderr."),
        click.option("--no-progress", is_flag=True, help="No progress bar."),
    ]
    return _apply(command, made)


def authority_options(command: Command) -> Command:
    """Who does it and why, for the record."""
    made = [
        click.option("--ticket", metavar="TEXT", help="The ticket that this is done for."),
        click.option("--reason", metavar="TEXT", help="Why it is done."),
        click.option("--operator", metavar="NAME", help="Who does it (a label: the user's name is recorded too)."),
        click.option(
            "--policy", "policy_file", type=_PATH, metavar="FILE", help="A policy; it can only tighten others."
        ),
    ]
    return _apply(command, made)


def proof_options(command: Command) -> Command:
    """What makes the case provable to others."""
    sinks = "Send the audit log there too: file:PATH, syslog+udp://HOST, syslog+tcp://HOST, syslog+unix:PATH."
    made = [
        click.option("--timestamp", metavar="URL", help="An RFC 3161 authority that stamps plan, bag and audit head."),
        click.option("--sign-key", type=_PATH, metavar="FILE", help="The OpenSSH key that signs the audit head."),
        click.option("--audit-sink", "audit_sinks", multiple=True, metavar="SINK", help=sinks),
    ]
    return _apply(command, made)


def evidence_options(command: Command) -> Command:
    """The case and what goes into it."""
    place = click.Path(path_type=Path, file_okay=False)
    kinds = click.Choice(["mbox", "pst", "eml"])
    made = [
        click.option("--case", "case_dir", type=place, required=True, metavar="DIR", help="The new case directory."),
        click.option("--evidence", multiple=True, type=kinds, help="Kind of evidence (default: mbox and pst)."),
        click.option(
            "--pst-per",
            type=click.Choice(["mailbox", "case"]),
            help="One PST a mailbox (default), or one for the case with a folder per mailbox.",
        ),
        click.option("--reveal", is_flag=True, help="Write subjects into the audit log."),
        click.option("--part-size", metavar="SIZE", help="Evidence parts no larger than this (default 10GB, decimal)."),
    ]
    return _apply(command, made)


def limit_options(command: Command) -> Command:
    """Caps, which refuse and never truncate (S04)."""
    number, percent = click.IntRange(0), click.FloatRange(0, 100)
    share = "Remove nothing from a mailbox of 40 messages or more where a larger share matches (default 25)."
    made = [
        click.option("--max-per-mailbox", type=number, metavar="N", help="Remove nothing from it where more match."),
        click.option("--max-total", type=number, metavar="N", help="Remove nothing at all where more match."),
        click.option("--max-share", type=percent, metavar="PERCENT", help=share),
    ]
    return _apply(command, made)


def compact_option(command: Command) -> Command:
    """What becomes of the space that removed messages leave, and of files that cannot be changed in place."""
    words = "Write PST files anew afterwards, without their free space."
    anew = "Make PST files anew that cannot be changed in place; the old file goes into the evidence."
    made = [click.option("--compact", is_flag=True, help=words), click.option("--rewrite", is_flag=True, help=anew)]
    return _apply(command, made)


def confirm_options(command: Command) -> Command:
    """Confirmation where there is no terminal."""
    made = [
        click.option("--yes", is_flag=True, help="Go on without a question; needs --expect-matches."),
        click.option("--expect-matches", type=click.IntRange(0), metavar="N", help="How many matches there must be."),
    ]
    return _apply(command, made)


def recipient_options(command: Command) -> Command:
    """To whom evidence is encrypted."""
    keys = "Encrypt to this public key (age1…, ssh-ed25519 …, ssh-rsa …), or to those in this file."
    policy = "A policy; it can only tighten others."
    made = [
        click.option("--recipient", "recipients", multiple=True, metavar="KEY|FILE", help=keys),
        click.option("--policy", "policy_file", type=_PATH, metavar="FILE", help=policy),
    ]
    return _apply(command, made)


def identity_option(command: Command) -> Command:
    """What opens encrypted evidence."""
    words = "A recipient's private key (of age or OpenSSH), for encrypted evidence."
    return _apply(
        command, [click.option("--identity", "identities", multiple=True, type=_PATH, metavar="FILE", help=words)]
    )


# What they come to


class Given:
    """The options of one call with those of its profile: the line wins."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Read the profile, if one is named."""
        from excise.api.profile import Profile, read_profile

        self.options = options
        self.profile: Profile = read_profile(options["profile"]) if options.get("profile") else Profile(Path())

    def value(self, name: str) -> Any:
        """An option's value; the profile's where the line does not give one."""
        given = self.options.get(name)
        return given if given not in (None, (), "") else self.profile.values.get(name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources."""
        return tuple(self.options.get("sources") or self.profile.values.get("sources", ()))

    @cached_property
    def named(self) -> dict[str, str]:
        """The mailboxes that the line names, itself or in a file, each with the place where it stands there."""
        from excise.api.lists import read_mailboxes
        from excise.cli.screen import tell

        names = dict.fromkeys(self.options.get("mailbox") or (), "")
        path = self.options.get("mailboxes_file")
        if path is not None:
            listed = read_mailboxes(path)
            names |= {entry.value: f"{path}, line {entry.line}" for entry in listed.entries if entry.value not in names}
            if listed.repeated or listed.empty:
                tell(shown(str(listed)))
        return names

    @cached_property
    def _meant(self) -> tuple[dict[str, str], DirectorySettings | None]:
        """The names that are meant, with the places where they stand, and the directory that is asked for them."""
        from excise.cli.directory import settings_of

        names = self.named
        settings = settings_of(self.options, self.profile.directory, named=bool(names))
        if not names and not (settings and settings.limits):
            names = dict.fromkeys(self.profile.values.get("mailboxes", ()), "")
        if names and self.options.get("all_mailboxes"):
            raise UsageError("--all-mailboxes and names of mailboxes are both given", hint="Give one of them.")
        return names, settings

    @cached_property
    def recipients(self) -> Recipients | None:
        """What a directory made of the names, or listed; None where none is asked."""
        from excise.cli.directory import recipients

        names, settings = self._meant
        everything = bool(self.options.get("all_mailboxes"))
        return None if settings is None else recipients(settings, names, everything=everything)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names of the mailboxes that are meant; empty for all of the sources. With a directory they are
        addresses."""
        return tuple(self._meant[0]) if self.recipients is None else self.recipients.addresses

    @property
    def directory(self) -> dict[str, Any] | None:
        """What the plan says of the directory: what was asked of it, and what it came to."""
        from excise.api.directory import directory_name

        names, settings = self._meant
        if settings is None or self.recipients is None:
            return None
        found = [{"address": r.address, "type": r.type.value, "source": r.source} for r in self.recipients.mailboxes]
        return {"url": directory_name(settings.url), "named": list(names), "found": found}

    def policy(self) -> Effective:
        """The policy in force, after it was asked whether this user may, with this ticket and reason."""
        from excise.engine.authority import check_person
        from excise.policy.effective import effective_policy

        found = effective_policy(self.options.get("policy_file"))
        check_person(found, self.authorisation())
        if self.options.get("reveal"):
            found.check_reveal()
        return found

    def scope(self) -> Scope:
        """The mailboxes that are meant; nothing is opened to find them where the policy refuses."""
        self.policy()
        return self.mailboxes()

    def mailboxes(self) -> Scope:
        """The mailboxes that are meant, whatever the policy says of working on them. Members of a list that nobody
        knows are among what is not searched."""
        from excise.store_api.discovery import find_mailboxes
        from excise.store_api.protocols import NotSearched

        scope = find_mailboxes(self.sources, self.wanted, self.parts)
        if self.recipients is not None:
            scope.passed_over += self.recipients.passed_over
            scope.not_searched += [NotSearched(name, why) for name, why in self.recipients.unread]
        return scope

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a server's mailboxes; empty for what the source says."""
        given = self.options.get("parts")
        return tuple(given.split(",")) if given else tuple(self.profile.values.get("parts", ()))

    def criteria(self, *, family: bool = False) -> Criteria:
        """The criteria, from the line, a file or the profile; never merged in silence.

        ``family``: the command looks for replies and forwards itself; elsewhere --with-replies is refused.
        """
        from excise.api.lists import has_message_ids, read_message_ids
        from excise.criteria import Criteria

        options = {name: self.options.get(_name(f"--{name}")) for name in _CRITERIA_NAMES}
        options |= {"any": self.options["any_"], "with_replies": self.options["with_replies"] and not family}
        path, ids = self.options.get("criteria_file"), self.options.get("message_ids")
        on_line = ids is not None or any(value for name, value in options.items() if name != "timezone")
        ways = [on_line, path is not None, self.profile.criteria is not None and not self.options["replace_criteria"]]
        if sum(ways) > 1:
            raise UsageError(
                "criteria are given in more than one place (the line, --criteria, the profile)",
                hint="Give them in one place, or use the line's with --replace-criteria.",
            )
        if options["timezone"] is not None and not on_line:
            raise UsageError("--timezone goes with the criteria's dates", hint="In TOML, set timezone beside them.")
        if path is not None:
            return Criteria.from_toml(_text(path), where=str(path))
        if ways[2]:
            return Criteria.from_toml(self.profile.criteria or {}, where=f"{self.profile.path}: criteria")
        trace = self.options.get("mailboxes_file")
        if not on_line and trace is not None and has_message_ids(trace):
            ids = trace  # a message trace is scope and criteria at once
        return Criteria.from_options(**options, message_ids=None if ids is None else read_message_ids(ids))

    def optional_criteria(self) -> Criteria | None:
        """The criteria where any were given; None for commands that may go without."""
        names = [*map(_name, (f"--{name}" for name in _CRITERIA_NAMES)), "any_", "with_replies"]
        given = any(self.options.get(name) for name in [*names, "criteria_file", "message_ids"])
        return self.criteria() if given else None

    def evidence(self) -> tuple[EvidenceKind, ...]:
        """The kinds of evidence."""
        from excise.api import EvidenceKind

        if self.options.get("no_evidence"):
            return ()
        try:
            return tuple(dict.fromkeys(EvidenceKind(k) for k in self.value("evidence") or ("mbox", "pst")))
        except ValueError as error:
            raise UsageError(
                f"{self.profile.path}: {error}", hint="Known kinds of evidence: mbox, pst, eml."
            ) from error

    def pst_per(self) -> str:
        """``mailbox`` or ``case``: what has a PST of its own."""
        given = self.value("pst_per") or "mailbox"
        if given not in ("mailbox", "case"):
            raise UsageError(f"{self.profile.path}: pst-per is mailbox or case, not {given!r}")
        if given == "case" and "pst" not in self.evidence():
            raise UsageError("--pst-per case is for evidence in a PST", hint="Add --evidence pst, or leave it out.")
        return str(given)

    def caps(self) -> Caps:
        """The caps."""
        from excise.api import Caps

        limits = dict(self.profile.limits)
        for name in ("max_per_mailbox", "max_total", "max_share"):
            if self.options.get(name) is not None:
                limits[name] = self.options[name]
        if not 0 <= limits.get("max_share", 0) <= 100:
            raise UsageError(f"max-share must be from 0 to 100 percent, not {limits['max_share']}")
        return Caps(**limits)

    def order(self, action: Action) -> Order:
        """The whole order."""
        from excise.api import Disposal, Order
        from excise.criteria.options import parse_size

        said = self.profile.values.get("action")
        if said is not None and said != action:
            raise UsageError(
                f"{self.profile.path}: the profile is for {said}, the command is {action}", hint=f"Run: excise {said}"
            )
        disposal = self.value("disposal")
        try:
            wanted = Disposal(disposal) if disposal else None
        except ValueError as error:
            raise UsageError(f"{self.profile.path}: {error}", hint="Known disposals: trash, soft, hard.") from error
        if action == "purge" and wanted not in (None, Disposal.HARD):
            raise UsageError(f"purge removes with the disposal hard, not {wanted}", hint="Use move with that disposal.")
        compact = bool(self.options.get("compact"))
        if compact and not action.removes:
            raise UsageError("--compact goes with move and purge alone", hint="Leave it out.")
        rewrite = bool(self.options.get("rewrite") or self.profile.values.get("rewrite"))
        if rewrite and not action.removes:
            raise UsageError("--rewrite goes with move and purge alone", hint="Leave it out.")
        size = parse_size(self.value("part_size") or "10GB", "part-size")
        if size < 1:
            raise UsageError("--part-size must be larger than nothing")
        return Order(
            action,
            self.criteria(family=True),
            self.evidence(),
            wanted,
            self.caps(),
            size,
            self.value("expect_mailboxes"),
            self.sources,
            self.wanted,
            compact,
            rewrite,
            self.parts,
            pst_per=self.pst_per(),
            directory=self.directory,
            no_evidence=bool(self.options.get("no_evidence")),
            with_replies=bool(self.options["with_replies"]),
        )

    def authorisation(self) -> Authorisation:
        """Who and why."""
        from excise.api import Authorisation

        return Authorisation(*(str(self.value(name) or "") for name in ("ticket", "reason", "operator")))


def _text(path: Path) -> str:
    try:
        return read_regular(path, 64 << 20).decode("utf-8-sig")
    except OSError as error:
        raise os_error(error, path, "reading the file") from error
    except ValueError as error:
        raise UsageError(f"{path}: expected text in UTF-8, found other bytes ({error})") from error
