"""``excise sweep``."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.moving import ask, finish, plan_status, report_plan, tell_lacking
from excise.cli.options import proof_options, work_options
from excise.cli.screen import put_json, say, tell_not_searched, working
from excise.core.clock import iso, now
from excise.core.errors import ConfirmationMissing, UsageError, worst_status
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.api import Plan, Setting, Work
    from excise.case.standing import Standing

_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600}
_INTERVAL = re.compile(r"(\d{1,7})(s|min|h|)\Z", re.ASCII)


@click.command("sweep")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--until-clean", type=click.IntRange(1), metavar="N", help="Stop after N clean passes in a row (default 1)."
)
@click.option("--until", metavar="TIME", help="Begin no pass after TIME (ISO 8601).")
@click.option("--interval", metavar="TIME", default="1min", help="Pause between passes: 30s, 5min, 1h (default 1min).")
@click.option("--with-replies", is_flag=True, help="Replies to and forwards of what was preserved, instead of it.")
@click.option("--yes", is_flag=True, help="Confirm every pass without a question; needs --max-total.")
@click.option("--max-total", type=click.IntRange(1), metavar="N", help="Remove nothing in a pass where more match.")
@click.option("--standing", is_flag=True, help="Confirm every pass by the newest standing approval, until its end.")
@work_options
@proof_options
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, **options: Any) -> None:
    """Do the search of CASE again, over the same scope, and remove (or copy) what arrived late, pass by pass.

    Each pass has a plan of its own, confirmed like any other. What was restored or taken out by a review is left where
    it is. A pass is clean where nothing new matches and every mailbox was searched. With --with-replies the passes are
    for replies and forwards, in plans of their own. With --standing (see excise standing) nobody is asked: a pass that
    is not within what was approved, or above its cap, removes nothing and ends the sweep.

    \b
    EXIT STATUS
      0 the last passes were clean · 2 wrong usage · 3 refused by a safety rule, or above the cap an hour
      4 a pass found something and was not confirmed or approved, nothing of it was removed · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input · 8 held
      9 some items were changed, failed or untestable, or the time was over before a clean pass · 130 interrupted
    """
    from excise import api

    sweep = _Sweep(options)
    with working(options, 0) as setting, api.open_case(case_dir, setting) as work:
        ctx.exit(sweep.run(work, setting))


@dataclass
class _Sweep:
    """The passes of one call."""

    options: dict[str, Any]
    until: datetime | None = None
    pause: float = 0
    wanted: int | None = 1
    number: int = 0
    clean: int = 0
    found: int = 0
    codes: list[int] = field(default_factory=list)
    standing: Standing | None = None

    def __post_init__(self) -> None:
        from excise.criteria.options import parse_moment, resolve_timezone

        options = self.options
        if options["until"] is not None:
            self.until = parse_moment(options["until"], resolve_timezone(None), "until")
        match = _INTERVAL.match(options["interval"])
        if match is None:
            raise UsageError(f"--interval {shown(options['interval'], 40)!r} is no time", hint="Give 30s, 5min or 1h.")
        self.pause = int(match[1]) * _UNITS[match[2]]
        self.wanted = options["until_clean"] or (None if self.until else 1)
        if options["yes"] and options["max_total"] is None:
            raise UsageError("--yes needs --max-total N: how much a pass may remove that nobody has seen")
        if options["standing"] and (options["yes"] or options["with_replies"]):
            other = "--yes" if options["yes"] else "--with-replies"
            raise UsageError(f"--standing and {other} are both given", hint="Give one of them.")

    def run(self, work: Work, setting: Setting) -> int:
        """Pass after pass, until there is an end; the exit status."""
        if self.options["standing"]:
            self._take_standing(work)
        why = ""
        while not why:
            plan = self._search(work)
            if plan.matches:
                self._carry_out(work, plan)
            why = self._end(setting)
            if not why and setting.stop.wait(self.pause):
                why = "interrupted"
            why = why or self._end(setting)
        code = self._status(why)
        facts = {"passes": self.number, "clean": self.clean, "matches": self.found, "why": why}
        facts |= {} if self.standing is None else {"standing": self.standing.number}
        work.audit.append({"type": "sweep-ended", **facts, "exit_code": code})
        work.prove()
        code = worst_status([code, tell_lacking(work)])
        if self.options["as_json"]:
            put_json({"summary": {**facts, "audit_head": work.audit.head, "exit_status": code}})
        else:
            told = f"{count_of(self.number, 'pass')}, {count_of(self.found, 'late match')}"
            say(f"{told}; clean at the end: {self.clean:,}. Why it ended: {why}")
            say(f"Audit head: {work.audit.head}")
        return code

    def _take_standing(self, work: Work) -> None:
        """Take the newest standing approval, which has to hold; no pass begins after its end."""
        from excise.api import standing
        from excise.case.standing import newest_standing

        self.standing = newest_standing(work.case)
        standing.check(work, self.standing)
        end = self.standing.terms.until
        self.until = end if self.until is None else min(self.until, end)
        self.wanted = self.options["until_clean"]

    def _search(self, work: Work) -> Plan:
        """One pass: search, freeze a plan, tell what it is."""
        plan = work.plan_sweep(
            self.options["max_total"], with_replies=self.options["with_replies"], under=self.standing
        )
        self.number += 1
        not_searched = sum(bool(unit.not_searched) for unit in plan.units)
        self.clean = 0 if plan.matches or not_searched else self.clean + 1
        self.found += plan.matches
        left_out = plan.header["review"]["excluded"] if "review" in plan.header else 0
        facts = {"plan": plan.number, "matches": plan.matches, "left_out": left_out, "not_searched": not_searched}
        facts |= {} if self.standing is None else {"standing": self.standing.number}
        work.audit.append({"type": "sweep-pass", "pass": self.number, **facts})
        work.save_head()
        if self.options["as_json"]:
            put_json({"pass": self.number, **facts})
        else:
            what = f"{count_of(plan.matches, 'new match')}, {left_out:,} known and left"
            lost = f"{count_of(not_searched, 'mailbox')} not searched"
            say(f"{iso(now())}  pass {self.number}: {what}, {lost}")
            tell_not_searched(plan)
        self.codes = [code for code in self.codes if code in (3, 5, 8, 9)] + [plan_status(plan)]
        return plan

    def _carry_out(self, work: Work, plan: Plan) -> None:
        report_plan(self.options, plan)
        if self.standing is None:
            self._confirm(work, plan)
        else:
            self._begin(work, plan, self.standing)
        self.codes.append(finish(self.options, work, result := work.run(plan)))
        if not result.sealed:
            raise _Unsealed(self.codes[-1])

    def _begin(self, work: Work, plan: Plan, under: Standing) -> None:
        """Have the pass confirmed by the standing approval, and tell of it; where that cannot be, it ends the sweep."""
        from excise.api.standing import begin_pass

        counted = begin_pass(work, plan, under, self.number)
        left = under.terms.per_hour - counted - plan.removable
        facts = {"removable": plan.removable, "counted": counted, "left_this_hour": left}
        if self.options["as_json"]:
            put_json({"standing": under.number, "pass": self.number, "plan": plan.number, **facts})
        else:
            hour = f"{counted:,} removed in the last 60 minutes, {left:,} more may be"
            say(f"Under {under.name}, until {iso(under.terms.until)}: {plan.removable:,} to remove; {hour}")

    def _confirm(self, work: Work, plan: Plan) -> None:
        if not plan.action.removes:
            return
        if self.options["yes"]:
            work.confirm(plan, f"sweep --yes --max-total {self.options['max_total']}, pass {self.number}")
        elif sys.stdin.isatty() and sys.stdout.isatty():
            ask(work, plan)
        else:
            raise ConfirmationMissing(
                f"pass {self.number} found {count_of(plan.matches, 'message')}: nothing of it was removed",
                hint=f"To remove them: excise run {work.case.root} --confirm {plan.sha256[:12]}; then sweep again.",
            )

    def _end(self, setting: Setting) -> str:
        """Why no further pass is to be made; empty where one is."""
        if setting.stop.is_set():
            return "interrupted"
        if self.wanted is not None and self.clean >= self.wanted:
            return "clean"
        return "the time is over" if self.until is not None and now() >= self.until else ""

    def _status(self, why: str) -> int:
        codes = list(self.codes)
        if why == "interrupted":
            codes.append(130)
        elif not self.clean and not any(codes):
            codes.append(9)
        return worst_status(codes)


class _Unsealed(click.exceptions.Exit):
    """A run did not come to its end, which was told; there is no further pass before it is resumed."""
