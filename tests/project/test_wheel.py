"""The built wheel works in an empty directory with nothing of the checkout near it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from project.checkout import ROOT, excise


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, so that the latter is proved complete too."""
    place = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT))
    (found,) = place.glob("excise-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The ``excise`` program in an environment that holds the wheel and what it says that it needs."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=True)
    pip = (str(place / "venv" / "bin" / "python"), "-m", "pip")
    _run(*pip, "install", "--quiet", "--disable-pip-version-check", str(wheel), cwd=place)
    return (str(place / "venv" / "bin" / "excise"),)


def _run(*command: str, cwd: Path = ROOT) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_the_package_and_the_demo_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if name.startswith("excise-")}
    assert any(name.endswith("/LICENSE") for name in info)
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    mail = {"excise/cli/demo_mail/" + p.relative_to(ROOT / "fixtures" / "demo").as_posix()
            for p in (ROOT / "fixtures" / "demo").rglob("*") if p.is_file()}  # fmt: skip
    server = {"excise/cli/demo_server/" + p.relative_to(ROOT / "tests" / "ews_server").as_posix()
              for p in (ROOT / "tests" / "ews_server").rglob("*.py")}  # fmt: skip
    assert sources | mail | server <= names - info
    assert all(name.startswith("excise/") for name in names - info)


def test_installed_wheel_runs_the_demo(installed: tuple[str, ...], tmp_path: Path) -> None:
    done = excise("demo", "--keep", "kept", cwd=tmp_path, program=installed)
    assert done.returncode == 0, done.stdout
    assert "and none twice." in done.stdout


def test_wheel_has_the_exchange_server_of_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Run from the wheel's own files, with the libraries that are installed here."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}
    command = [sys.executable, "-m", "excise", "demo", "--exchange"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "and none twice." in done.stdout


def test_installed_wheel_runs_a_profile(installed: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "take-back.toml").write_text(
        'action = "move"\nsources = ["inbox.mbox"]\n[criteria]\nsubject = "Sent by mistake"\n', encoding="utf-8"
    )
    entry = "From a@example.com Mon Jan 12 09:00:00 2026\nFrom: a@example.com\nSubject: {}\n\ntext\n\n"
    inbox = tmp_path / "inbox.mbox"
    inbox.write_text("".join(map(entry.format, ("One", "Sent by mistake", "Two"))), encoding="ascii")
    moved = excise(
        "move", "--profile", "take-back", "--case", "case", "--yes", "--expect-matches", "1",
        cwd=tmp_path, program=installed,
    )  # fmt: skip
    assert moved.returncode == 0, moved.stdout
    assert inbox.read_text(encoding="ascii") == entry.format("One") + entry.format("Two")
