"""How rows get their seq, and the record that holds each (kind, venue, symbol) to one numbering.

A source's own ids are taken as they are. Rows without ids are numbered max(previous + 1, ts_event) in the
source's order, which gives the same numbers each time the same source is read from its start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
from nats.js.errors import KeyWrongLastSequenceError
from numpy.typing import NDArray

from tapehouse.batch import Batch, Strings
from tapehouse.bus import State, word
from tapehouse.errors import NumberingError
from tapehouse.model import Kind

BY_TIME = "time"


def by_time(batch: Batch, previous: dict[str, int]) -> Batch:
    """`batch` with seq = max(previous + 1, ts_event) within each symbol, in row order.

    `previous` has the last seq of each symbol, is read for those it has, and is brought up to date. A row
    without a symbol, which never gets far, is numbered by its time alone.
    """
    times = batch.array("ts_event")
    symbols = batch.strings("symbol")
    seq = times.copy()
    for rows, symbol in by_symbol(symbols):
        own = times[rows]
        if symbol in previous:
            own = own.copy()
            own[0] = max(int(own[0]), previous[symbol] + 1)
        # seq[i] = max over j <= i of own[j] + (i - j)
        steps = np.arange(len(own))
        numbered = np.maximum.accumulate(own - steps) + steps
        seq[rows] = numbered
        previous[symbol] = int(numbered[-1])
    return Batch(batch.kind, batch.venue, batch.rows, {**batch.columns, "seq": seq})


def by_symbol(symbols: Strings) -> Iterable[tuple[NDArray[np.int64] | slice, str]]:
    """(positions of the rows in order, symbol) for each symbol that has rows; rows without one are left out."""
    codes = symbols.codes
    if len(codes) and (codes == codes[0]).all():
        if codes[0] >= 0:
            yield slice(None), symbols.values[int(codes[0])]
        return
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for rows in np.split(order, bounds)[1:]:
        yield rows, symbols.values[int(codes[rows[0]])]


class Numberings:
    """The record of numberings in the shared state; each symbol is looked up once."""

    def __init__(self, state: State, kind: Kind, venue: str, numbering: str) -> None:
        self._state = state
        self._kind = kind
        self._venue = venue
        self._numbering = numbering
        self._held: set[str] = set()

    async def hold(self, symbols: Iterable[str]) -> None:
        """Record this numbering for symbols that have none; NumberingError where another is recorded."""
        fresh = [symbol for symbol in symbols if symbol not in self._held]
        for start in range(0, len(fresh), 256):
            await asyncio.gather(*(self._hold(symbol) for symbol in fresh[start : start + 256]))
        self._held.update(fresh)

    async def _hold(self, symbol: str) -> None:
        key = f"numbering.{self._kind.name}.{word(self._venue)}.{word(symbol)}"
        recorded = await self._state.get(key)
        if recorded is None:
            try:
                await self._state.replace(key, self._numbering, 0)
            except KeyWrongLastSequenceError:
                recorded = await self._state.get(key)
            else:
                return
        if recorded != self._numbering:
            raise NumberingError(
                f"{self._kind.name} of {symbol} on {self._venue}: expected rows numbered by {recorded}, "
                f"was {self._numbering}",
                remedy="Rows with two numberings would double. Give this source a venue of its own, or map "
                f"its column of {recorded} to seq.",
                symbol=symbol,
                recorded=recorded,
            )
