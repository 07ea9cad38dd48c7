"""The command `tapehouse`: finds the command's module, runs it, turns errors into messages and statuses."""

from __future__ import annotations

import importlib
import os
import sys

import click

from tapehouse.errors import TapehouseError

# Each command is in a module of its own that is imported only when it runs: --help must be quick.
COMMANDS = {
    "up": "Run the whole platform in the foreground, with a status board.",
    "down": "Stop a platform that runs in a home folder.",
    "status": "Show every part's state; exit status 0 only when all are ready.",
    "run": "Run one or more roles in this process.",
    "ingest": "Bring files of ticks in.",
    "query": "Read trades, quotes or bars.",
    "gaps": "List what a source had and this system has not.",
    "mirror": "Copy closed days to the cold store, prove them, let old ones go.",
    "quarantine": "Look at what was refused, and try it again.",
    "drill": "Break a platform of its own under load, and prove that nothing is lost.",
    "doctor": "Check what this machine has of what the platform needs.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"tapehouse.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tapehouse")
def root() -> None:
    """Tapehouse: ticks over JetStream into QuestDB, bars out, one truth at every seam.

    Exit status: 0 done, 1 failed, 2 misused.
    """


def main() -> None:
    """The console script."""
    try:
        root(standalone_mode=False)
    except click.exceptions.Abort:
        _leave("interrupted", 130)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except TapehouseError as error:
        _leave(f"error: {error}", error.exit_status)
    except BaseExceptionGroup as errors:
        # Several roles in one process: the first that failed has ended the others.
        ours, others = errors.split(TapehouseError)
        if ours is None or others is not None:
            raise
        first = _first(ours)
        _leave(f"error: {first}", first.exit_status)


def _first(errors: BaseExceptionGroup[TapehouseError]) -> TapehouseError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _leave(message: str, status: int) -> None:
    click.echo(message, err=True)
    sys.exit(status)
