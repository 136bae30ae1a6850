"""As whom servers know us: which account finds and which removes, what the policy asks of them, and the second login.

The account that removes is named in the plan. A run with another one in its place, or with the first standing in for
it, is refused: nothing falls back from one to the other (S06).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from excise.case.plan import HEADER, Plan
from excise.core.errors import DoesNotVerify, Refused
from excise.model.item import Action
from excise.policy.effective import Effective, PolicyRefused
from excise.store_api import registry
from excise.store_api.protocols import Accounts, HasAccounts

#: What the plans of these actions change in a mailbox.
WRITES = (Action.MOVE, Action.PURGE, Action.RESTORE, Action.IMPORT)


def accounts_of(locators: Iterable[str]) -> dict[str, Accounts]:
    """The accounts for each server that a mailbox of ``locators`` lies on, by one of these locators."""
    found: dict[str, Accounts] = {}
    servers: set[str] = set()
    for locator in locators:
        kind = locator.partition(":")[0]
        store = registry.store(kind) if kind in registry.kinds() else None
        if isinstance(store, HasAccounts):
            accounts = store.accounts(locator)
            if accounts.server not in servers:
                servers.add(accounts.server)
                found[locator] = accounts
    return found


def record(accounts: Iterable[Accounts]) -> list[dict[str, str]]:
    """The accounts as the plan and the log have them."""
    return [{"server": one.server, "reads": one.reads, "writes": one.writes} for one in accounts]


def header(locators: Iterable[str]) -> dict[str, Any]:
    """What a plan's header says of accounts; nothing where no server has any."""
    found = accounts_of(locators)
    return {"accounts": record(found.values())} if found else {}


def planned(plan: Plan) -> list[str]:
    """The accounts that a plan names, in words; DoesNotVerify where its header has something else there."""
    writes = "removed" if plan.action.removes else "put back"
    return [
        f"{server}: searched as {reads}" + (f", {writes} as {writer}" if plan.action in WRITES else "")
        for server, reads, writer in _told(plan.header, f"{plan.directory / HEADER}")
    ]


def used(recorded: Mapping[str, Any]) -> list[str]:
    """The accounts that a record of the log names, in words."""
    told = _told(recorded, "the audit log")
    return [f"{server}: read as {reads}, written to as {writer}" for server, reads, writer in told]


def _told(facts: Mapping[str, Any], where: str) -> list[tuple[str, str, str]]:
    try:
        return [(str(one["server"]), str(one["reads"]), str(one["writes"])) for one in facts.get("accounts") or ()]
    except (KeyError, TypeError) as error:
        raise DoesNotVerify(f"{where}: expected accounts, found something else") from error


def check_separate(policy: Effective, action: Action, locators: Iterable[str]) -> None:
    """PolicyRefused where the policy wants two accounts, and one would find and remove."""
    if not policy.policy.separate_accounts or action not in WRITES:
        return
    for one in accounts_of(locators).values():
        if not one.separate:
            raise PolicyRefused(
                f"{policy.origin('separate_accounts')}: separate_accounts: at {one.server}, {one.reads} would find and "
                "remove",
                hint="Nothing was removed. Name a second account (EXCISE_EWS_REMOVER_USER; docs/guide/exchange.md).",
            )


def try_writers(action: Action, locators: Iterable[str]) -> list[str]:
    """Log the second account of each server in, once, before anything is done with it; raises where it is refused.

    Which mailbox it may not open, of those that were tried: the first on each server.
    """
    closed = []
    for locator, one in accounts_of(locators).items() if action in WRITES else ():
        store = registry.store(locator.partition(":")[0])
        if one.separate and isinstance(store, HasAccounts):
            why = store.try_writer(locator)
            closed += [f"{one.server}: {one.writes}, which is to remove, cannot open a mailbox: {why}"] if why else []
    return closed


def check_accounts(plan: Plan, policy: Effective) -> list[dict[str, str]]:
    """The accounts of a run of ``plan``, for the log: those that it names, its second logins tried."""
    # The first unit of an import takes what the others give.
    units = plan.units[:1] if plan.action is Action.IMPORT else plan.units
    locators = [unit.locator for unit in units if unit.matches]
    check_separate(policy, plan.action, locators)
    told = {server: (reads, writes) for server, reads, writes in _told(plan.header, f"{plan.directory / HEADER}")}
    found = accounts_of(locators)
    for one in found.values() if plan.action in WRITES else ():
        reads, writes = told.get(one.server, ("", ""))
        if reads != writes and writes != one.writes:
            raise Refused(
                "S06",
                f"plan {plan.number} says that at {one.server} {writes} removes, and now {one.writes} would",
                hint=f"Nothing was opened. Name {writes} as the account that removes, or make a new plan.",
            )
    try_writers(plan.action, locators)
    return record(found.values())
