"""Putting the layers together: the composition root."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.api.looking import Setting
from excise.api.proving import Proving, check_proof
from excise.case.bag import is_sealed
from excise.case.chain import ChainedLog
from excise.case.encryption import close_opened
from excise.case.layout import Authorisation, Case, CaseClosed, account, who
from excise.case.plan import Plan, read_plan
from excise.case.recorded import CLOSED
from excise.case.verify import Check, Trust, verify_case
from excise.core.age import read_identities
from excise.core.digests import sha256_hex
from excise.core.errors import ConfirmationMissing, Refused, UsageError
from excise.core.files import make_directories, os_error, read_regular, write_durably
from excise.core.marker import enclosing_case
from excise.engine import import_plan, planner, replacing, restore, review, run, standing, sweep
from excise.engine.authority import check_names, check_person, given_policy
from excise.engine.channel import Channel
from excise.engine.journal import read_journal
from excise.policy.effective import effective_policy
from excise.store_api import registry
from excise.store_api.discovery import Scope, find_mailboxes

if TYPE_CHECKING:
    from excise.case.standing import Standing
    from excise.case.timestamp import Stamp
    from excise.report.loadfile import Produced, Production
    from excise.report.write import Written


class Work:
    """An open case, held by this process (S29)."""

    def __init__(self, case: Case, setting: Setting) -> None:
        """Open the audit log of ``case``, whose lock the caller holds."""
        self.case, self.setting = case, setting
        self.proving = Proving(case, setting.proof)
        self.policy = effective_policy(setting.policy_file)
        self.audit = ChainedLog(case.audit_path)
        self.audit.listener = self.proving.sinks.deliver

    def plan(self, order: planner.Order, scope: Scope | None = None) -> Plan:
        """Search and freeze a plan."""
        scope = scope or find_mailboxes(order.sources, order.wanted, order.parts)
        setting = self.setting
        plan = planner.make_plan(
            self.case,
            order,
            scope,
            self.policy,
            jobs=setting.jobs,
            progress=setting.progress,
            stop=setting.stop,
            audit=self.audit,
        )
        self.prove()
        return plan

    def plan_restore(self, order: restore.RestoreOrder) -> Plan:
        """Freeze a plan that puts removed messages back."""
        self.policy.check_operator(account())
        plan = restore.make_restore_plan(self.case, order, self.audit, self.policy)
        self.save_head()
        return plan

    def plan_import(self, order: import_plan.ImportOrder) -> Plan:
        """Read all of the evidence and freeze a plan that puts it into a mailbox."""
        channel = Channel(self.setting.progress.advance, self.setting.stop)
        check_names(self.policy, [order.into.name, *(info.name for info in order.found.mailboxes)])
        plan = import_plan.make_import_plan(self.case, order, self.audit, channel, self.policy)
        self.save_head()
        return plan

    def survey_replacing(self, plan: Plan) -> replacing.Survey:
        """What the target of the import ``plan`` has and lacks; Refused where a cap forbids to replace (S04)."""
        found = replacing.survey(self.case, plan, Channel(self.setting.progress.advance, self.setting.stop))
        replacing.check_caps(plan, found, self.policy)
        return found

    def plan_replacing(self, plan: Plan) -> Plan | None:
        """Freeze a plan that removes other versions of what the finished import ``plan`` put; None without any."""
        self.policy = effective_policy(self.setting.policy_file or given_policy(plan))
        order = replacing.removal_order(self.case, plan, Channel(self.setting.progress.advance, self.setting.stop))
        return None if order is None else self.plan(order)

    def newest_plan(self) -> Plan:
        """The newest plan, checked against the hash that the audit log recorded when it was made."""
        plan = read_plan(self.case)
        if not any(r["type"] == "plan-made" and r["plan_sha256"] == plan.sha256 for r in self.audit.records):
            raise Refused(
                "S06",
                f"{plan.directory}: not a plan that the audit log recorded (changed, or its making was interrupted)",
                hint="Nothing was touched. See excise verify CASE; start again with a new case.",
            )
        if any(r["type"] == "plan-made" and r["plan"] > plan.number for r in self.audit.records):
            raise Refused(
                "S06",
                f"{self.case.root}: the audit log knows of a newer plan than plan {plan.number}, which is gone",
                hint="Nothing was touched. See excise verify CASE; put the plan back, or start again with a new case.",
            )
        return plan

    def plan_review(self, plan: Plan, exclusions: Sequence[review.Exclusion]) -> Plan:
        """Freeze a plan that takes the place of ``plan``, without what ``exclusions`` name."""
        self.policy.check_operator(account())
        made = review.make_reviewed_plan(self.case, plan, exclusions, self.audit)
        self.save_head()
        return made

    def plan_sweep(
        self, max_total: int | None = None, *, with_replies: bool = False, under: Standing | None = None
    ) -> Plan:
        """Search once more for what the search of the case was for, and freeze a plan of what it does not know.

        ``max_total``: refuse to remove anything where there is more (S04). ``with_replies``: search for replies to and
        forwards of what was preserved instead (S12). ``under``: search only the mailboxes that were approved.
        """
        base = sweep.base_plan(self.case, self.audit, waiting=under is not None)
        order = sweep.order_of(base, max_total)
        # A policy that was given for the first search binds the later ones too.
        self.policy = effective_policy(self.setting.policy_file or given_policy(base))
        if with_replies:
            order = sweep.with_replies(self.case, base, order)
        scope = find_mailboxes(order.sources, order.wanted, order.parts)
        if under is not None:
            scope = standing.within(under, scope)
        sweep.check_scope(base, scope, self.case.next_unit())
        plan = self.plan(order, scope)
        known = sweep.known_in(self.case, plan)
        return self.plan_review(plan, known) if known else plan

    def confirm(self, plan: Plan, how: str) -> None:
        """Record that ``plan`` is confirmed."""
        run.confirm(self.audit, plan, how)
        self.save_head()

    def confirm_by_hash(self, plan: Plan, given: str) -> None:
        """Confirm ``plan`` by (the beginning of) its hash; ConfirmationMissing where it is another one."""
        given = given.strip().lower()
        if len(given) < 12 or not plan.sha256.startswith(given):
            raise ConfirmationMissing(
                f"{self.case.root}: the hash {given[:64]!r} does not confirm plan {plan.number} ({plan.sha256[:12]}…)",
                hint="Give at least the first 12 hex digits of the plan's hash as it was shown.",
            )
        self.confirm(plan, "by hash")

    def is_confirmed(self, plan: Plan) -> bool:
        """True where just this plan was confirmed."""
        return run.is_confirmed(self.audit, plan)

    def run(self, plan: Plan, *, finish: bool = False) -> run.RunResult:
        """Run the confirmed plan, or go on with it. The log is proven outside before anything is removed (S22)."""
        setting = self.setting

        def announce(head: str) -> None:
            setting.announce(head)
            self.proving.before_removal(self.audit)

        result = run.execute(
            self.case,
            plan,
            self.audit,
            jobs=setting.jobs,
            progress=setting.progress,
            stop=setting.stop,
            announce=announce,
            finish=finish,
        )
        self.prove()
        result.head = self.audit.head
        return result

    def prove(self) -> None:
        """Sign, stamp and send what the setting asks for, now that a command's work is done; then save the head."""
        self.proving.after(self.audit)
        self.save_head()

    def stamp(self, url: str | None, sign_key: Path | None = None) -> list[Stamp]:
        """Write down (and sign) the audit head, and have everything stamped that is not yet."""
        from excise.case.checkpoint import is_current, make_checkpoint
        from excise.case.timestamp import stamp

        if not is_current(self.audit, sign_key):
            make_checkpoint(self.case, self.audit, sign_key)
        stamps = stamp(self.case, self.audit, url)
        self.save_head()
        return stamps

    def close(self) -> None:
        """Close the audit log and its sinks."""
        self.audit.close()
        self.proving.sinks.close()

    def record_files(self, record: dict[str, Any], paths: Iterable[Path]) -> None:
        """Append ``record`` to the log with the hashes of files of the case, which binds them."""
        files = {path.relative_to(self.case.root).as_posix(): sha256_hex(read_regular(path)) for path in paths}
        self.audit.append({**record, "files": files})
        self.save_head()

    def save_head(self) -> None:
        """Write down the audit log's head beside it."""
        write_durably(self.case.head_path, f"{self.audit.head}\n".encode())


