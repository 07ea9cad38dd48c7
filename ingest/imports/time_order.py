"""Puts the rows of a source without ids in order of time, in bounded memory.

Rows without ids are numbered by their time and by their place among the rows of their symbol that share it, so they
must come in order of time. A source in which each symbol's rows are in order is read as it is. One whose times never
rise is reversed, ties too: its newest row comes first. Any other is sorted; rows of one time keep their order.

Sorting writes sorted runs to temporary files and merges them: its memory does not grow with the source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.batch import Batch, Strings
from tapehouse.stream.wire import pack, unpack

_RUN_ROWS = 500_000
_BLOCK_ROWS = 16_384
_MERGED_AT_ONCE = 64
_LENGTH = struct.Struct("<I")
_NONE = np.iinfo(np.int64).min

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class TimeOrder:
    """How the times of a source run, each symbol's by themselves."""

    late: int
    """Rows whose time is before that of an earlier row of their symbol."""
    falling: bool
    """Whether there are such rows and no time rises: the newest row comes first."""


class TimeOrderScan:
    """Finds the order of a source's times, from all of them in the source's order; keeps two times a symbol."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {None: 0}
        self._last = np.full(1, _NONE)
        self._highest = np.full(1, _NONE)
        self._late = 0
        self._rises = False

    @property
    def order(self) -> TimeOrder:
        """The order of the rows so far."""
        return TimeOrder(self._late, self._late > 0 and not self._rises)

    def add(self, ts: Longs, symbols: Strings) -> None:
        """The next rows: their ts_event, ns UTC, int64 [rows], and their symbols."""
        if not len(ts):
            return
        order, codes, starts = self._by_symbol(symbols)
        times = ts[order]
        first = np.zeros(len(times), np.bool_)
        first[starts] = True
        before = np.concatenate((times[:1], times[:-1]))
        before[first] = self._last[codes[first]]
        self._rises |= bool(((times > before) & (before != _NONE)).any())
        if ((times < before) | (times < self._highest[codes])).any():
            running = pl.DataFrame({"code": codes, "ts": times}).select(pl.col("ts").cum_max().over("code"))
            self._late += int((times < np.maximum(running["ts"].to_numpy(), self._highest[codes])).sum())
        ends = np.append(starts[1:], len(times)) - 1
        self._last[codes[starts]] = times[ends]
        self._highest[codes[starts]] = np.maximum(
            self._highest[codes[starts]], np.maximum.reduceat(times, starts)
        )

    def _by_symbol(self, symbols: Strings) -> tuple[Longs, Longs, Longs]:
        """(positions of the rows by symbol, the number of each one's symbol, where each symbol starts)."""
        lookup = [self._numbers.setdefault(name, len(self._numbers)) for name in symbols.values]
        grown = len(self._numbers) - len(self._last)
        if grown:
            self._last = np.concatenate((self._last, np.full(grown, _NONE)))
            self._highest = np.concatenate((self._highest, np.full(grown, _NONE)))
        codes = np.array([*lookup, 0], np.int64)[symbols.codes]
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        return order, codes, np.flatnonzero(np.diff(codes, prepend=-1))


class TimeSorter:
    """Sorts the rows of batches by ts_event; those of one time keep their order, or are reversed where they fall."""

    def __init__(self, folder: Path, falling: bool) -> None:
        """`folder` takes temporary files of about the size of the rows; whoever made it removes it."""
        self._folder = folder
        self._falling = falling
        self._gathered: list[Batch] = []
        self._runs: list[Path] = []

    def add(self, batch: Batch) -> None:
        """The next rows of the source."""
        self._gathered.append(batch)
        if sum(part.rows for part in self._gathered) >= _RUN_ROWS:
            self._write_run()

    def merged(self) -> Iterator[Batch]:
        """All rows, sorted; call it once, after the last `add`."""
        if self._gathered:
            self._write_run()
        # Rows of one time come from the earlier run first.
        runs = self._runs[::-1] if self._falling else self._runs
        level = 0
        while len(runs) > _MERGED_AT_ONCE:
            level += 1
            groups = [runs[start : start + _MERGED_AT_ONCE] for start in range(0, len(runs), _MERGED_AT_ONCE)]
            runs = [
                _write(self._folder / f"{level}-{number}", _merged(group))
                for number, group in enumerate(groups)
            ]
        yield from _merged(runs)

    def _write_run(self) -> None:
        run = _sorted(self._gathered, self._falling)
        self._gathered = []
        self._runs.append(_write(self._folder / f"0-{len(self._runs)}", [run]))


def _sorted(batches: Sequence[Batch], falling: bool) -> Batch:
    rows = Batch.concat(batches)
    times = rows.array("ts_event")
    if falling:
        return rows.take(rows.rows - 1 - np.argsort(times[::-1], kind="stable"))
    return rows.take(np.argsort(times, kind="stable"))


def _write(path: Path, batches: Iterable[Batch]) -> Path:
    with path.open("wb") as file:
        for batch in batches:
            for start in range(0, batch.rows, _BLOCK_ROWS):
                block = pack(batch.slice(start, start + _BLOCK_ROWS))
                file.write(_LENGTH.pack(len(block)))
                file.write(block)
    return path


def _merged(runs: Sequence[Path]) -> Iterator[Batch]:
    """The rows of sorted runs by time; those of one time from the earlier run first. Removes the runs."""
    heads = [_Run(path) for path in runs]
    try:
        while left := [run for run in heads if run.head is not None]:
            # What the runs have before the least of the last times in memory comes before all that is unread.
            bound = min(run.last for run in left)
            parts = [part for run in left if (part := run.take_before(bound)).rows]
            if parts:
                yield _sorted(parts, falling=False)
                continue
            # Rows of one time may fill whole blocks: those of each run come one after the other.
            for run in left:
                yield from run.take_at(bound)
    finally:
        for run in heads:
            run.close()


class _Run:
    """A sorted run, of which one block is in memory; `head` is what is left of it, None at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("rb")
        self.head: Batch | None = None
        self._next()

    @property
    def last(self) -> int:
        """The time of the last row in memory."""
        assert self.head is not None
        return int(self.head.array("ts_event")[-1])

    def close(self) -> None:
        """Remove the run."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def take_before(self, bound: int) -> Batch:
        """The rows in memory with a time before `bound`, maybe none."""
        return self._take(bound, "left")

    def take_at(self, bound: int) -> Iterator[Batch]:
        """All rows with the time `bound`, which is that of the next one."""
        while self.head is not None and int(self.head.array("ts_event")[0]) == bound:
            yield self._take(bound, "right")

    def _take(self, bound: int, side: str) -> Batch:
        assert self.head is not None
        head = self.head
        stop = int(np.searchsorted(head.array("ts_event"), bound, side=side))  # type: ignore[call-overload]
        if stop == head.rows:
            self._next()
        else:
            self.head = head.slice(stop, head.rows)
        return head.slice(0, stop)

    def _next(self) -> None:
        length = self._file.read(_LENGTH.size)
        self.head = unpack(self._file.read(_LENGTH.unpack(length)[0])) if length else None
