"""The feed of one file: read, numbered, compared with what is stored, published, and begun again where it
was killed.

The checkpoint in the shared state is moved only behind the broker's acknowledgements, so a killed run
publishes at most what was under way a second time, and the tables' keys take the doubles.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog

from ingest.applied import until_written, wait_queryable
from ingest.collision import known, refuse_overwriting, refuse_start_inside, row_keys
from ingest.feeds.blocks import Position
from ingest.feeds.files import Piece
from ingest.intake import Intake
from ingest.numbering import BY_TIME, Numberings, by_time
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse import sharding
from tapehouse.batch import Batch
from tapehouse.bus import TICKS, Bus, State
from tapehouse.errors import ConnectError, SourceError
from tapehouse.model import Kind
from tapehouse.questdb import QuestReader
from tapehouse.settings import Settings

_CHECKPOINT_EVERY_S = 0.5
_PACE_NS = 10_000_000
_PATIENCE_S = 120
_ASK_AGAIN_S = 0.25
_T = TypeVar("_T")
_log = structlog.get_logger()


class Readable(Protocol):
    """What a source of rows is to this feed: an opened file or capture."""

    name: str
    """For people."""
    venue: str
    """Of every row."""
    identity: str
    """The same for a repeat of the same content read in the same way."""
    notes: tuple[str, ...]
    """What was guessed about it and must be said."""
    reader: dict[str, Any]
    """How to read a refused row of it again."""

    def numbering(self, kind: Kind) -> str:
        """What its seq is: `time` where it brings none, else the name of its ids."""

    def pieces(self, start: Position | None = None) -> Iterator[Piece]:
        """The rows behind `start`, in pieces that are the same each time."""


@dataclass
class Summary:
    """Rows of one source by what became of them."""

    accepted: int = 0
    """Published: they were not stored."""
    duplicate: int = 0
    """Stored already, and equal."""
    corrected: int = 0
    """Stored already under the source's own id with other values: published, and the last write wins."""
    quarantined: int = 0
    resumed: bool = False
    """Whether an earlier run had been cut off; its rows are counted too."""

    @property
    def rows(self) -> int:
        """All rows read."""
        return self.accepted + self.duplicate + self.corrected + self.quarantined


@dataclass
class _Progress:
    """What the checkpoint holds. `previous` and `began` are the numbering's: last seq, and seq before the
    source's first row where it continues what was stored."""

    position: Position | None = None
    previous: dict[str, int] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    done: bool = False


