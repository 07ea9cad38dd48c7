"""tapehouse drill: break a platform of its own under load, and prove that nothing is lost or doubled."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tapehouse.drill.plan import Moment
    from tapehouse.drill.progress import Progress
    from tapehouse.drill.report import Report
    from tapehouse.drill.stand import Stand

_FAULTS = ("kill", "pause", "cut")
_PARTS = ("nats", "questdb", "writer", "feed", "sim", "live")
_ROLES = ("writer", "feed", "sim", "live")
_ROUNDS_EACH = 30
"""On one platform; then another is started, in a new home."""
_FEWER = 4
"""Pauses and cuts, which last, are so many times fewer than kills."""
_ANY_FREE_PORT = {"nats": 0, "questdb-http": 0, "questdb-pg": 0, "clickhouse": 0, "gateway": 0}
_PIPED_WIDTH = 160
_SETTINGS = """[writer]
# Small: a fault finds a commit under way. Back by less than a drill's length, so that what is replayed stays
# little; a killed process leaves what it has written to the system, a margin is for losses of power.
commit_bytes = 300000
replay_margin_s = 60

[simulator]
rate = 5000
symbols = 50
late = 0.01
duplicate = 0.01
"""


@click.command()
@click.option(
    "--seed", default=1, show_default=True, help="Of the moments and the rows; another, other ones."
)
@click.option(
    "--moments",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Kills of each part; pauses and cuts are a quarter as many.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice([*_FAULTS, "all"]),
    help="May be given several times  [default: all]",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice([*_PARTS, "all"]),
    help="feed is the ingest of a file, sim the simulated venue, live the feed of a replayed one. May be given "
    "several times  [default: all]",
)
@click.option("--rows", default=200_000, show_default=True, type=click.IntRange(10_000), help="In each file.")
@click.option("--together", is_flag=True, help="Many faults in one run, where they may overlap.")
@click.option(
    "--json", "as_json", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
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
    """Kill, pause and cut off parts of a platform under load, and prove that no row is lost or doubled.

    The platform is started for it, in a temporary home, and no other is touched. A fault strikes when a share
    of the load's rows is published that the seed gives; afterwards exactly the source's rows must be stored,
    and the bars of 1m and 1d must equal a rebuild. Exit status 1 when anything is lost, doubled or different.
    """
    import asyncio
    import shutil
    import tempfile

    import uvloop
    from rich.console import Console

    from tapehouse import log
    from tapehouse.drill.plan import mixed, series
    from tapehouse.drill.report import Report

    if not faults or "all" in faults:
        faults = _FAULTS
    if not parts or "all" in parts:
        parts = _PARTS
    if together:
        chosen = mixed(seed, faults, parts, moments)
    else:
        few = -(-moments // _FEWER)
        chosen = [
            moment
            for name in faults
            for place in parts
            for moment in series(seed, name, place, moments if name == "kill" else few)
        ]
    log.configure(quiet=True)
    folder = Path(tempfile.mkdtemp(prefix="tapehouse-drill-"))
    _detach(folder)
    report = Report()
    try:
        uvloop.run(_drill(folder, chosen, together, rows, report))
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        console = Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
        for table in report.tables():
            console.print(table)
        if as_json:
            as_json.write_text(report.as_json())
        if report.good:
            shutil.rmtree(folder)
        else:
            click.echo(f"its homes, with their logs, are kept in {folder}", err=True)
    sys.exit(0 if report.good else 1)


def _detach(folder: Path) -> None:
    """Forget the user's settings: none of them may lead to a platform that is not the drill's."""
    config = folder / "tapehouse.toml"
    config.write_text(_SETTINGS)
    for name in [name for name in os.environ if name.upper().startswith("TAPEHOUSE_")]:
        if name != "TAPEHOUSE_QUESTDB_JAR":
            del os.environ[name]
    os.environ["TAPEHOUSE_CONFIG"] = str(config)


async def _drill(folder: Path, moments: list[Moment], together: bool, rows: int, report: Report) -> None:
    """Bring about all moments, on as many platforms as that takes."""
    import asyncio
    import signal
    from itertools import count

    from tapehouse.drill.progress import Progress
    from tapehouse.drill.report import Broken
    from tapehouse.errors import TapehouseError

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with Progress(len(moments)) as progress:
        for home in count(1):
            left = moments[report.done :]
            if not left:
                return
            several = left if together else _like_first(left)
            try:
                async with _stand(folder / f"home{home}", several, progress) as stand:
                    await _bring_about(stand, several, together, rows, report, progress)
            except TapehouseError as reason:
                report.broken += [
                    Broken(moment, str(reason)) for moment in (several if together else several[:1])
                ]
                progress.broke(str(reason))


def _like_first(moments: list[Moment]) -> list[Moment]:
    """The first moments, as many as one platform is for: those that need its connections cut, or those not."""
    first = moments[:_ROUNDS_EACH]
    cuts = first[0].fault == "cut"
    same = [(moment.fault == "cut") == cuts for moment in first]
    return first[: same.index(False)] if False in same else first


@asynccontextmanager
async def _stand(home: Path, moments: list[Moment], progress: Progress) -> AsyncIterator[Stand]:
    """A platform of the drill's own, its roles connected by proxies where cuts are to come."""
    from tapehouse.bus import Bus
    from tapehouse.cli.phases import role_part, start_servers
    from tapehouse.drill.links import Links
    from tapehouse.drill.stand import Stand
    from tapehouse.drill.tap import Tap
    from tapehouse.settings import load
    from tapehouse.stack.home import Home
    from tapehouse.stack.runner import Stack

    progress.say("starting a platform")
    cuts = any(moment.fault == "cut" for moment in moments)
    # Every kill is the first for its keeper, which would wait longer each time and then give the part up.
    async with Stack(Home(home), steady_s=0) as stack:
        await start_servers(stack, home, _ANY_FREE_PORT, ("questdb",))
        settings = load(home)
        async with Links(settings, _ROLES if cuts else ()) as links, Bus.opened(settings, "admin") as bus:
            tap = Tap()
            await tap.listen(bus)
            for role in ("writer", "sim"):
                stack.add(role_part(role, settings, links.environment(role)))
            await stack.start("writer")
            yield Stand(stack, settings, bus, links, tap)
            progress.say("stopping the platform")


async def _bring_about(
    stand: Stand, moments: list[Moment], together: bool, rows: int, report: Report, progress: Progress
) -> None:
    """The rounds of one platform; StackError where it gives a part up."""
    import asyncio

    from tapehouse.cli.drill_sources import make
    from tapehouse.drill.run import Drill

    async def rounds() -> None:
        drill = Drill(stand, make, rows, progress.say)
        if together:
            report.together = await drill.together(moments)
            return
        for moment in moments:
            progress.began(moment)
            outcome = await drill.one(moment)
            report.alone.append(outcome)
            progress.ended(outcome)
            if not outcome.verdict.good:
                # What is wrong would be told again of the moments to come: they get a new platform.
                return

    working = asyncio.create_task(rounds())
    failing = asyncio.create_task(stand.stack.failure())
    try:
        await asyncio.wait((working, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise failing.result()
        working.result()
    finally:
        for task in (working, failing):
            task.cancel()
        await asyncio.gather(working, failing, return_exceptions=True)
