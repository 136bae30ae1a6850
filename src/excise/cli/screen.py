"""What a person sees: tables, progress, the plan. Everything from mail goes through ``core.text.shown`` (S27)."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from excise.core.text import are, count_of, shown, shown_lines
from excise.model.item import Action, Outcome

if TYPE_CHECKING:
    from excise.api import Plan, RunResult, Setting

_SUBJECTS = 20


def say(text: str) -> None:
    """A line of a result, on stdout."""
    click.echo(text)


def tell(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    click.echo(text, err=True)


def put_json(value: Any) -> None:
    """One JSON object on a line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=True, allow_nan=False))


class Bar:
    """The progress bar: mailboxes, messages, bytes, matches."""

    def __init__(self, total: int, *, shown_at_all: bool) -> None:
        """A bar over ``total`` mailboxes, on stderr where that is a terminal."""
        from tqdm import tqdm

        self._lock = threading.Lock()
        self._messages = self._bytes = self._matches = 0
        self._bar = tqdm(total=total, unit="mailbox", disable=not shown_at_all, file=sys.stderr, leave=False)

    def advance(self, messages: int, size: int, matches: int, mailboxes: int) -> None:
        """So much more has been done."""
        with self._lock:
            self._messages += messages
            self._bytes += size
            self._matches += matches
            self._bar.update(mailboxes)
            done = f"{count_of(self._messages, 'message')}, {self._bytes / 1e6:,.0f} MB"
            self._bar.set_postfix_str(f"{done}, {count_of(self._matches, 'match')}")

    def close(self) -> None:
        """Take the bar off the screen."""
        self._bar.close()


