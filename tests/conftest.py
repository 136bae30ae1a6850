"""What holds for all tests.

Where EXCISE_CI is set, a test that is skipped because a program or a package is missing fails instead: a skip is easily
overlooked, and on the machine that decides over a change everything is meant to be there.

Hypothesis has no deadline: how long one example takes says more about the machine's other work than about Excise, and
``--timeout`` bounds every test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

settings.register_profile("excise", deadline=None)
settings.load_profile("excise")

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)
_MISSING = re.compile(r"is not installed|could not import|\bneeds (?!root\b)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skips of tests."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skips of whole modules."""
    return _judged((yield))


def _judged(report: _Report) -> _Report:
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("EXCISE_CI") and not hasattr(report, "wasxfail") and _MISSING.search(reason):
        report.outcome = "failed"
        report.longrepr = f"EXCISE_CI is set, so nothing may be missing: {reason}"
    return report
