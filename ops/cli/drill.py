"""tapehouse drill: injects faults into a temporary platform under load, and checks every row."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.terminal import console, echo

if TYPE_CHECKING:
    from ops.drill.plan import PlannedFault
    from ops.drill.platform import DrillPlatform
    from ops.drill.progress import DrillProgress
    from ops.drill.report import DrillReport
    from ops.stack.runner import Stack

_FAULTS = ("kill", "pause", "cut")
_PARTS = ("nats", "questdb", "writer", "feed", "sim", "live")
_ROLES = ("writer", "feed", "sim", "live")
_FAULTS_EACH = 30
"""Faults on one platform; then a new one is started, in a new home."""
_FEWER = 4
"""There are this many times fewer pauses and cuts than kills, since they take longer."""
_ANY_FREE_PORT = {"nats": 0, "questdb-http": 0, "questdb-pg": 0, "clickhouse": 0, "gateway": 0}
_PIPED_WIDTH = 160
_SETTINGS = """[writer]
# Small commits, so that a fault often hits one. The margin is for losses of power, which a drill does not cause:
# short, so that restarts replay little.
commit_bytes = 300000
replay_margin_s = 60

[simulator]
rate = 5000
# Each row of its trades is counted, and of no other kind.
quotes_rate = 0
depth_rate = 0
symbols = 50
late = 0.01
duplicate = 0.01
"""


@click.command()
@click.option("--seed", default=1, show_default=True, help="Random seed of fault times and generated rows.")
@click.option(
    "--moments",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Number of kills of each part; a quarter as many pauses and cuts.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice([*_FAULTS, "all"]),
    help="Fault to inject; repeatable  [default: all]",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice([*_PARTS, "all"]),
    help="Part to inject faults into: feed is `ingest` of a file, sim the simulated venue, live the feed of a "
    "replayed venue; repeatable  [default: all]",
)
@click.option(
    "--rows",
    default=200_000,
    show_default=True,
    type=click.IntRange(10_000),
    help="Rows of each generated file.",
)
@click.option("--together", is_flag=True, help="Inject many faults in one run, where they may overlap.")
@click.option(
    "--json",
    "as_json",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results to this file as JSON.",
)
def command(
    seed: int,
    moments: int,
    faults: tuple[str, ...],
    parts: tuple[str, ...],
    rows: int,
    together: bool,
    as_json: Path | None,
) -> None:
    """Kill, pause and disconnect parts of a platform under load, and check that no row is lost or duplicated.

    The drill starts a platform in a temporary home and touches no other. The seed determines when each fault is
    injected, such as after 37 % of the rows. Then exactly the source's rows must be stored, and the bars of 1m and 1d
    must equal those rebuilt from the stored trades. Exit status 1 if a row is lost or duplicated, or a bar differs.
    """
    import shutil
    import tempfile

    import uvloop

    from ops.drill.plan import plan_faults, plan_mixed_faults
    from ops.drill.report import DrillReport
    from tapehouse import log

    if not faults or "all" in faults:
        faults = _FAULTS
    if not parts or "all" in parts:
        parts = _PARTS
    if together:
        chosen = plan_mixed_faults(seed, faults, parts, moments)
    else:
        few = -(-moments // _FEWER)
        chosen = [
            moment
            for name in faults
            for place in parts
            for moment in plan_faults(seed, name, place, moments if name == "kill" else few)
        ]
    log.configure(quiet=True)
    folder = Path(tempfile.mkdtemp(prefix="tapehouse-drill-"))
    _detach(folder)
    report = DrillReport()
    try:
        uvloop.run(_drill(folder, chosen, together, rows, report))
    finally:
        shown = console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
        for table in report.tables():
            shown.print(table)
        if as_json:
            as_json.write_text(report.as_json())
        if report.good:
            shutil.rmtree(folder)
        else:
            echo(f"homes and logs of the failed drill: {folder}", err=True)
    sys.exit(0 if report.good else 1)


def _detach(folder: Path) -> None:
    """Remove the user's settings from the environment, so that no other platform can be reached."""
    config = folder / "tapehouse.toml"
    config.write_text(_SETTINGS)
    for name in [name for name in os.environ if name.upper().startswith("TAPEHOUSE_")]:
        if name not in ("TAPEHOUSE_QUESTDB_JAR", "TAPEHOUSE_QUESTDB_JAVA_OPTIONS"):
            del os.environ[name]
    os.environ["TAPEHOUSE_CONFIG"] = str(config)


