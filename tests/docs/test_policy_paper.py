"""docs/reference/policy.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

from excise.policy.model import Approval, Caps, Hold, Person, Policy, Rule, Standing
from excise.policy.read import read_policy

PAPER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "policy.md"


def keys(heading: str) -> set[str]:
    """The keys in the tables under a heading, up to the next one."""
    text = PAPER.read_text().partition(f"\n{heading}\n")[2]
    text = re.split(r"(?m)^#+ ", text)[0]
    return {
        key
        for line in text.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }


def of(model: type[Policy | Approval | Hold | Person]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_the_keys_are_those_of_the_code() -> None:
    assert keys("## Keys") == of(Policy)
    assert keys("### people") == of(Person)
    assert keys("### approval") == of(Approval) | set(Rule.model_fields) | set(Standing.model_fields)
    assert keys("### hold") == of(Hold)
    (caps,) = re.findall(r"(?m)^`caps`: (.*), as the", PAPER.read_text())
    assert set(re.findall(r"`(\w+)`", caps)) == set(Caps.model_fields)


def test_the_defaults_are_those_of_the_code() -> None:
    text = PAPER.read_text()
    for name in ("count", "hours"):
        assert re.search(rf"\| `{name}` \|.*\({Rule.model_fields[name].default:g}\) \|", text)


def test_the_example_is_a_policy(tmp_path: Path) -> None:
    (block,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", PAPER.read_text())
    path = tmp_path / "policy.toml"
    path.write_text(block)
    path.chmod(0o600)
    policy = read_policy(path).policy
    assert policy.holds and policy.approval.rules and policy.people
