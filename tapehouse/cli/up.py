"""tapehouse up: the whole platform in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from tapehouse.settings import Settings
    from tapehouse.stack.runner import Stack


@click.command()
@click.option("--feed", default="sim", show_default=True, help="sim (a simulated venue) or none.")
@options.home
def command(feed: str, home: Path | None) -> None:
    """Run NATS, QuestDB, ClickHouse, the roles and a feed until Ctrl-C, with a live status board.

    Everything is kept in the home folder: a second start goes on where the first stopped.
    """
    import uvloop

    from tapehouse import log
    from tapehouse.errors import UsageError
    from tapehouse.settings import load

    if feed not in ("sim", "none"):
        raise UsageError(f"--feed: expected sim or none, was {feed!r}")
    settings = load(home)
    log.configure(quiet=sys.stdout.isatty())
    uvloop.run(_up(settings, feed))


async def _up(settings: Settings, feed: str) -> None:
    import asyncio
    import contextlib
    import signal

    from tapehouse.cli.board import Board
    from tapehouse.stack.home import Home
    from tapehouse.stack.runner import Stack

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    board = Board(settings.home)
    async with Stack(Home(settings.home)) as stack, board.shown(stack):
        with contextlib.suppress(asyncio.CancelledError):
            await _start(stack, settings.home, feed)
            board.began(settings.home)
            raise await stack.failure()
        board.say("stopping")


async def _start(stack: Stack, home: Path, feed: str) -> None:
    """Start the servers, make the streams and tables, start the roles."""
    from tapehouse.cli.phases import role_part, start_servers
    from tapehouse.settings import load
    from tapehouse.stack.servers import asked_ports

    await start_servers(stack, home, asked_ports())
    roles = ["writer", "accounts"] + (["sim"] if feed == "sim" else [])
    for role in roles:
        stack.add(role_part(role, load(home)))
    await stack.start("writer", "accounts")
    if feed == "sim":
        await stack.start("sim")
