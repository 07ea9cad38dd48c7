"""The phases in which a platform is started on one machine: servers, streams and tables, roles."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.stack.part import Part
    from ops.stack.runner import Stack
    from tapehouse.settings import Settings


_NEEDS = dict.fromkeys(("mirror", "gateway"), ("nats", "questdb", "clickhouse"))


async def start_servers(
    stack: Stack, home: Path, asked: Mapping[str, int], stores: tuple[str, ...] = ("questdb", "clickhouse")
) -> Mapping[str, int]:
    """Start NATS and the stores, with the streams and tables that roles need; returns the ports, by name.

    `asked` are required ports by the port names of `Ports`, 0 for any free one. Raises StackError if one is
    taken or a part does not start.
    """
    from ops.stack.ports import Ports
    from ops.stack.servers import servers
    from tapehouse.settings import load

    ports = Ports(stack.home, asked)
    for part in servers(stack.home, ports):
        stack.add(_vouched(part, stack, home) if part.name == "questdb" else part)
    await stack.start("nats")
    await _provision(load(home))
    await stack.start(*stores)
    await _migrate(load(home), stores)
    return ports.chosen


def _vouched(part: Part, stack: Stack, home: Path) -> Part:
    """QuestDB's part; after each start it records in NATS when, and when it last started after an unclean stop."""
    from dataclasses import replace

    async def started() -> None:
        import asyncio

        from tapehouse.settings import load
        from tapehouse.stores.questdb import QuestReader
        from tapehouse.stream.bus import Bus

        settings = load(home)
        with QuestReader(settings.questdb) as reader:
            start_ns = await asyncio.to_thread(reader.started_ns)
        async with Bus.opened(settings, "admin") as bus:
            state = await bus.shared_state()
            await state.put("hot", {"start_ns": start_ns, "unclean_ns": stack.questdb_unclean_ns})

    return replace(part, started=started)


async def _provision(settings: Settings) -> None:
    from tapehouse.stream.bus import Bus
    from tapehouse.stream.topology import provision

    async with Bus.opened(settings, "admin") as bus:
        await provision(bus, settings)


async def _migrate(settings: Settings, stores: tuple[str, ...]) -> None:
    import asyncio

    from tapehouse.stores.clickhouse_schema import ClickHouseMigrations
    from tapehouse.stores.migrations import QuestDBMigrations, migrate, migrations

    if "questdb" in stores:
        hot = QuestDBMigrations(settings.questdb)
        try:
            await asyncio.to_thread(migrate, hot, migrations("questdb"))
        finally:
            hot.close()
    if "clickhouse" in stores:
        cold = ClickHouseMigrations(settings.clickhouse)
        try:
            await asyncio.to_thread(migrate, cold, migrations("clickhouse"))
        finally:
            cold.close()


def role_part(
    role: str, settings: Settings, environment: Mapping[str, str] | None = None, name: str = ""
) -> Part:
    """A role as a part, ready when its heartbeat says so. `environment` is added to that of its process.

    `name` is the name of the part  [default: the role's].
    """
    from ops.stack.part import Part

    heard = {"sim": "feed.sim"}.get(role, role)
    needs = ("nats",) if heard.startswith("feed") or role == "timescale" else ("nats", "questdb")

    async def answers() -> None:
        from tapehouse.stream.health import heartbeat

        # A bar maker may read stored rows, a mirror wait for a lease or a failing day, and TimescaleDB be away, for
        # longer than `start_within`: that must not restart them.
        await heartbeat(settings, heard, ready=role not in ("barmaker", "mirror", "timescale"))

    return Part(
        name=name or role,
        command=(sys.executable, "-m", "ops", "run", role, "--home", str(settings.home)),
        answers=answers,
        health=f"health.{heard}" + ("" if "." in heard else ".>"),
        environment=environment or {},
        needs=_NEEDS.get(role, needs),
        stop_within=5,
    )


def feed_part(
    venue: str, symbols: str, settings: Settings, environment: Mapping[str, str], name: str = ""
) -> Part:
    """The feed of a live venue as a part, ready at its first heartbeat.

    The heartbeat may report that the venue cannot be reached: a restart would not help.
    """
    from dataclasses import replace

    from tapehouse.stream.bus import word
    from tapehouse.stream.health import heartbeat

    async def answers() -> None:
        await heartbeat(settings, f"feed.{word(venue)}", ready=False)

    name = name or f"feed-{word(venue).lower().replace('=', '-')}"
    part = role_part(f"feed:{venue}:{symbols}", settings, environment, name)
    return replace(part, answers=answers, health=f"health.feed.{word(venue)}")
