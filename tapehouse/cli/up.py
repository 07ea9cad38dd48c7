"""tapehouse up: the whole platform in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from tapehouse.settings import Settings
    from tapehouse.stack.home import Home
    from tapehouse.stack.runner import Stack


@click.command()
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    default=("sim",),
    show_default=True,
    help="sim (a simulated venue), none, replay:PATH (captures as a venue; "
    "or what is stored: replay:VENUE/SYMBOL@START..END), or VENUE:SYMBOL,SYMBOL... of "
    "binance_spot, binance_usdm, binance_cm, coinbase or kraken. May be given several times.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Of the gateway; 0: any free one  [default: 8000]"
)
@options.home
def command(feeds: tuple[str, ...], port: int | None, home: Path | None) -> None:
    """Run NATS, QuestDB, ClickHouse, the roles and a feed until Ctrl-C, with a live status board.

    Everything is kept in the home folder: a second start goes on where the first stopped.
    """
    import uvloop

    from tapehouse import log
    from tapehouse.cli.feeds import check
    from tapehouse.settings import load

    settings = load(home)
    check(feeds, settings)
    log.configure(quiet=sys.stdout.isatty())
    uvloop.run(_up(settings, feeds, port))


async def _up(settings: Settings, feeds: tuple[str, ...], port: int | None) -> None:
    import asyncio
    import contextlib
    import signal

    from tapehouse.cli.board import Board
    from tapehouse.stack.home import Home
    from tapehouse.stack.runner import Stack

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever has it ignored, as nohup does, goes on when the terminal is closed.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    board = Board(settings.home)
    async with Stack(Home(settings.home)) as stack, board.shown(stack):
        with contextlib.suppress(asyncio.CancelledError):
            await _start(stack, settings.home, feeds, port)
            board.began(settings.home)
            room = asyncio.create_task(_keep_room(stack.home))
            try:
                raise await stack.failure()
            finally:
                room.cancel()
                await asyncio.gather(room, return_exceptions=True)
        board.say("stopping")


async def _keep_room(home: Home) -> None:
    """Make the feeds wait before the disk of NATS is full."""
    from ingest.room import Room
    from tapehouse.settings import load

    await Room(load(home.folder), home.data("nats")).run()


async def _start(stack: Stack, home: Path, feeds: tuple[str, ...], port: int | None) -> None:
    """Start the servers, make the streams and tables, start the roles."""
    from tapehouse.cli.feeds import phases
    from tapehouse.cli.phases import role_part, start_servers
    from tapehouse.settings import load
    from tapehouse.stack.servers import asked_ports

    asked = asked_ports() if port is None else {**asked_ports(), "gateway": port}
    ports = await start_servers(stack, home, asked)
    roles = ("writer", "accounts", "barmaker", "mirror", "gateway")
    for role in roles:
        # Its port may be another than the settings say.
        own = {"TAPEHOUSE_GATEWAY__PORT": str(ports["gateway"])} if role == "gateway" else {}
        stack.add(role_part(role, load(home), own))
    await stack.start(*roles)
    for parts in phases(feeds, stack.home, load(home)):
        for part in parts:
            stack.add(part)
        await stack.start(*(part.name for part in parts))