async def _drill(
    folder: Path, moments: list[PlannedFault], together: bool, rows: int, report: DrillReport
) -> None:
    """Inject all planned faults. Raises Abort if a signal stopped that."""
    from ops.stack.signals import StopSignals

    stacks: list[Stack] = []

    def kill() -> None:
        for stack in stacks:
            stack.kill()

    signals = StopSignals(lambda line: echo(line, err=True), kill)
    await signals.run(_drill_all(folder, moments, together, rows, report, stacks))
    if signals.asked:
        raise click.Abort


async def _drill_all(
    folder: Path,
    moments: list[PlannedFault],
    together: bool,
    rows: int,
    report: DrillReport,
    stacks: list[Stack],
) -> None:
    """Inject all planned faults, on as many platforms as needed; each is added to `stacks`."""
    from itertools import count

    from ops.drill.progress import DrillProgress
    from ops.drill.report import UnrecoveredFault
    from tapehouse.errors import TapehouseError

    with DrillProgress(len(moments)) as progress:
        for home in count(1):
            left = moments[report.done :]
            if not left:
                return
            several = left if together else _first_alike(left)
            try:
                async with _start_platform(folder / f"home{home}", several, progress, stacks) as platform:
                    await _inject_all(platform, several, together, rows, report, progress)
            except TapehouseError as reason:
                report.broken += [
                    UnrecoveredFault(moment, str(reason)) for moment in (several if together else several[:1])
                ]
                progress.broke(str(reason))


def _first_alike(moments: list[PlannedFault]) -> list[PlannedFault]:
    """The first faults that fit one platform: with its proxies if they are cuts, without if not."""
    first = moments[:_FAULTS_EACH]
    cuts = first[0].fault == "cut"
    same = [(moment.fault == "cut") == cuts for moment in first]
    return first[: same.index(False)] if False in same else first


@asynccontextmanager
async def _start_platform(
    home: Path, moments: list[PlannedFault], progress: DrillProgress, stacks: list[Stack]
) -> AsyncIterator[DrillPlatform]:
    """A temporary platform; its roles connect through proxies if connections will be cut."""
    from ops.drill.platform import DrillPlatform
    from ops.drill.role_proxies import RoleProxies
    from ops.drill.stream_observer import StreamObserver
    from ops.stack.home import Home
    from ops.stack.phases import role_part, start_servers
    from ops.stack.runner import Stack
    from tapehouse.settings import load
    from tapehouse.stream.bus import Bus

    progress.say("starting a platform")
    cuts = any(moment.fault == "cut" for moment in moments)
    # Each kill counts as the first: otherwise restarts would be delayed more and more, and then given up.
    stacks.append(Stack(Home(home), steady_s=0))
    async with stacks[-1] as stack:
        await start_servers(stack, home, _ANY_FREE_PORT, ("questdb",))
        settings = load(home)
        async with (
            RoleProxies(settings, _ROLES if cuts else ()) as proxies,
            Bus.opened(settings, "admin") as bus,
        ):
            observer = StreamObserver()
            await observer.listen(bus)
            for role in ("writer", "sim"):
                stack.add(role_part(role, settings, proxies.environment(role)))
            await stack.start("writer")
            yield DrillPlatform(stack, settings, bus, proxies, observer)
            progress.say("stopping the platform")


async def _inject_all(
    platform: DrillPlatform,
    moments: list[PlannedFault],
    together: bool,
    rows: int,
    report: DrillReport,
    progress: DrillProgress,
) -> None:
    """Inject the faults on one platform. Raises StackError if it gives a part up."""
    import asyncio

    from ops.drill.run import Drill
    from ops.drill.sources import make_source

    async def inject() -> None:
        drill = Drill(platform, make_source, rows, progress.say)
        if together:
            report.together = await drill.together(moments)
            return
        for moment in moments:
            progress.began(moment)
            outcome = await drill.one(moment)
            report.alone.append(outcome)
            progress.ended(outcome)
            if not outcome.verdict.good:
                # Later faults would report the same rows again: they get a new platform.
                return

    working = asyncio.create_task(inject())
    failing = asyncio.create_task(platform.stack.failure())
    try:
        await asyncio.wait((working, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise failing.result()
        working.result()
    finally:
        for task in (working, failing):
            task.cancel()
        await asyncio.gather(working, failing, return_exceptions=True)
