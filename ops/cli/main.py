"""The program `tapehouse`: loads a command's module, runs it, and turns errors into messages and exit statuses."""

from __future__ import annotations

import importlib
import os
import sys

import click

from ops.terminal import echo
from tapehouse.errors import TapehouseError

# Each command has a module, which is imported only when the command runs: --help must be fast.
COMMANDS = {
    "up": "Run the whole platform in the foreground, with a live status board.",
    "down": "Stop the platform that runs in a home folder.",
    "status": "Show the state of every part; exit status 0 only when all are ready.",
    "run": "Run one or more roles in this process.",
    "ingest": "Store ticks from files and captures.",
    "query": "Query trades, quotes, depth, bars, gaps or account trades.",
    "catalog": "List what is stored.",
    "latest": "Show last trades.",
    "rankings": "Rank live symbols by change, volatility or turnover.",
    "book": "Show an order book as of a time.",
    "features": "Show the features of bars.",
    "backtest": "Run a strategy on stored bars and ticks.",
    "gaps": "List ids and times of a source that were not received.",
    "mirror": "Copy closed days to ClickHouse, verify the copies, apply retention.",
    "timescale": "Compare the policies of TimescaleDB with the documented ones.",
    "quarantine": "List, show and retry rejected rows.",
    "drill": "Inject faults into a temporary platform under load, and check every row.",
    "doctor": "Check that this machine has what the platform needs.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"ops.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tapehouse")
def root() -> None:
    """Tapehouse: a market data platform on NATS JetStream, QuestDB and ClickHouse.

    Exit status: 0 success, 1 failure, 2 wrong usage.
    """


def main() -> None:
    """The console script."""
    try:
        root(standalone_mode=False)
    except click.exceptions.Abort:
        _exit("interrupted", 130)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except BrokenPipeError:
        # The reader of standard output has closed it, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except TapehouseError as error:
        _exit(f"error: {error}", error.exit_status)
    except BaseExceptionGroup as errors:
        # Several roles in one process: the first failure cancelled the others.
        ours, others = errors.split(TapehouseError)
        if ours is None or others is not None:
            raise
        first = _first(ours)
        _exit(f"error: {first}", first.exit_status)


def _first(errors: BaseExceptionGroup[TapehouseError]) -> TapehouseError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _exit(message: str, status: int) -> None:
    echo(message, err=True)
    sys.exit(status)
