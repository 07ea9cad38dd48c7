"""tapehouse up: the whole platform in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from tapehouse.settings import Settings
    from tapehouse.stack.part import Part
    from tapehouse.stack.runner import Stack


@click.command()
@click.option("--feed", default="sim", show_default=True, help="sim (a simulated venue) or none.")
@options.home
def command(feed: str, home: Path | None) -> None:
    """Run NATS, QuestDB, ClickHouse, the writer and a feed until Ctrl-C, with a live status board.

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
    from tapehouse.settings import load
    from tapehouse.stack.ports import Ports
    from tapehouse.stack.servers import asked_ports, servers

    for part in servers(stack.home, Ports(stack.home, asked_ports())):
        if part.name == "questdb":
            part = _vouched(part, stack, home)
        stack.add(part)
    await stack.start("nats")
    await _provision(load(home))
    await stack.start("questdb", "clickhouse")
    await _migrate(load(home))
    roles = ["writer"] + (["sim"] if feed == "sim" else [])
    for role in roles:
        stack.add(_role(role, load(home)))
    await stack.start("writer")
    if feed == "sim":
        await stack.start("sim")


def _vouched(part: Part, stack: Stack, home: Path) -> Part:
    """QuestDB's part, that tells the writers each time it was started after which kind of end."""
    from dataclasses import replace

    async def started() -> None:
        import asyncio

        from tapehouse.bus import Bus
        from tapehouse.questdb import QuestReader
        from tapehouse.settings import load

        settings = load(home)
        with QuestReader(settings.questdb) as reader:
            start_ns = await asyncio.to_thread(reader.started_ns)
        async with Bus.opened(settings, "admin") as bus:
            state = await bus.state()
            await state.put("hot", {"start_ns": start_ns, "unclean_ns": stack.questdb_unclean_ns})

    return replace(part, started=started)


async def _provision(settings: Settings) -> None:
    from ingest.streams import provision
    from tapehouse.bus import Bus

    async with Bus.opened(settings, "admin") as bus:
        await provision(bus, settings)


async def _migrate(settings: Settings) -> None:
    import asyncio

    from tapehouse.migrations import QuestLedger, migrate, migrations

    ledger = QuestLedger(settings.questdb)
    try:
        await asyncio.to_thread(migrate, ledger, migrations("questdb"))
    finally:
        ledger.close()


def _role(role: str, settings: Settings) -> Part:
    """A role as a part: ready at its next heartbeat that says so."""
    from tapehouse.stack.part import Part

    heard = {"writer": "writer", "sim": "feed"}[role]

    async def answers() -> None:
        from tapehouse.health import heartbeat

        await heartbeat(settings, heard)

    return Part(
        name=role,
        command=(sys.executable, "-m", "tapehouse", "run", role, "--home", str(settings.home)),
        answers=answers,
        address=f"health.{heard}.>",
        stop_within=5,
    )