@contextmanager
def new_case(
    root: Path, sources: tuple[str, ...], authorisation: Authorisation, setting: Setting | None = None
) -> Iterator[Work]:
    """Make a case and hold it. A case inside a source, or the other way round, is refused (S28).

    What the policy asks of operator, ticket and reason is checked before anything is made.
    """
    setting = setting or Setting()
    check_person(effective_policy(setting.policy_file), authorisation)
    place = root.resolve()
    outer = enclosing_case(place.parent)
    if outer is not None:
        raise Refused("S28", f"{root}: the case would lie in the case {outer}", hint="Put it somewhere else.")
    for source in sources:
        path = Path(source.partition(":")[2] if source.partition(":")[0] in registry.kinds() else source).resolve()
        if place == path or path in place.parents:
            raise Refused(
                "S28", f"{root}: the case would lie in the source {path}", hint="Put the case somewhere else."
            )
    check_proof((setting or Setting()).proof)
    case = Case.create(root, authorisation)
    with case.locked():
        work = Work(case, setting)
        try:
            made = {"case": case.id, "case_sha256": case.sha256, "files": case.add_verifier()}
            work.audit.append({"type": "case-created", **made})
            work.save_head()
            yield work
        finally:
            work.close()


@contextmanager
def open_case(root: Path, setting: Setting | None = None) -> Iterator[Work]:
    """Open an existing case and hold it."""
    case = Case(root)
    with case.locked():
        work = Work(case, setting or Setting())
        try:
            close_opened(case)
            if not work.audit.records:
                raise UsageError(
                    f"{root}: the case was not finished being made", hint="Start again with a new case directory."
                )
            if work.audit.records[-1]["type"] == CLOSED:
                raise CaseClosed(
                    f"{root}: this case was closed, and nothing is written into it any more",
                    hint="A report or a custody record can be written elsewhere. For more work, make a new case.",
                )
            yield work
        finally:
            work.close()


