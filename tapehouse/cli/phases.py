"""The phases in which a platform is started on one machine: servers, streams and tables, roles."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapehouse.settings import Settings
    from tapehouse.stack.part import Part
    from tapehouse.stack.runner import Stack


_NEEDS = dict.fromkeys(("mirror", "gateway"), ("nats", "questdb", "clickhouse"))


async def start_servers(
    stack: Stack, home: Path, asked: Mapping[str, int], stores: tuple[str, ...] = ("questdb", "clickhouse")
) -> Mapping[str, int]:
    """Start NATS and the stores, with the streams and tables that roles need; returns the ports, by name.

    `asked` are ports that are insisted on, by the names that `Ports` knows. Raises StackError where one is
    taken or a part does not start.
    """
    from tapehouse.settings import load
    from tapehouse.stack.ports import Ports
    from tapehouse.stack.servers import servers

    ports = Ports(stack.home, asked)
    for part in servers(stack.home, ports):
        stack.add(_vouched(part, stack, home) if part.name == "questdb" else part)
    await stack.start("nats")
    await _provision(load(home))
    await stack.start(*stores)
    await _migrate(load(home), stores)
    return ports.chosen


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


async def _migrate(settings: Settings, stores: tuple[str, ...]) -> None:
    import asyncio

    from tapehouse.coldschema import ClickLedger
    from tapehouse.migrations import QuestLedger, migrate, migrations

    if "questdb" in stores:
        hot = QuestLedger(settings.questdb)
        try:
            await asyncio.to_thread(migrate, hot, migrations("questdb"))
        finally:
            hot.close()
    if "clickhouse" in stores:
        cold = ClickLedger(settings.clickhouse)
        try:
            await asyncio.to_thread(migrate, cold, migrations("clickhouse"))
        finally:
            cold.close()


def role_part(
    role: str, settings: Settings, environment: Mapping[str, str] | None = None, name: str = ""
) -> Part:
    """A role as a part: ready at its next heartbeat that says so. `environment` is its process's alone.

    `name` is the part's, where the role's is none.
    """
    from tapehouse.stack.part import Part

    heard = {"sim": "feed.sim"}.get(role, role)

    async def answers() -> None:
        from tapehouse.health import heartbeat

        # A bar maker waits while it reads what is stored, a mirror for another's lease or a day in trouble:
        # that may take longer than a start, and is no reason for another.
        await heartbeat(settings, heard, ready=role not in ("barmaker", "mirror"))

    return Part(
        name=name or role,
        command=(sys.executable, "-m", "tapehouse", "run", role, "--home", str(settings.home)),
        answers=answers,
        address=f"health.{heard}" + ("" if "." in heard else ".>"),
        environment=environment or {},
        needs=_NEEDS.get(role, ("nats",) if heard.startswith("feed") else ("nats", "questdb")),
        stop_within=5,
    )


def feed_part(
    venue: str, symbols: str, settings: Settings, environment: Mapping[str, str], name: str = ""
) -> Part:
    """The feed of a live venue as a part, ready with its first heartbeat.

    What it says there may be that it waits: that a venue cannot be reached is no reason to start it anew.
    """
    from dataclasses import replace

    from tapehouse.bus import word
    from tapehouse.health import heartbeat

    async def answers() -> None:
        await heartbeat(settings, f"feed.{word(venue)}", ready=False)

    name = name or f"feed-{word(venue).lower().replace('=', '-')}"
    part = role_part(f"feed:{venue}:{symbols}", settings, environment, name)
    return replace(part, answers=answers, address=f"health.feed.{word(venue)}")
