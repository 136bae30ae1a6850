"""Programs that tests run beside Excise."""

from __future__ import annotations

import os
import shutil

import pytest

#: Debian keeps daemons where only root's PATH looks.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find_program(name: str) -> str | None:
    """Where the program ``name`` is, or None."""
    return shutil.which(name, path=PATH)


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of ``names`` is missing; where EXCISE_CI is set, conftest.py makes that a failure."""
    missing = [name for name in names if find_program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed (make test-programs)")
