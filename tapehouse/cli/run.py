"""tapehouse run: roles in this process, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from tapehouse.settings import Settings


@click.command()
@click.argument("roles", nargs=-1, required=True, metavar="ROLE...")
@options.home
def command(roles: tuple[str, ...], home: Path | None) -> None:
    """Run roles in this process until it is told to stop.

    ROLE is writer (every shard), writer:N (one of as many as there are shards, counted from 0), barmaker or
    barmaker:N (live bars of their symbols), accounts (account trades by request), mirror (closed days to the
    cold store), gateway (queries by HTTP), sim (the simulated venue),
    feed:VENUE:SYMBOL,SYMBOL... (a live venue), or replay:PATH or replay:VENUE/SYMBOL@START..END (captures, or
    what is stored, served as a venue). Where the servers are and the passwords come from the home folder,
    tapehouse.toml or TAPEHOUSE_*.
    """
    import uvloop

    from tapehouse import log
    from tapehouse.settings import load

    log.configure()
    uvloop.run(_run(load(home), roles))


async def _run(settings: Settings, roles: tuple[str, ...]) -> None:
    import asyncio
    import signal

    task = asyncio.current_task()
    assert task is not None
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        async with asyncio.TaskGroup() as tasks:
            for role in roles:
                for work in _role(settings, role):
                    tasks.create_task(work)
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise


def _role(settings: Settings, role: str) -> list[Coroutine[Any, Any, None]]:
    """The work of one role; UsageError names the roles there are."""
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
        "role: expected writer, writer:N, barmaker, barmaker:N, accounts, mirror, gateway, sim, "
        f"feed:VENUE:SYMBOL,SYMBOL... or replay:PATH, was {role!r}"
    )


async def _feed(settings: Settings, name: str, symbols: str) -> None:
    from ingest.feeds.venues import VENUES
    from ingest.livefeed import LiveFeed
    from tapehouse.bus import Bus
    from tapehouse.cli.feeds import venue_of
    from tapehouse.health import Health

    venue = VENUES[venue_of(name, settings)]
    asked = [symbol for symbol in symbols.split(",") if symbol]
    health = Health("feed", name)
    async with Bus.opened(settings, "feed") as bus:
        feed = LiveFeed(settings, bus, health, venue, name, asked, settings.venues.get(name))
        await health.alongside(bus, feed.run())


async def _replay(settings: Settings, what: str) -> None:
    import asyncio

    from ingest.feeds.recordings import recordings
    from ingest.feeds.replay import Market, Replay
    from ingest.feeds.replay_faults import Faults, wanted
    from tapehouse.stack.ports import LOOPBACK

    asked = settings.replay
    faults = wanted(asked.faults)
    markets = [
        Market(
            found.dialect,
            found.streams,
            found.read(),
            asked.multiple,
            Faults(faults, found.lines, asked.seed),
        )
        for found in recordings(what, settings.questdb)
    ]
    async with Replay(markets).serving(LOOPBACK, asked.port):
        await asyncio.Event().wait()


async def _writers(settings: Settings, place: int | None) -> None:
    from ingest.writers import Writers

    await Writers(settings, place).run()


async def _bar_maker(settings: Settings, place: int | None) -> None:
    from ingest.barmaker import BarMaker
    from tapehouse.bus import Bus
    from tapehouse.health import Health

    health = Health("barmaker", "all" if place is None else str(place))
    async with Bus.opened(settings, "barmaker") as bus:
        await health.alongside(bus, BarMaker(settings, bus, health, place).run())


async def _accounts(settings: Settings) -> None:
    from ingest.accounts import Accounts
    from tapehouse.bus import Bus
    from tapehouse.health import Health

    health = Health("accounts")
    async with Bus.opened(settings, "accounts") as bus:
        await health.alongside(bus, Accounts(bus, health).run())


async def _mirror(settings: Settings) -> None:
    from analytics.schedule import MirrorRole
    from tapehouse.bus import Bus
    from tapehouse.health import Health

    health = Health("mirror")
    async with Bus.opened(settings, "mirror") as bus:
        await health.alongside(bus, MirrorRole(settings, bus, health).run())


async def _gateway(settings: Settings) -> None:
    from gateway.role import Gateway
    from tapehouse.bus import Bus
    from tapehouse.health import Health

    health = Health("gateway")
    async with Bus.opened(settings, "gateway") as bus:
        await health.alongside(bus, Gateway(settings, bus, health).run())


async def _simulator(settings: Settings) -> None:
    from ingest.simfeed import SimFeed
    from tapehouse.bus import Bus
    from tapehouse.health import Health

    health = Health("feed", "sim")
    async with Bus.opened(settings, "feed") as bus:
        await health.alongside(bus, SimFeed(settings, bus, health).run())
