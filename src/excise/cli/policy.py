"""``excise policy``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.screen import put_json, say
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.policy.effective import Effective


@click.command("policy")
@click.argument("what", metavar="show|check", type=click.Choice(["show", "check"]))
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), metavar="FILE", help="A further policy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(what: str, policy_file: Path | None, as_json: bool) -> None:
    """Show the policy in force and where each value comes from, or check that every file of it can be read.

    Both read every file and every list of a hold; check prints only which there are.

    \b
    EXIT STATUS
      0 the policy is sound, or there is none · 2 a file is wrong (file and line are told)
      6 a file cannot be read
    """
    from excise.policy.effective import effective_policy
    from excise.policy.holds import Holds

    policy = effective_policy(policy_file)
    held = len(Holds.of(policy.policy))
    if as_json:
        put_json(_as_json(policy))
        return
    if not policy.sources:
        say("There is no policy: nothing is asked for beside the safety rules.")
        return
    for source in policy.sources:
        say(f"{shown(str(source.path))}: sound, SHA-256 {source.sha256}")
    if what == "show":
        for key, value, where in _values(policy):
            say(f"{key} = {shown(json.dumps(value, ensure_ascii=False))}  ({shown(', '.join(where))})")
    say(f"{count_of(held, 'hold')}; policy hash: {policy.sha256}")


def _as_json(policy: Effective) -> dict[str, Any]:
    values = {key: {"value": value, "from": where} for key, value, where in _values(policy)}
    files = [{"path": str(source.path), "sha256": source.sha256} for source in policy.sources]
    return {"policy_sha256": policy.sha256, "files": files, "values": values}


def _values(policy: Effective) -> Iterator[tuple[str, Any, list[str]]]:
    """Each key that is set, its value, and each ``file:line`` that had a part in it."""
    whole = policy.policy.model_dump(mode="json", exclude_defaults=True)
    for key, value in whole.items():
        if key in ("caps", "approval"):
            for inner, one in value.items():
                yield f"{key}.{inner}", one, list(policy.origins(f"{key}.{inner}", lambda set_here: set_here != ()))
        else:
            yield key, value, list(policy.origins(key, lambda set_here: set_here not in ((), {})))
