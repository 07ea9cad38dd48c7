"""How rows get their seq, and the record that gives each (kind, venue, symbol) one numbering.

A source's own ids are taken as they are. Rows without ids are numbered max(previous + 1, ts_event): those of live
sources and captures in order of arrival, those of files in order of time and beside what is stored
(`ingest.imports.comparison`), so that reading a source again gives the same numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
from nats.js.errors import KeyWrongLastSequenceError
from numpy.typing import NDArray

from tapehouse.batch import Batch, Strings
from tapehouse.errors import NumberingError
from tapehouse.model import Kind
from tapehouse.stream.bus import State, word

BY_TIME = "time"
"""The numbering of a source without ids of its own."""
_CONCURRENT_CLAIMS = 256


def number_by_time(batch: Batch, previous: dict[str, int]) -> Batch:
    """`batch` with seq = max(previous + 1, ts_event) within each symbol, in row order.

    `previous` maps a symbol to its last seq; it is read and updated. A row without a symbol, which validation
    rejects, keeps its ts_event.
    """
    times = batch.array("ts_event")
    symbols = batch.strings("symbol")
    seq = times.copy()
    for rows, symbol in rows_by_symbol(symbols):
        numbered = rising_from(times[rows], previous.get(symbol))
        seq[rows] = numbered
        previous[symbol] = int(numbered[-1])
    return Batch(batch.kind, batch.venue, batch.rows, {**batch.columns, "seq": seq})


def rising_from(lowest: NDArray[np.int64], previous: int | None) -> NDArray[np.int64]:
    """The least numbers that are at least `lowest`, rise strictly, and begin above `previous`, int64 [rows]."""
    if previous is not None:
        lowest = lowest.copy()
        lowest[0] = max(int(lowest[0]), previous + 1)
    # number[i] = max over j <= i of lowest[j] + (i - j)
    steps = np.arange(len(lowest))
    numbers: NDArray[np.int64] = np.maximum.accumulate(lowest - steps) + steps
    return numbers


def rows_by_symbol(symbols: Strings) -> Iterable[tuple[NDArray[np.int64] | slice, str]]:
    """(row positions in row order, symbol) of each symbol that has rows; rows without a symbol are left out."""
    codes = symbols.codes
    if len(codes) and (codes == codes[0]).all():
        if codes[0] >= 0:
            yield slice(None), symbols.values[int(codes[0])]
        return
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for rows in np.split(order, bounds)[1:]:
        yield rows, symbols.values[int(codes[rows[0]])]


class NumberingRegistry:
    """The numberings of one venue, recorded in the shared state at first use. Each symbol is looked up once."""

    def __init__(self, state: State, venue: str) -> None:
        self._state = state
        self._venue = venue
        self._claimed: set[tuple[str, str, str]] = set()

    async def claim(self, batch: Batch, numbering: str) -> None:
        """Record `numbering` for the symbols of `batch`; a kind without symbols needs none.

        Raises NumberingError where another numbering is recorded.
        """
        if "symbol" in batch.columns:
            await self.claim_symbols(batch.kind, batch.strings("symbol").compact().values, numbering)

    async def claim_symbols(self, kind: Kind, symbols: Iterable[str], numbering: str) -> None:
        """Record `numbering` for `symbols`; raises NumberingError where another is recorded."""
        claims = [(kind.name, symbol, numbering) for symbol in symbols]
        fresh = [claim for claim in claims if claim not in self._claimed]
        for start in range(0, len(fresh), _CONCURRENT_CLAIMS):
            await asyncio.gather(
                *(self._claim(*claim) for claim in fresh[start : start + _CONCURRENT_CLAIMS])
            )
        self._claimed.update(fresh)

    async def _claim(self, kind: str, symbol: str, numbering: str) -> None:
        key = f"numbering.{kind}.{word(self._venue)}.{word(symbol)}"
        recorded = await self._state.get(key)
        if recorded is None:
            try:
                await self._state.replace(key, numbering, 0)
            except KeyWrongLastSequenceError:
                recorded = await self._state.get(key)
            else:
                return
        if recorded != numbering:
            same = (
                "number a file by its times too: --number-by time"
                if recorded == BY_TIME
                else f"map a file's column of {recorded} to seq: --map seq=COLUMN"
            )
            raise NumberingError(
                f"{kind} of {symbol} on {self._venue}: expected rows numbered by {recorded}, was {numbering}",
                remedy=f"The same rows under two numberings would be stored twice. Either {same}; or give this source "
                "a venue of its own.",
                symbol=symbol,
                recorded=recorded,
            )
