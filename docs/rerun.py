"""Writes anew what the papers show of the program: the output in the guides and the tables of options.

``python docs/rerun.py`` runs every ``console`` block of docs/guide/*.md in order, with ``bash``, in /tmp/guide, and
puts what was printed below each command; then it fills in the tables of docs/reference/commands.md. In a block, a line
that begins with ``$ `` is a command, which a ``\\`` at its end or lines with ``> `` go on with; all others are output.
real-pst-to-mbox.md needs the sample PSTs ($EXCISE_SAMPLES), and is left as it is where they are not there.

A comment ``<!-- user: NAME -->`` above a block has it run by that user of the system, in their home directory; such
guides need root, who makes the users for the time (``People``). /etc/excise and /srv/excise are then directories of the
guide's own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from excise.cli import cli, options

DOCS = Path(__file__).resolve().parent
PLACE = Path("/tmp/guide")  # noqa: S108 - shown in the guides, so it has to have the same name everywhere
_BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
_USER_BLOCK = re.compile(r"(?ms)^(<!-- user: (\w+) -->\n)?```console\n(.*?)^```$")
_TABLE = re.compile(r"(?ms)^<!-- options: ([\w-]+) -->\n.*?^<!-- end -->$")
#: The groups of options that commands share, as commands.md names them.
GROUPS: dict[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "criteria": options.term_options,
    "scope": options.scope_options,
    "directory": options.directory_options,
    "evidence": options.evidence_options,
    "limits": options.limit_options,
    "confirmation": options.confirm_options,
    "work": options.work_options,
    "proof": options.proof_options,
    "authority": options.authority_options,
}


def commands_of(block: str) -> list[str]:
    """The commands of a console block, each with its continuation lines."""
    found: list[str] = []
    going_on = False
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif found and (going_on or line.startswith("> ") or line == ">"):
            found[-1] += "\n" + line
        else:
            going_on = False
            continue
        going_on = line.endswith("\\")
    return found


def typed(command: str) -> str:
    """A command of a block as bash gets it: without the marks of its continuation lines."""
    return re.sub(r"(?m)^> ?", "", command)


def group_options(name: str) -> list[click.Option]:
    """The options of the group ``name``."""

    def nothing() -> None: ...

    made: list[click.Parameter] = list(reversed(GROUPS[name](nothing).__click_params__))  # type: ignore[attr-defined]
    return [parameter for parameter in made if isinstance(parameter, click.Option)]


def own_options(command: click.Command) -> list[click.Option]:
    """The options of ``command`` that it shares with no group of its own."""
    shared = {option.opts[0]: option for name in groups_of(command) for option in group_options(name)}
    return [option for option in command.params if isinstance(option, click.Option) and option.opts[0] not in shared]


def groups_of(command: click.Command) -> list[str]:
    """The groups whose options ``command`` has, all of them."""
    own = {option.opts[0]: option.help for option in command.params if isinstance(option, click.Option)}
    return [name for name in GROUPS if all(own.get(option.opts[0]) == option.help for option in group_options(name))]


def row(option: click.Option) -> str:
    """An option as a row of a table."""
    metavar = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
    note = " Required." if option.required else ""
    more = " (repeatable)" if option.multiple else ""
    metavar = metavar.replace("[", "").replace("]", "").replace("|", r"\|")
    return f"| `{option.opts[0]}{metavar}`{more} | {option.help}{note} |"


def table(name: str) -> str:
    """The table of a group of options, or of a command's own."""
    if name in GROUPS:
        found = group_options(name)
    else:
        command = cli.get_command(click.Context(cli), name.removeprefix("command-"))
        if command is None:
            raise SystemExit(f"commands.md: there is no command {name}")
        found = own_options(command)
    rows = "\n".join(map(row, found))
    return f"<!-- options: {name} -->\n| option | meaning |\n|---|---|\n{rows}\n<!-- end -->"