@contextmanager
def working(options: dict[str, Any], total: int) -> Iterator[Setting]:
    """A setting with a progress bar, in which Ctrl-C asks for a stop at the next safe point; a second one is final."""
    from excise.api import Proof, Setting

    visible = sys.stderr.isatty() and not options.get("no_progress") and not options.get("quiet")
    bar = Bar(total, shown_at_all=visible)
    stop = threading.Event()

    def interrupted(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell("excise: stopping at the next safe point (Ctrl-C again stops at once; excise resume puts either right)")

    def announce(head: str) -> None:
        if not options.get("quiet"):
            tell(f"Audit head before the run: {head}")

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        proof = Proof(options.get("timestamp"), options.get("sign_key"), tuple(options.get("audit_sinks") or ()))
        yield Setting(options.get("jobs") or 0, bar, stop, announce, proof, options.get("policy_file"))
    finally:
        signal.signal(signal.SIGINT, before)
        bar.close()


def table(rows: Iterable[Iterable[Any]], heads: Iterable[str]) -> str:
    """A plain table; numbers to the right."""
    cells = [[str(head) for head in heads], *[["" if c is None else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    numeric = [all(row[i].replace(",", "").isdigit() or not row[i] for row in cells[1:]) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def show_plan(plan: Plan, most: int | None = _SUBJECTS) -> None:
    """What a run would touch: what a person is asked to confirm (S05). ``most``: of so many subjects; None: of all."""
    from excise.api import distinct_subjects
    from excise.store_api import registry

    header = plan.header
    say(f"Plan {plan.number}: {plan.action.value}")
    _show_accounts(plan)
    if plan.action is Action.IMPORT:
        _show_import(plan)
        return
    if "rule" not in header:
        say(table([(shown(unit.name, 60), f"{unit.matches:,}") for unit in plan.units], ("mailbox", "messages")))
        _show_hash(plan)
        return
    say(f"Rule: {shown(header['rule'])}")
    rows = [
        (shown(u.name, 60), f"{u.seen:,}", f"{u.matches:,}", f"{u.unreadable + u.untestable:,}", _note(u))
        for u in plan.units
    ]
    say(table(rows, ("mailbox", "messages", "matches", "not tested", "note")))
    for line in passed_over(header["scope"]["passed_over"], header["scope"]["other_files"]):
        say(line)
    subjects = distinct_subjects(plan)
    mailboxes = count_of(header["totals"]["with_matches"], "mailbox")
    say(f"{count_of(plan.matches, 'match')} in {mailboxes}, {count_of(len(subjects), 'distinct subject')}:")
    _show_subjects(plan, subjects, most)
    if "family" in header:
        _show_family(plan, most)
    estimate = header["estimate"]
    local = all(registry.store(unit.kind).capabilities.local_files for unit in plan.units if unit.matches)
    say(
        f"Space: {estimate['bytes_in_case'] / 1e6:,.1f} MB in the case, "
        f"{estimate['bytes_beside_sources'] / 1e6:,.1f} MB beside the sources; "
        f"to read: {estimate['bytes_to_read'] / 1e6:,.1f} MB, "
        f"about {max(1, round(estimate['bytes_to_read'] / 100e6))} s"
        + ("; no server requests" if local else ", and as long as the server takes to answer")
    )
    for unit in plan.units:
        if unit.rewrite:
            say(_remaking(plan, unit))
    if header.get("compact"):
        say("Afterwards each PST that lost messages is written anew without its free space; the old file is then gone.")
    if plan.hashes_only:
        say("NO EVIDENCE IS KEPT, hashes and envelopes alone: what is removed can be neither shown nor put back.")
    if header["refused"]:
        say(f"Refused as a whole: {shown(header['refused'])}")
    _show_hash(plan)


def _show_accounts(plan: Plan) -> None:
    """As whom servers are asked, and which rights reach further than that."""
    from excise.engine.accounts import planned

    for words in planned(plan):
        say(f"Account: {shown(words)}")
    for warning in plan.header.get("warnings", ()):
        say(f"Warning: {shown(str(warning))}")


def _show_subjects(plan: Plan, subjects: list[tuple[str, int]], most: int | None) -> None:
    for subject, count in subjects[:most]:
        say(f"  {count:>6,} × {shown(subject, 100)}")
    if most is not None and len(subjects) > most:
        where = f"; all stand in {plan.directory}/matches" if most == _SUBJECTS else ": --all-subjects lists them"
        say(f"  … and {count_of(len(subjects) - most, 'more subject')}{where}")


def passed_over(places: Iterable[str], others: int) -> Iterator[str]:
    """What of the sources is searched by nobody: ``places`` with their reasons, and ``others`` files."""
    yield from (f"Passed over: {shown(place)}" for place in places)
    if others:
        yield f"Passed over: {count_of(others, 'file')} that {are(others)} not mail"


def _show_family(plan: Plan, most: int | None) -> None:
    """What of the matches is there as a reply or a forward, apart from what it belongs to (S12)."""
    from excise.api import family_subjects

    family, subjects = plan.header["family"], family_subjects(plan)
    if subjects:
        count = sum(count for _, count in subjects)
        say(f"{count:,} of them {are(count)} replies to and forwards of the others (--with-replies):")
        _show_subjects(plan, subjects, most)
    else:
        say("None of them is a reply to or a forward of the others (--with-replies)")
    for name in family["not_searched"]:
        say(f"NOT LOOKED FOR: replies to and forwards of what {shown(name)} holds")


def _show_hash(plan: Plan) -> None:
    from excise.engine.authority import needs

    for need in needs(plan):
        say(f"Needs: {need}")
    say(f"Plan hash: {plan.sha256}")


def _remaking(plan: Plan, unit: Any) -> str:
    from excise.case.plan import lost_path, read_lines

    lost = "Everything in it can be read."
    if unit.lost:
        lost = (
            f"{count_of(unit.lost, 'item')} cannot be read: the old file alone has them; they are listed in the plan."
        )
        if any(line["id"] is None for line in read_lines(lost_path(plan.directory, unit.unit), unit.lost_sha256)):
            lost += " ITS TREE OF NODES IS DAMAGED: how many items more the old file has is not known."
    return (
        f"{shown(unit.name)} is made anew, with {count_of(unit.kept, 'item')}; the old file goes into the evidence. "
        f"{lost} Why: {shown(unit.rewrite, 200)}"
    )


def _show_import(plan: Plan) -> None:
    """What an import would put where."""
    from collections import Counter

    from excise.case.plan import read_matches

    target, *sources = plan.units
    lines = read_matches(plan, target)
    taken = Counter(line["from_unit"] for line in lines)
    rows = [
        (shown(u.name, 60), f"{u.seen:,}", f"{taken[u.unit]:,}", f"{u.unreadable + u.untestable:,}", _note(u))
        for u in sources
    ]
    say(table(rows, ("evidence", "messages", "to import", "not read", "note")))
    for place in plan.header["scope"]["passed_over"]:
        say(f"Passed over: {shown(place)}")
    folders = Counter(line["folder"] for line in lines).most_common()
    size = f"{count_of(plan.matches, 'message')}, {target.match_bytes / 1e6:,.1f} MB"
    say(f"{size}, into {shown(target.name)}, of which only what is not there is put there:")
    for folder, count in folders[:_SUBJECTS]:
        say(f"  {count:>6,} × {shown(folder, 100) or '(no folder)'}")
    if len(folders) > _SUBJECTS:
        say(f"  … and {count_of(len(folders) - _SUBJECTS, 'more folder')}; all stand in {plan.directory}/matches")
    if plan.header["refused"]:
        say(f"Refused as a whole: {shown(plan.header['refused'])}")
    _show_hash(plan)


def _note(unit: Any) -> str:
    notes = []
    if unit.not_searched:
        reason = without_name(unit.name, unit.not_searched).partition("\n")[0]
        notes.append(f"NOT SEARCHED: {shown(reason, 120)}")
    if unit.refused:
        notes.append(f"REFUSED: {shown(unit.refused, 200)}")
    if unit.doubtful:
        notes.append(f"{unit.doubtful} in doubt" + ("" if unit.disposal == "copy" else ", not removed"))
    if unit.matches and unit.disposal != "copy":
        whole = unit.hold.startswith("held")
        if unit.held:
            notes.append(f"{unit.held:,} held, not removed")
        hold = f"HELD{shown(unit.hold[4:], 100)}" if whole else f"hold {shown(unit.hold)}"
        notes.append(f"disposal {shown(unit.disposal)}, {hold}")
    return "; ".join(notes)


def without_name(name: str, message: str) -> str:
    """An error's message without the mailbox's name at its start, for a line that begins with that name."""
    return message.removeprefix(f"{name}: ")


def tell_not_searched(plan: Plan) -> None:
    """Which mailboxes could not be searched, and why, in full."""
    for unit in plan.units:
        if unit.not_searched:
            reason = without_name(unit.name, unit.not_searched)
            tell(f"{shown(unit.name)}: not searched: {shown_lines(reason)}")


def show_mailboxes(plan: Plan, case: Any) -> None:
    """What became of the items of each mailbox."""
    from excise.engine.run import unit_counts

    rows = []
    for unit, counts in unit_counts(case, plan):
        parts = [f"{count:,} {what}" for what, count in sorted(counts.items())] + [unit.refused] * bool(unit.refused)
        stand = f"not searched: {shown(unit.not_searched, 100)}" if unit.not_searched else "; ".join(parts)
        rows.append((shown(unit.name, 60), f"{unit.matches:,}", stand))
    say(table(rows, ("mailbox", "items", "stand")))


def show_result(result: RunResult, case: Any) -> None:
    """How a run ended; the last line states the worst."""
    say(table([(outcome, f"{count:,}") for outcome, count in sorted(result.outcomes.items())], ("outcome", "items")))
    for name, error in result.errors:
        tell(f"{shown(name)}: {shown_lines(without_name(name, error))}")
    if result.lost:
        say(f"{count_of(result.lost, 'item')} could not be read; only the original file in the evidence has them.")
    if result.more_lost:
        say(
            "How many more is not known, since the tree of nodes is damaged: the original has all that is left of them."
        )
    if result.late:
        say(f"{count_of(result.late, 'matching message')} came after the plan; make a new one for them.")
    tell_not_searched(result.plan)
    say(f"Evidence: {case.bag_dir(result.plan.number)}" + ("" if result.sealed else " (not sealed yet)"))
    say(f"Audit head: {result.head}")
    say(_last_line(result, case))


def _last_line(result: RunResult, case: Any) -> str:
    left = f"{count_of(result.open_items, 'item')} {are(result.open_items)}"
    if result.interrupted:
        return f"Interrupted: {left} still open. To go on: excise resume {case.root}"
    if result.open_items:
        return (
            f"Not finished: {left} open. Mend the cause, then: excise resume {case.root} "
            f"(or, to close the case with them as failed: excise resume {case.root} --finish)"
        )
    if not result.sealed:
        return (
            f"Not finished: mailboxes could not be worked through to their end. Mend the cause, then: "
            f"excise resume {case.root} (or, to close the case all the same: excise resume {case.root} --finish)"
        )
    bad = {k: v for k, v in result.outcomes.items() if not Outcome(k).finished_well}
    if bad:
        listed = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(bad.items()))
        return f"Finished, but not all as planned: {listed}. Each is in {case.root}/outcome.csv"
    if result.lost:
        return (
            f"Finished, but {count_of(result.lost, 'item')} could not be read: only the original files in the evidence "
            f"have them. Each is in {case.bag_dir(result.plan.number)}/data/records/lost.csv"
        )
    if result.incomplete:
        copies = f"{count_of(result.incomplete, 'copy')} {are(result.incomplete)}"
        return f"Finished, but {copies} incomplete: outcome.csv says of each what is missing"
    if result.exit_code:
        return f"Finished, but not everything could be searched or tested: see {case.root}/scope.csv"
    return "Done."


def result_json(result: RunResult) -> dict[str, Any]:
    """The summary line of a run."""
    return {
        "summary": {
            "plan": result.plan.number,
            "plan_sha256": result.plan.sha256,
            "outcomes": dict(result.outcomes),
            "open": result.open_items,
            "late": result.late,
            "incomplete": result.incomplete,
            "lost": result.lost,
            "more_lost": result.more_lost,
            "sealed": result.sealed,
            "audit_head": result.head,
            "errors": [{"mailbox": name, "error": error} for name, error in result.errors],
            "exit_status": result.exit_code,
        }
    }
