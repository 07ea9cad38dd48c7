"""tapehouse up: runs the whole platform in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options

if TYPE_CHECKING:
    from ops.stack.board import Board
    from ops.stack.home import Home
    from ops.stack.runner import Stack
    from tapehouse.settings import Settings


@click.command()
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    default=("sim",),
    show_default=True,
    help="sim (a simulated venue), none, replay:PATH (captures served as a venue), "
    "replay:VENUE/SYMBOL@START..END (stored rows served as a venue), or VENUE:SYMBOL,SYMBOL... with VENUE "
    "binance_spot, binance_usdm, binance_cm, coinbase or kraken. Repeatable.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port of the gateway; 0: any free port  [default: 8000]"
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser once all is ready.")
@options.home
def command(feeds: tuple[str, ...], port: int | None, opens: bool, home: Path | None) -> None:
    """Run NATS, QuestDB, ClickHouse, the roles and a feed until Ctrl-C, with a live status board.

    All data is in the home folder: a second start continues where the first stopped.
    """
    import uvloop

    from ops.stack.feeds import check
    from tapehouse import log
    from tapehouse.settings import load

    settings = load(home)
    check(feeds, settings)
    log.configure(quiet=sys.stdout.isatty())
    uvloop.run(_up(settings, feeds, port, opens))


async def _up(settings: Settings, feeds: tuple[str, ...], port: int | None, opens: bool) -> None:
    from ops.stack.board import Board
    from ops.stack.home import Home
    from ops.stack.orphans import orphans
    from ops.stack.runner import Stack
    from ops.stack.signals import KILLED, StopSignals

    board = Board(settings.home)
    stack = Stack(Home(settings.home))
    if left := orphans(settings.home / "run"):
        board.say(f"ending what a killed run left: {', '.join(left)}")
    signals = StopSignals(board.say, stack.kill)
    # The board is left last: it shows what is being stopped.
    async with board.shown(stack):
        async with stack:
            try:
                await signals.run(_run(stack, board, settings.home, feeds, port, opens))
            finally:
                board.say("stopping")
        board.say("stopped")
    if signals.killed:
        sys.exit(KILLED)


async def _run(
    stack: Stack, board: Board, home: Path, feeds: tuple[str, ...], port: int | None, opens: bool
) -> None:
    """Start every part, then wait until one is given up: raises its StackError."""
    import asyncio

    from ops.stack.browser import open_page
    from tapehouse.settings import load

    board.say("starting")
    await _start(stack, home, feeds, port)
    url = load(home).gateway.url
    ready = f"ready; charts at {url}; home {home}; Ctrl-C stops"
    board.say(ready)
    if opens and not await asyncio.to_thread(open_page, url):
        board.say(f"no browser to open here; {ready}")
    beside = [asyncio.create_task(board.watch()), asyncio.create_task(_keep_room(stack.home))]
    try:
        raise await stack.failure()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _keep_room(home: Home) -> None:
    """Pause the feeds before the disk of NATS is full."""
    from ingest.disk_guard import DiskGuard
    from tapehouse.settings import load

    await DiskGuard(load(home.folder), home.data("nats")).run()


async def _start(stack: Stack, home: Path, feeds: tuple[str, ...], port: int | None) -> None:
    """Start the servers, create the streams and tables, start the roles and feeds."""
    from dataclasses import replace

    from ops.stack.feeds import phases
    from ops.stack.phases import role_part, start_servers
    from ops.stack.servers import ports_from_settings
    from tapehouse.settings import load

    asked = ports_from_settings() if port is None else {**ports_from_settings(), "gateway": port}
    ports = await start_servers(stack, home, asked)
    roles = ["writer", "accounts", "barmaker", "mirror", "gateway"]
    if load(home).timescale.dsn.get_secret_value():
        roles.append("timescale")
    for role in roles:
        # The chosen port may differ from the one in the settings.
        own = {"TAPEHOUSE_GATEWAY__PORT": str(ports["gateway"])} if role == "gateway" else {}
        part = role_part(role, load(home), own)
        if role == "gateway":
            part = replace(part, ports=(ports["gateway"],), address=load(home).gateway.url)
        stack.add(part)
    await stack.start(*roles)
    for parts in phases(feeds, stack.home, load(home)):
        for part in parts:
            stack.add(part)
        await stack.start(*(part.name for part in parts))
