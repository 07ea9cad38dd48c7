"""The loads of a drill: `tapehouse ingest` of a file, and the simulated venue as a role.

Their interface is ops.drill.source.LoadSource.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys

import polars as pl

from ingest.simulator.feed import CHECKPOINT, TIMELINE, max_unsaved_positions
from ingest.simulator.timeline_file import load
from ingest.simulator.trades import VENUE, Simulator
from ops.drill import ticks
from ops.drill.live_venue import LiveSource
from ops.drill.platform import DrillPlatform, PartTarget
from ops.drill.source import ExpectedRows, LoadSource
from tapehouse.batch import Strings
from tapehouse.clock import DAY
from tapehouse.errors import TapehouseError
from tapehouse.model import TRADES
from tapehouse.stream.bus import Bus
from tapehouse.tabular import TIME

_FIRST_DAY = 18_262 * DAY
_DAYS_EACH = 7
_MAX_RUNS = 8
_SIM_SHARE = 10
_LIVE_SHARE = 8
_ROWS_S = 25_000
"""Rows a second of a file. At full speed rows come in bursts, and faults between bursts would not be possible."""
_numbers = itertools.count()


def make_source(platform: DrillPlatform, load_name: str, seed: int, rows: int) -> LoadSource:
    """A new source for the load of this name."""
    if load_name == "sim":
        return SimSource(platform, rows // _SIM_SHARE)
    if load_name == "live":
        return LiveSource(platform, seed, rows // _LIVE_SHARE)
    return FileSource(platform, seed, rows)


class FileSource:
    """`tapehouse ingest` of a generated file; it is started again after a kill or an error."""

    endless = False

    def __init__(self, platform: DrillPlatform, seed: int, rows: int) -> None:
        number = next(_numbers)
        self._platform = platform
        self.venue = f"DRILL{number}"
        self.rows = rows
        self.notes: list[str] = []
        self._ticks = ticks.generate_ticks(seed, rows, _FIRST_DAY + number * _DAYS_EACH * DAY)
        self._file = platform.settings.home.parent / f"{self.venue}.parquet"
        self._log = self._file.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._ingesting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write the file and start the first ingest."""
        await asyncio.to_thread(ticks.write_parquet, self._ticks, self._file)
        self._ingesting = asyncio.create_task(self._ingest())
        await self.pid()

    async def pid(self) -> int:
        """The process id of the running ingest."""
        await self.replaced(0)
        assert self._process
        return self._process.pid

    async def replaced(self, pid: int) -> None:
        """Return when an ingest other than `pid` runs, or the file is done."""
        while not (self._process and self._process.returncode is None and self._process.pid != pid):
            assert self._ingesting
            if self._ingesting.done():
                return
            self._started.clear()
            waiting = asyncio.ensure_future(self._started.wait())
            await asyncio.wait((waiting, self._ingesting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def ended(self) -> None:
        """Return when an ingest has published the whole file."""
        assert self._ingesting
        await asyncio.shield(self._ingesting)

    async def finish(self) -> None:
        """The same."""
        await self.ended()

    def expected(self) -> ExpectedRows:
        """The rows of the file."""
        rows = ticks.expected_rows(self._ticks, self.venue)
        return ExpectedRows(rows, rows.clear())

    async def close(self) -> None:
        """Kill the ingest if it runs, and remove the file."""
        if self._ingesting:
            self._ingesting.cancel()
            await asyncio.gather(self._ingesting, return_exceptions=True)
        self._file.unlink(missing_ok=True)

    async def _ingest(self) -> None:
        """Run `ingest` until it succeeds, as a user would: again after a kill, again after an error."""
        command = (
            *(sys.executable, "-m", "ops", "ingest", str(self._file), "--venue", self.venue),
            *("--speed", f"{ticks.speed(self.rows, _ROWS_S)}x", "--home", str(self._platform.settings.home)),
        )
        environment = os.environ | self._platform.proxies.environment("feed")
        for _ in range(_MAX_RUNS):
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
                self.notes.append(f"ingest ended with status {status}, started again: {self._last_error()}")
        raise TapehouseError(f"drill: {self.venue}: ingest failed {_MAX_RUNS} times; see {self._log}")

    def _last_error(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if "error" in line]
        return lines[-1] if lines else "no error in its log"


class SimSource(PartTarget):
    """The simulated venue as a role; its rows are those of all its runs on the platform."""

    endless = True

    def __init__(self, platform: DrillPlatform, rows: int) -> None:
        super().__init__(platform, "sim")
        self._platform = platform
        self.venue = VENUE
        self.rows = rows
        self.notes: list[str] = []
        self._before = 0
        self._checkpoint = 0

    async def start(self) -> None:
        """Start the role."""
        await self._platform.stack.start("sim")
        self._before = self._platform.observer.published[VENUE]

    async def ended(self) -> None:
        """Never."""
        await asyncio.get_running_loop().create_future()

    async def finish(self) -> None:
        """Wait until it has published the rows of a run, then end it gracefully."""
        observer = self._platform.observer
        await observer.until(lambda: observer.published[VENUE] - self._before >= self.rows)
        await self.close()
        async with Bus.opened(self._platform.settings, "admin") as bus:
            self._checkpoint = await (await bus.shared_state()).get(CHECKPOINT) or 0

    def expected(self) -> ExpectedRows:
        """All ticks before the checkpoint must be stored; unsaved positions after it may be."""
        settings = self._platform.settings
        timeline = load(settings.home / TIMELINE)
        assert timeline
        simulator = Simulator(timeline)
        return ExpectedRows(
            _rows(simulator, 0, self._checkpoint),
            _rows(
                simulator, self._checkpoint, self._checkpoint + max_unsaved_positions(settings.simulator.rate)
            ),
        )

    async def close(self) -> None:
        """End the role gracefully."""
        await self._platform.stack.stop("sim")


def _rows(simulator: Simulator, start: int, stop: int) -> pl.DataFrame:
    """The ticks of positions [start, stop), without duplicates."""
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