def run(command: str, environment: dict[str, str], place: Path = PLACE, **more: Any) -> str:
    """What ``command`` prints, both streams as a terminal would show them; the exit status where it is not 0."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env=environment,
        **more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines) + (f"(exit status {done.returncode})\n" if done.returncode else "")


def shown(block: str, environment: dict[str, str]) -> Iterator[str]:
    """The block with its output made anew."""
    for command in commands_of(block):
        yield f"$ {command}\n{run(typed(command), environment)}"


def interpreter() -> str | None:
    """A Python that every user may run, with what Excise needs; None where there is none."""
    for program in (sys.executable, "/usr/bin/python3"):
        check = [program, "-c", "import sys; print(sys.version_info[:2])"]
        with contextlib.suppress(OSError):
            done = subprocess.run(check, user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
            if done.stdout.decode().strip() == str(sys.version_info[:2]):
                return program
    return None


class People:
    """Users of the system, made for the time that a guide is run; each works in a home directory of their own."""

    def __init__(self, place: Path, names: set[str], python: str) -> None:
        """``place``: an empty directory that all may enter."""
        self.place, self.names, self.python = place, sorted(names - {"root"}), python
        libraries = [str(place / "lib"), *(path for path in sys.path if path.endswith("site-packages"))]
        self.environment = {
            "PATH": f"{place / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": ":".join(libraries),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CONFIG_DIRS": str(place / "etc"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    def __enter__(self) -> People:
        """Make them, and the place where they meet."""
        for name in ("bin", "home", "etc", "srv"):
            (self.place / name).mkdir(mode=0o755)
        shutil.copytree(DOCS.parent / "src" / "excise", self.place / "lib" / "excise")
        program = self.place / "bin" / "excise"
        program.write_text(f'#!/bin/sh\nexec {self.python} -m excise "$@"\n')
        program.chmod(0o755)
        subprocess.run(["groupadd", "excise"], check=True)
        for name in self.names:
            home = str(self.place / "home" / name)
            subprocess.run(["useradd", "-m", "-k", "/dev/null", "-d", home, "-G", "excise", name], check=True)
            mail = f"cp -r {DOCS.parent}/fixtures/demo mail && find mail -name cur -execdir mkdir new tmp \\;"
            subprocess.run(["bash", "-c", f"{mail}; chown -R {name}: mail"], cwd=home, check=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Take them away again."""
        for name in self.names:
            subprocess.run(["userdel", name], check=True, capture_output=True)
        subprocess.run(["groupdel", "excise"], check=True)

    def run(self, name: str, command: str) -> str:
        """What ``command``, typed by that user, prints."""
        for shared in ("/etc/excise", "/srv/excise"):
            command = command.replace(shared, f"{self.place}{shared}")
        home = self.place if name == "root" else self.place / "home" / name
        who = {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": [] if name == "root" else ["excise"]}
        printed = run(command, self.environment | {"HOME": str(home), "USER": name}, home, **who, umask=0o027)
        for shared in ("/etc/excise", "/srv/excise"):
            printed = printed.replace(f"{self.place}{shared}", shared)
        return printed

    def rerun(self, text: str) -> str:
        """A guide with its outputs made anew."""

        def anew(found: re.Match[str]) -> str:
            lines = (f"$ {command}\n{self.run(found[2], typed(command))}" for command in commands_of(found[3]))
            return f"{found[1]}```console\n{''.join(lines)}```"

        return _USER_BLOCK.sub(anew, text).replace(str(self.place), str(PLACE))


@contextlib.contextmanager
def own_place() -> Iterator[Path]:
    """A directory that nobody else uses, with a name as long as that of ``PLACE``, so that tables keep their form."""
    place = PLACE.with_name(f"g{os.getpid() % 10_000:04}")
    place.mkdir(mode=0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def users_of(text: str) -> set[str]:
    """The users whose commands a guide shows."""
    return set(re.findall(r"<!-- user: (\w+) -->", text))


def rerun(guide: Path) -> None:
    """Write the outputs of one guide anew."""
    names = users_of(guide.read_text())
    if names:
        python = interpreter() if os.getuid() == 0 else None
        if python is None:
            click.echo(f"{guide.name}: left as it is: it needs root, and a Python that all users may run")
            return
        with own_place() as place, People(place, names, python) as people:
            guide.write_text(people.rerun(guide.read_text()))
        return
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "bin").mkdir(parents=True)
    program = PLACE / "bin" / "excise"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m excise "$@"\n')
    program.chmod(0o755)
    (PLACE / "fixtures").symlink_to(DOCS.parent / "fixtures")
    environment = os.environ | {
        "PATH": f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(DOCS.parent / "src"),
        "EXCISE_ACCESS_LOG": str(PLACE / "access.jsonl"),
        "TZ": "UTC",
    }
    text = guide.read_text()
    samples = environment.get("EXCISE_SAMPLES")
    if "$EXCISE_SAMPLES" in text and not (samples and Path(samples, "pst-samples").is_dir()):
        click.echo(f"{guide.name}: left as it is: the sample PSTs are not there ($EXCISE_SAMPLES)")
        return
    guide.write_text(_BLOCK.sub(lambda found: f"```console\n{''.join(shown(found[1], environment))}```", text))


def main() -> None:
    """Write everything anew, or only the guides that are named."""
    names = sys.argv[1:]
    for guide in sorted((DOCS / "guide").glob("*.md")):
        if not names or guide.stem in names:
            rerun(guide)
    commands = DOCS / "reference" / "commands.md"
    commands.write_text(_TABLE.sub(lambda found: table(found[1]), commands.read_text()))


if __name__ == "__main__":
    main()
