"""Files in a case that no part of its format explains."""

from __future__ import annotations

from collections.abc import Iterator

from excise.case.bag import PLAIN, TABLE, TAG_MANIFEST, TAGS
from excise.case.layout import VERIFIER, Case
from excise.case.recorded import PROOFS
from excise.case.verify_proofs import Check
from excise.core.files import PARTIAL
from excise.core.marker import CASE_FILE
from excise.core.text import are, count_of


def check_strangers(case: Case) -> Iterator[Check]:
    """Files that no part of the format explains; inside bags and evidence parts the checks above find them."""
    known = {CASE_FILE, "audit.jsonl", "audit.head", "lock", "scope.csv", "outcome.csv", "report.html", "plan", "units"}
    known |= {VERIFIER, *PROOFS, "custody.md", "certificate-902-14.md"}
    known |= {case.bag_dir(number).name for number in case.plan_numbers()}
    patterns: tuple[str, ...] = (
        "plan/[0-9]*",
        "plan/*/header.json",
        "plan/*/matches",
        "plan/*/matches/[0-9]*.jsonl",
        "units/[0-9]*",
    )
    patterns += ("approvals/[0-9]*", "approvals/*/*.json", "approvals/*/*.json.sig")
    patterns += ("standing/[0-9]*", "standing/*/*.json", "standing/*/*.json.sig")
    patterns += ("units/*/journal.jsonl", "units/*/audit.jsonl", f"units/*/part-*{PARTIAL}")
    tags = ("data", *TAGS, TAG_MANIFEST, PLAIN, TABLE)
    explained = {case.root / name for name in known} | {
        path for pattern in patterns for path in case.root.glob(pattern)
    }
    explained |= {case.bag_dir(number) / tag for number in case.plan_numbers() for tag in tags}
    places = [
        case.root,
        *(path for path in explained if path.is_dir() and path.name not in ("data", "plan", "units", PLAIN, *PROOFS)),
    ]
    places += [case.root / "plan", case.root / "units"]
    found = {path for place in places if place.is_dir() and PARTIAL not in place.name for path in place.iterdir()}
    if case.opened_dir.exists():
        said = "evidence in the clear, left by a killed command; the next command that works on the case removes it"
        yield Check(case.opened_dir.name, None, said)
    strangers = sorted(path for path in found - explained if not path.name.endswith(PARTIAL))
    if strangers:
        named = ", ".join(str(path.relative_to(case.root)) for path in strangers[:5])
        yield Check(
            "other files",
            None,
            f"{count_of(len(strangers), 'file')} {are(len(strangers))} not part of the case: {named}",
        )
