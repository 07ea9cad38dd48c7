"""tapehouse run: one or more roles in this process, until SIGINT or SIGTERM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options
from ops.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from tapehouse.settings import Settings


@click.command()
@click.argument("roles", nargs=-1, required=True, metavar="ROLE...")
@options.home
def command(roles: tuple[str, ...], home: Path | None) -> None:
    """Run one or more roles in this process until SIGINT or SIGTERM.

    \b
    writer, writer:N        write the stream to QuestDB: every shard, or shard N counted from 0
    barmaker, barmaker:N    keep live bars of every shard's symbols, or of shard N's
    accounts                store account trades sent by request
    mirror                  copy closed days to ClickHouse
    timescale               load account trades into TimescaleDB
    gateway                 answer queries by HTTP
    sim                     the simulated venue
    feed:VENUE:SYMBOL,...   the feed of a live venue
    replay:PATH             serve captures as a venue
    replay:VENUE/SYMBOL@START..END
                            serve stored rows as a venue

    Addresses and passwords come from the home folder, tapehouse.toml or TAPEHOUSE_* variables.
    """
    import uvloop

    from tapehouse import log
    from tapehouse.settings import load

    log.configure()
    uvloop.run(_run(load(home), roles))


async def _run(settings: Settings, roles: tuple[str, ...]) -> None:
    import os

    from ops.stack.signals import KILLED, StopSignals

    signals = StopSignals(lambda line: echo(line, err=True), lambda: os._exit(KILLED))
    await signals.run(_all(settings, roles))


async def _all(settings: Settings, roles: tuple[str, ...]) -> None:
    import asyncio

    async with asyncio.TaskGroup() as tasks:
        for role in roles:
            for work in _role(settings, role):
                tasks.create_task(work)


def _role(settings: Settings, role: str) -> list[Coroutine[Any, Any, None]]:
    """The coroutines of one role. Raises UsageError, which lists the roles."""
    from tapehouse.errors import UsageError

    name, _, place = role.partition(":")
    if name in ("writer", "barmaker"):
        if place and not place.isdigit():
            raise UsageError(f"{name}: expected a number, was {place!r}")
        work = _writers if name == "writer" else _bar_maker
        return [work(settings, int(place) if place else None)]
    if role == "accounts":
        return [_accounts(settings)]
    if role == "mirror":
        return [_mirror(settings)]
    if role == "timescale":
        return [_timescale(settings)]
    if role == "gateway":
        return [_gateway(settings)]
    if role == "sim":
        return [_simulator(settings)]
    if name == "feed" and place:
        venue, _, symbols = place.partition(":")
        return [_feed(settings, venue, symbols)]
    if name == "replay" and place:
        return [_replay(settings, place)]
    raise UsageError(
        "role: expected writer, writer:N, barmaker, barmaker:N, accounts, mirror, timescale, gateway, sim, "
        f"feed:VENUE:SYMBOL,SYMBOL... or replay:PATH, was {role!r}"
    )


async def _feed(settings: Settings, name: str, symbols: str) -> None:
    from ingest.venues.feed import LiveFeed
    from ingest.venues.registry import VENUES
    from ops.stack.feeds import venue_of
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    venue = VENUES[venue_of(name, settings)]
    asked = [symbol for symbol in symbols.split(",") if symbol]
    health = Health("feed", name)
    async with Bus.opened(settings, "feed") as bus:
        feed = LiveFeed(settings, bus, health, venue, name, asked, settings.venues.get(name))
        await health.alongside(bus, feed.run())


async def _replay(settings: Settings, what: str) -> None:
    import asyncio

    from ingest.replay.faults import FaultPlan, parse_faults
    from ingest.replay.recordings import open_recordings
    from ingest.replay.server import Market, ReplayServer
    from tapehouse.settings import LOOPBACK

    asked = settings.replay
    faults = parse_faults(asked.faults)
    markets = [
        Market(
            found.emulator,
            found.streams,
            found.read(),
            asked.multiple,
            FaultPlan(faults, found.lines, asked.seed),
        )
        for found in open_recordings(what, settings.questdb)
    ]
    async with ReplayServer(markets).serving(LOOPBACK, asked.port):
        await asyncio.Event().wait()


async def _writers(settings: Settings, place: int | None) -> None:
    from ingest.writer.writers import Writers

    await Writers(settings, place).run()


async def _bar_maker(settings: Settings, place: int | None) -> None:
    from ingest.barmaker.maker import BarMaker
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("barmaker", "all" if place is None else str(place))
    async with Bus.opened(settings, "barmaker") as bus:
        await health.alongside(bus, BarMaker(settings, bus, health, place).run())


async def _accounts(settings: Settings) -> None:
    from ingest.accounts.role import AccountTradeReceiver
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("accounts")
    async with Bus.opened(settings, "accounts") as bus:
        await health.alongside(bus, AccountTradeReceiver(bus, health).run())


async def _mirror(settings: Settings) -> None:
    from analytics.mirror.role import MirrorRole
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("mirror")
    async with Bus.opened(settings, "mirror") as bus:
        await health.alongside(bus, MirrorRole(settings, bus, health).run())


async def _timescale(settings: Settings) -> None:
    from ingest.timescale.role import TimescaleRole
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("timescale")
    async with Bus.opened(settings, "timescale") as bus:
        await health.alongside(bus, TimescaleRole(settings, bus, health).run())


async def _gateway(settings: Settings) -> None:
    from gateway.role import Gateway
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("gateway")
    async with Bus.opened(settings, "gateway") as bus:
        await health.alongside(bus, Gateway(settings, bus, health).run())


async def _simulator(settings: Settings) -> None:
    from ingest.simulator.feed import SimulatorFeed
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.health import Health

    health = Health("feed", "sim")
    async with Bus.opened(settings, "feed") as bus:
        await health.alongside(bus, SimulatorFeed(settings, bus, health).run())