def verify(
    root: Path, expect_head: str | None = None, trust: Trust | None = None, identities: Sequence[Path] = ()
) -> Iterator[Check]:
    """Check everything in the case at ``root``; changes nothing. ``trust``: whose signatures and stamps count.

    ``identities``: files of private keys. What they open is decrypted, a part at a time, among the temporary files of
    this user, and read; WrongKey where they open nothing.
    """
    return verify_case(Case(root), read_journal, expect_head, trust, read_identities(identities))


def report(root: Path, out: Path | None = None, *, reveal: bool = False) -> Written:
    """Write the report of the case at ``root`` into it, which its audit log records, or into ``out``, only reading it.

    ``reveal``: with subjects and senders (S23).
    """
    from excise.report.write import write_report

    if out is not None:
        return write_report(Case(root), out, reveal=reveal)
    with open_case(root) as work:
        written = write_report(work.case, root, reveal=reveal)
        work.audit.append(
            {"type": "report-written", "sha256": written.sha256, "revealed": written.content, "who": who()}
        )
        work.save_head()
        return written


def load_file(
    root: Path, place: Path, how: Production, number: int | None = None, identities: Sequence[Path] = ()
) -> Produced:
    """Write the evidence of a plan of the case at ``root`` into the new directory ``place`` for a review program.

    ``number``: the newest plan that was run to its end and has evidence, where it is None. ``identities``: files of
    private keys, for encrypted evidence. The audit log records it.
    """
    from excise.api.encrypting import opened_case
    from excise.engine.evidence import check_bags
    from excise.report.loadfile import write_production

    if not re.fullmatch(r"[A-Za-z0-9_-]{0,30}", how.prefix):
        raise UsageError("the prefix of control numbers has letters, digits, - and _ alone, 30 at most")
    outer = enclosing_case(place.resolve().parent)
    if outer is not None:
        raise Refused("S28", f"{place}: it would lie in the case {outer}", hint="Put it somewhere else.")
    if place.is_dir() and any(place.iterdir()):
        raise UsageError(f"{place}: expected no directory or an empty one, found something in it")
    with open_case(root) as work, opened_case(work, identities, "loadfile"):
        plans = [read_plan(work.case, each) for each in ([number] if number else work.case.plan_numbers())]
        sealed = [plan for plan in plans if plan.action.preserves and is_sealed(work.case.bag_dir(plan.number))]
        if not sealed:
            raise UsageError(f"{root}: expected a plan that was run to its end with evidence, found none")
        plan = sealed[-1]
        if plan.hashes_only:
            raise UsageError(f"{root}: plan {plan.number} was run with --no-evidence: there is nothing to hand over")
        check_bags(work.case, work.audit.records, [plan.number])
        made = write_production(work.case, plan, place, how)
        facts = {"documents": made.documents, "messages": made.messages, "sha256": made.sha256}
        work.audit.append({"type": "load-file-written", "plan": plan.number, **facts, "who": who()})
        work.save_head()
        return made


def custody(root: Path, place: Path | None = None) -> dict[Path, str]:
    """Write the custody record and the draft certificate of the case at ``root``; SHA-256 by path.

    Into the case, whose audit log records them, or into ``place``, only reading the case.
    """
    from excise.case.checkpoint import add_files
    from excise.report.custody import custody_files

    if place is not None:
        files = custody_files(Case(root))
        try:
            make_directories(place)
            for name, data in files.items():
                write_durably(place / name, data)
        except OSError as error:
            raise os_error(error, place, "writing the custody record") from error
        return {place / name: sha256_hex(data) for name, data in files.items()}
    with open_case(root) as work:
        files = custody_files(work.case)
        add_files(work.case, files)
        digests = {name: sha256_hex(data) for name, data in files.items()}
        work.audit.append({"type": "custody-written", "files": digests, "who": who()})
        work.save_head()
        return {root / name: digest for name, digest in digests.items()}
