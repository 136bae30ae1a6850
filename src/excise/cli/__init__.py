"""The command line: the only reader of argv, the environment and the terminal. One file a command, loaded when asked
for."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from excise import __version__
from excise.core.errors import ExciseError
from excise.core.files import os_error
from excise.core.secrets import ask_with
from excise.core.text import shown, shown_lines

_COMMANDS = {
    "search": "Look, and print what matches; change nothing.",
    "copy": "Copy matching messages into evidence; the sources stay as they are.",
    "move": "Preserve matching messages, verify them, remove them, prove it.",
    "purge": "Move so that no copy stays at the source, as far as the store allows.",
    "plan": "Only the plan: frozen, hashed, for review.",
    "review": "Look through a plan, take out what does not belong there.",
    "approve": "Approve a plan as a second person, with an OpenSSH signature.",
    "standing": "Have a sweep approved beforehand: criteria, scope, a cap an hour and an end.",
    "run": "Execute a case's plan.",
    "resume": "Finish an interrupted run.",
    "restore": "Put removed messages back where they were.",
    "import": "Put what evidence holds, and a mailbox lacks, into that mailbox.",
    "sweep": "Search a case again for late arrivals, until it is clean.",
    "verify": "Check evidence, manifests, journals and audit chain.",
    "custody": "Write the chain-of-custody record and a draft certificate.",
    "encrypt": "Encrypt a case's evidence to recipients' public keys.",
    "decrypt": "Copy a case with its encrypted evidence in the clear.",
    "close": "Close a case for good: nothing can be added to it.",
    "loadfile": "Write the evidence for a review program: DAT, CSV, documents, hits.",
    "stamp": "Have the plan, the bag and the audit head signed and time-stamped.",
    "status": "Show where a case stands, per mailbox.",
    "policy": "Show or check the policy in force.",
    "report": "Write report.html, tables and the custody record of a case.",
    "profile": "Make a profile of the settings of ExMerge.",
    "notice": "Write a notice for those who watch the mail server's own log.",
    "mailboxes": "List the mailboxes of a source.",
    "check": "Check the structure of mail files; report, never repair.",
    "demo": "The main job on bundled mail, explained as it goes.",
}


#: Commands whose module cannot bear their name.
_MODULES = {"import": "importing"}


class _LazyGroup(click.Group):
    """Commands whose modules are imported when they are called, so that ``--help`` is fast."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"excise.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="excise")
def cli() -> None:
    """Find messages in many mailboxes, preserve them as evidence, and remove exactly those.

    Nothing is removed that was not preserved and verified, and nothing without a plan that you confirmed.

    \b
    EXIT STATUS
      0 done · 1 unexpected error · 2 wrong usage · 3 refused by a safety rule
      4 confirmation missing · 5 does not verify · 6 source unavailable
      7 damaged input · 8 held · 9 finished, but see the list · 130 interrupted
    """


def main() -> None:
    """Run the command line; the exit status is that of the reference, and no traceback reaches the user."""
    if sys.stdin.isatty():
        ask_with(lambda prompt: str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)))
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        click.echo("excise: interrupted; to go on with a run: excise resume CASE", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ExciseError as error:
        click.echo(f"excise: {shown_lines(error.text())} [{error.error_id}]", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is left to say, and Python must not say it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        told = os_error(error, shown(str(error.filename or "a file")), "reading or writing it")
        click.echo(f"excise: {told.text()} [{told.error_id}]", err=True)
        sys.exit(told.exit_code)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the last resort: said, never hidden, and the exit status is 1
        if os.environ.get("EXCISE_DEBUG"):
            traceback.print_exc()
        click.echo(
            f"excise: unexpected error: {type(error).__name__}: {shown(str(error))}\n"
            "  Nothing that was not verified has been removed. Please report it with the output of EXCISE_DEBUG=1.",
            err=True,
        )
        sys.exit(1)
