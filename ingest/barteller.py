"""Telling what the bars are: frames of changes, and snapshots of a symbol to whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import numpy as np
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from numpy.typing import NDArray

from tapehouse.bars import Bars, Changes, Mark
from tapehouse.barstate import BAR, LATEST
from tapehouse.bus import Bus
from tapehouse.clock import NAMES, now_ns
from tapehouse.frames import encode
from tapehouse.rankings import ranked
from tapehouse.settings import BarMaker as Settings

BARS_MOST = 4096
"""In one frame, of about 115 bytes each."""
_BYTES_MOST = 2**20 - 4096
"""Of a frame: longer messages the broker refuses."""
_HEARTBEAT_S = 1.0
Columns = dict[str, NDArray[Any]]


class Teller:
    """Frames of one maker. `gather` makes them, `send` sends them; `n` counts those that were made."""

    def __init__(self, settings: Settings, bus: Bus, bars: Bars, maker: str) -> None:
        self.epoch = now_ns()
        self.n = 0
        self._settings = settings
        self._bus = bus
        self._bars = bars
        self._maker = maker
        self.listeners: list[Callable[[Changes], None]] = []
        """Called with all that changed, before it is told."""
        self._outbox: list[bytes] = []
        self._revised: list[Mark] = []
        self._sent_at = 0.0
        self._ranked_at = 0.0

    def revised(self, marks: Iterable[Mark]) -> None:
        """Rows changed that no bar held here covers."""
        self._revised += marks

    def gather(self) -> None:
        """Make frames of all that changed."""
        if not self._bars.changed and not self._revised:
            return
        changes = self._bars.changes()
        for listener in self.listeners:
            listener(changes)
        for first in range(0, max(1, len(changes.bars), len(changes.moved)), BARS_MOST):
            part = slice(first, first + BARS_MOST)
            self._frame(_part(changes, part), self._revised if first == 0 else ())
        self._revised = []

    def _frame(self, changes: Changes, revised: Sequence[Mark] = (), ranking: bool = False) -> None:
        message = self._encoded(changes, revised, ranking)
        rows = max(len(changes.bars), len(changes.moved), len(revised))
        if len(message) > _BYTES_MOST and rows > 1:
            # Names may be long.
            for half in (slice(0, rows // 2), slice(rows // 2, rows)):
                self._frame(_part(changes, half), revised[half])
            return
        self.n += 1
        self._outbox.append(message)
        self._sent_at = time.monotonic()

    def _encoded(self, changes: Changes, revised: Sequence[Mark], ranking: bool) -> bytes:
        """The next frame."""
        rankings = ranked(self._bars, self._settings.ranked) if ranking else None
        told = [changes.symbols, changes.moved, np.array([mark.symbol for mark in revised], np.int64)]
        told += [rows["key"] for rows in (rankings or {}).values()]
        symbols, keys = np.unique(np.concatenate(told), return_inverse=True)
        parts = np.split(keys, np.cumsum([len(one) for one in told])[:-1])
        for rows, places in zip((rankings or {}).values(), parts[3:], strict=True):
            rows["key"] = places
        return encode(
            self._maker,
            self.epoch,
            self.n + 1,
            [self._bars.names[symbol] for symbol in symbols.tolist()],
            _told(changes, parts[0]),
            self._latest(changes.moved, parts[1]),
            [(int(key), mark.start_ns, mark.end_ns) for key, mark in zip(parts[2], revised, strict=True)],
            rankings,
        )

    def _latest(self, symbols: NDArray[np.int64], keys: NDArray[np.int64]) -> Columns:
        latest = self._bars.state.latest[symbols]
        return {"key": keys, **{name: latest[name] for name in LATEST.names or ()}}

    async def send(self) -> None:
        """Send the frames that were made. What cannot be sent is a gap that its readers see."""
        outbox, self._outbox = self._outbox, []
        for message in outbox:
            with contextlib.suppress(NatsError, OSError):
                await self._bus.client.publish(f"frames.{self._maker}", message)

    async def beat(self) -> None:
        """Tell rankings when they are due, that nothing changed where nothing was told for a second, and send."""
        now = time.monotonic()
        due = now - self._ranked_at >= self._settings.rankings_s
        if due:
            self._ranked_at = now
        if due or now - self._sent_at >= _HEARTBEAT_S:
            self._frame(_NOTHING, ranking=due)
        await self.send()

    async def serve(self) -> None:
        """Answer requests for snapshots until cancelled."""
        async with self._bus.subscribed(f"bars.snapshot.{self._maker}", self._answer):
            await asyncio.Event().wait()

    async def _answer(self, message: Msg) -> None:
        try:
            asked = json.loads(message.data)
            intervals = set(asked.get("intervals") or NAMES)
            if not intervals <= set(NAMES):
                raise ValueError(intervals)
            answer = self._snapshot(str(asked["venue"]), str(asked["symbol"]), intervals)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            answer = encode(self._maker, self.epoch, self.n)
        with contextlib.suppress(NatsError, OSError):
            await self._bus.client.publish(message.reply, answer)

    def _snapshot(self, venue: str, symbol: str, intervals: Set[str]) -> bytes:
        number = self._bars.number(venue, symbol)
        parts = []
        for name in NAMES:
            if name not in intervals:
                continue
            bars, final = self._bars.read(number, name)
            parts.append((bars, np.full(len(bars), NAMES.index(name), np.int8), final))
        changes = Changes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        latest = self._latest(np.array([number]), np.zeros(1, np.int64))
        keys = np.zeros(len(changes.bars), np.int64)
        return encode(self._maker, self.epoch, self.n, [(venue, symbol)], _told(changes, keys), latest)


def _part(changes: Changes, part: slice) -> Changes:
    return Changes(
        changes.bars[part],
        changes.intervals[part],
        changes.final[part],
        changes.symbols[part],
        changes.moved[part],
    )


def _told(changes: Changes, keys: NDArray[np.int64]) -> Columns:
    columns = {name: changes.bars[name] for name in BAR.names or ()}
    return {"key": keys, "interval": changes.intervals, **columns, "final": changes.final}


_NOTHING = Changes(np.empty(0, BAR), np.empty(0, np.int8), np.empty(0, np.bool_))
