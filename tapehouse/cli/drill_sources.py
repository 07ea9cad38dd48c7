"""What brings rows in during a drill: a file by `tapehouse ingest`, and the simulated venue as a role.

The seam is tapehouse.drill.source.Source.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys

import polars as pl

from ingest.feeds.simulator import VENUE, Simulator
from ingest.feeds.simulator_file import load
from ingest.simfeed import CHECKPOINT, TIMELINE, ahead
from tapehouse.batch import Strings
from tapehouse.bus import Bus
from tapehouse.cli.drill_live import LiveSource
from tapehouse.clock import DAY
from tapehouse.drill import ticks
from tapehouse.drill.source import Expected, Source
from tapehouse.drill.stand import StackVictim, Stand
from tapehouse.errors import TapehouseError
from tapehouse.model import TRADES
from tapehouse.tabular import TIME

_FIRST_DAY = 18_262 * DAY
_DAYS_EACH = 7
_BY_HAND = 8
_SIM_SHARE = 10
_LIVE_SHARE = 8
_PACE = 25_000
"""Rows a second of a file. At full speed it goes in by bursts, and moments between those do not exist; what
an outage has held up comes at full speed."""
_numbers = itertools.count()


def make(stand: Stand, load_name: str, seed: int, rows: int) -> Source:
    """A new source of rows on a stand."""
    if load_name == "sim":
        return SimSource(stand, rows // _SIM_SHARE)
    if load_name == "live":
        return LiveSource(stand, seed, rows // _LIVE_SHARE)
    return FileSource(stand, seed, rows)


class FileSource:
    """A file made up from a seed, brought in by `tapehouse ingest`, which is started again when it is killed."""

    endless = False

    def __init__(self, stand: Stand, seed: int, rows: int) -> None:
        number = next(_numbers)
        self._stand = stand
        self.venue = f"DRILL{number}"
        self.rows = rows
        self.notes: list[str] = []
        self._ticks = ticks.made_up(seed, rows, _FIRST_DAY + number * _DAYS_EACH * DAY)
        self._file = stand.settings.home.parent / f"{self.venue}.parquet"
        self._log = self._file.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._ingesting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write the file and start the first run."""
        await asyncio.to_thread(ticks.write, self._ticks, self._file)
        self._ingesting = asyncio.create_task(self._ingest())
        await self.pid()

    async def pid(self) -> int:
        """The ingest that runs."""
        await self.replaced(0)
        assert self._process
        return self._process.pid

    async def replaced(self, pid: int) -> None:
        """Return when another ingest than `pid` runs, or none is needed any more."""
        while not (self._process and self._process.returncode is None and self._process.pid != pid):
            assert self._ingesting
            if self._ingesting.done():
                return
            self._started.clear()
            waiting = asyncio.ensure_future(self._started.wait())
            await asyncio.wait((waiting, self._ingesting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def ended(self) -> None:
        """Return when a run has brought all in."""
        assert self._ingesting
        await asyncio.shield(self._ingesting)

    async def finish(self) -> None:
        """The same."""
        await self.ended()

    def expected(self) -> Expected:
        """The file's rows."""
        rows = ticks.stored_as(self._ticks, self.venue)
        return Expected(rows, rows.clear())

    async def close(self) -> None:
        """Kill the ingest where one runs; the file goes."""
        if self._ingesting:
            self._ingesting.cancel()
            await asyncio.gather(self._ingesting, return_exceptions=True)
        self._file.unlink(missing_ok=True)

    async def _ingest(self) -> None:
        """Run until one run brings all in, as a user would: again after a kill, again after an error."""
        command = (
            *(sys.executable, "-m", "tapehouse", "ingest", str(self._file), "--venue", self.venue),
            *("--speed", f"{ticks.speed(self.rows, _PACE)}x", "--home", str(self._stand.settings.home)),
        )
        environment = os.environ | self._stand.links.environment("feed")
        for _ in range(_BY_HAND):
            with self._log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            self._process = process
            self._started.set()
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
            if status == 0:
                return
            if status != -signal.SIGKILL:
                self.notes.append(f"ingest ended with status {status}, started again: {self._last_words()}")
        raise TapehouseError(
            f"drill: {self.venue}: {_BY_HAND} runs did not bring the file in; see {self._log}"
        )

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if "error" in line]
        return lines[-1] if lines else "no word"


class SimSource(StackVictim):
    """The simulated venue as a role; its rows are those of all its runs on the stand."""

    endless = True

    def __init__(self, stand: Stand, rows: int) -> None:
        super().__init__(stand, "sim")
        self._stand = stand
        self.venue = VENUE
        self.rows = rows
        self.notes: list[str] = []
        self._before = 0
        self._checkpoint = 0

    async def start(self) -> None:
        """Start the role."""
        await self._stand.stack.start("sim")
        self._before = self._stand.tap.published[VENUE]

    async def ended(self) -> None:
        """Never."""
        await asyncio.get_running_loop().create_future()

    async def finish(self) -> None:
        """Let it publish what a run has, then end it gracefully."""
        tap = self._stand.tap
        await tap.until(lambda: tap.published[VENUE] - self._before >= self.rows)
        await self.close()
        async with Bus.opened(self._stand.settings, "admin") as bus:
            self._checkpoint = await (await bus.state()).get(CHECKPOINT) or 0

    def expected(self) -> Expected:
        """All ticks below the checkpoint; those behind it, as far as a run may come, may be there."""
        settings = self._stand.settings
        timeline = load(settings.home / TIMELINE)
        assert timeline
        simulator = Simulator(timeline)
        return Expected(
            _rows(simulator, 0, self._checkpoint),
            _rows(simulator, self._checkpoint, self._checkpoint + ahead(settings.simulator.rate)),
        )

    async def close(self) -> None:
        """End the role gracefully."""
        await self._stand.stack.stop("sim")


def _rows(simulator: Simulator, start: int, stop: int) -> pl.DataFrame:
    """The ticks of positions start to stop, those that come twice once."""
    batch = simulator.batch(start, stop)
    columns = {}
    for column in TRADES.columns:
        if column.name == "venue":
            continue
        data = batch.columns[column.name]
        if isinstance(data, Strings):
            columns[column.name] = pl.Series(data.to_list(), dtype=pl.String)
        else:
            columns[column.name] = pl.Series(batch.array(column.name))
    return (
        pl.DataFrame(columns)
        .with_columns(pl.col("ts_event", "ts_recv").cast(TIME), venue=pl.lit(batch.venue))
        .select(TRADES.names)
        .unique(TRADES.key, keep="last", maintain_order=True)
    )