class FileFeed:
    """Brings one source in. `run` once."""

    def __init__(
        self,
        source: Readable,
        bus: Bus,
        settings: Settings,
        *,
        continuing: bool = False,
        speed: float | None = None,
        progress: Callable[[int, float], None] = lambda rows, fraction: None,
    ) -> None:
        """`continuing` takes up the stored seq where the source starts; `speed` is a multiple of the rows'
        own time, None for as fast as it goes; `progress` is told rows read and the fraction done."""
        self._source = source
        self._bus = bus
        self._settings = settings
        self._continuing = continuing
        self._speed = speed
        self._progress = progress
        self._hot = QuestReader(settings.questdb)
        self.summary = Summary()
        """What became of the rows so far."""
        self._seen: set[str] = set()
        self._corrected: set[tuple[object, ...]] = set()
        self._paced_from: tuple[int, float] | None = None
        self._numberings: dict[str, Numberings] = {}

    async def run(self) -> Summary:
        """Bring the source in; returns when its rows can be queried.

        Raises SourceError where it is damaged (the rows before are in), ConflictError and NumberingError
        where its rows do not fit what is stored, ConnectError where a part does not answer.
        """
        state = await self._bus.state()
        key = f"checkpoint.{self._source.identity}"
        saved = await state.get(key)
        done = _Progress(**saved) if saved else _Progress()
        self._repeat = saved is not None
        if done.done:
            done = _Progress(began=done.began)
        elif saved:
            self.summary = Summary(**done.counts, resumed=True)
        # What earlier runs published must be visible before rows are compared with it.
        last = (await self._bus.js.stream_info(TICKS)).state.last_seq
        await until_written(self._bus, state, last)
        kinds: set[str] = set()
        damage: SourceError | None = None
        try:
            async with Publisher(self._bus) as publisher:
                try:
                    await self._publish(publisher, state, key, done, kinds)
                except SourceError as reason:
                    damage = reason
                await publisher.drain()
                await until_written(self._bus, state, publisher.last_seq)
            await self._asked(wait_queryable, self._hot, kinds)
        finally:
            self._hot.close()
        if damage is not None:
            raise damage
        return self.summary

    async def _publish(
        self, publisher: Publisher, state: State, key: str, done: _Progress, kinds: set[str]
    ) -> None:
        quarantine = Quarantine(self._bus)
        intake = Intake(publisher, quarantine, await sharding.current(state))
        unsettled: deque[tuple[int, dict[str, Any]]] = deque()
        saved_at = time.monotonic()
        pieces = self._source.pieces(done.position)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            ticket = -1
            for batch in piece.batches:
                kinds.add(batch.kind.name)
                begun = self._checkpoint(done.position, done)
                fresh, corrected = await self._fresh(await self._numbered(batch, done, state))
                if not self._repeat:
                    # From here on a run of this source is a repeat of it, not a stranger to its own rows.
                    await state.put(key, {**begun, "began": done.began})
                    self._repeat = True
                before = intake.rows
                async for rows in self._paced(fresh):
                    ticket = max(ticket, await intake.put(rows, self._origin(batch.kind.name)))
                self.summary.corrected += corrected
                self.summary.accepted += intake.rows - before - corrected
            if piece.rejected:
                await quarantine.put(self._origin(self._source.reader.get("kind", "rows")), piece.rejected)
            self.summary.quarantined = done.counts.get("quarantined", 0) + quarantine.count
            unsettled.append((ticket, self._checkpoint(piece.position, done)))
            self._progress(piece.rows_read, piece.fraction)
            if time.monotonic() - saved_at >= _CHECKPOINT_EVERY_S:
                saved_at = time.monotonic()
                await _save_settled(state, key, unsettled, publisher.settled)
        await publisher.drain()
        await state.put(key, {**self._checkpoint(None, done), "done": True})

    async def _asked(self, question: Callable[..., _T], *words: Any) -> _T:
        """The answer to a question to QuestDB, asked again for as long as an outage may last."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await asyncio.to_thread(question, *words)
            except ConnectError as reason:
                if time.monotonic() > deadline:
                    raise
                _log.warning("questdb does not answer, waiting", reason=reason.message)
                await asyncio.sleep(_ASK_AGAIN_S)

    def _origin(self, kind: str) -> Origin:
        return Origin(kind, self._source.venue, self._source.name, self._source.reader)

    def _checkpoint(self, position: Position | None, done: _Progress) -> dict[str, Any]:
        counts = asdict(self.summary)
        del counts["resumed"]
        return {
            "position": position,
            "previous": dict(done.previous),
            "began": done.began,
            "counts": counts,
        }

    async def _numbered(self, batch: Batch, done: _Progress, state: State) -> Batch:
        """`batch` with its seq, after the record of numberings agreed."""
        numbering = self._source.numbering(batch.kind)
        if "symbol" in batch.columns:
            symbols = batch.strings("symbol").compact().values
            if batch.kind.name not in self._numberings:
                self._numberings[batch.kind.name] = Numberings(state, batch.kind, batch.venue, numbering)
            await self._numberings[batch.kind.name].hold(symbols)
        if numbering != BY_TIME:
            return batch
        fresh = [symbol for symbol in symbols if symbol not in self._seen and symbol not in done.previous]
        self._seen.update(symbols)
        if fresh and self._continuing and not self._repeat:
            found = await self._asked(self._stored_seqs, batch, fresh)
            done.began.update(found)
        done.previous.update({symbol: done.began[symbol] for symbol in fresh if symbol in done.began})
        numbered = by_time(batch, done.previous)
        if fresh and not self._repeat and not self._continuing:
            codes = [numbered.strings("symbol").values.index(symbol) for symbol in fresh]
            begins = numbered.take(np.isin(numbered.strings("symbol").codes, codes))
            await self._asked(refuse_start_inside, self._hot, begins)
        return numbered

    def _stored_seqs(self, batch: Batch, symbols: list[str]) -> dict[str, int]:
        """The last stored seq at or before each symbol's first row."""
        names, times = batch.strings("symbol"), batch.array("ts_event")
        found: dict[str, int] = {}
        for symbol in symbols:
            first = int(times[names.codes == names.values.index(symbol)][0])
            seq = self._hot.last_seq(batch.kind, batch.venue, symbol, first)
            if seq is not None:
                found[symbol] = seq
        return found

    async def _fresh(self, batch: Batch) -> tuple[Batch, int]:
        """The rows to publish (all but those stored and equal), and how many of them correct others."""
        found = await self._asked(known, self._hot, batch)
        if self._source.numbering(batch.kind) == BY_TIME:
            refuse_overwriting(batch, found)
        same = found.same
        if self._corrected:
            # What is stored equal to this row is not what will be: an earlier row of its key is on its way.
            same &= ~np.array([key in self._corrected for key in row_keys(batch)])
        corrected = found.stored & ~same
        self._corrected.update(row_keys(batch.take(corrected)))
        self.summary.duplicate += int(same.sum())
        return (batch.take(~same) if same.any() else batch), int(corrected.sum())

    async def _paced(self, batch: Batch) -> AsyncIterator[Batch]:
        """The rows as they fall due at the speed asked for, up to 10 ms of them at a time."""
        if self._speed is None or not batch.rows:
            yield batch
            return
        times = np.maximum.accumulate(batch.array("ts_event"))
        if self._paced_from is None:
            self._paced_from = (int(times[0]), time.monotonic())
        first_ts, began = self._paced_from
        start = 0
        while start < batch.rows:
            until = int(times[start]) + int(_PACE_NS * self._speed)
            stop = int(np.searchsorted(times, until))
            wait = began + (int(times[stop - 1]) - first_ts) / self._speed / 1e9 - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            yield batch.slice(start, stop)
            start = stop


async def _save_settled(
    state: State, key: str, unsettled: deque[tuple[int, dict[str, Any]]], settled: int
) -> None:
    """Save the latest checkpoint whose batches, and all before, are acknowledged."""
    latest = None
    while unsettled and unsettled[0][0] < settled:
        latest = unsettled.popleft()[1]
    if latest is not None:
        await state.put(key, latest)
