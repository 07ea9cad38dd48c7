"""Frames of what changed in the bars of one bar maker, and snapshots of a symbol on request.

Frames are published to `frames.<maker>`; snapshots are requested from `bars.snapshot.<maker>` with the JSON object
{"venue", "symbol", "intervals"}. `tapehouse/stream/frames.py` describes the format of both.
"""

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

from tapehouse.bars.engine import BarEngine, Changes, StaleSpan
from tapehouse.bars.rankings import rank_symbols
from tapehouse.bars.state import BAR, LATEST
from tapehouse.clock import NAMES, now_ns
from tapehouse.settings import BarMaker as Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.frames import encode

MAX_BARS_PER_FRAME = 4096
"""About 115 bytes each."""
_MAX_FRAME_BYTES = 2**20 - 4096
"""NATS rejects messages above 1 MB."""
_HEARTBEAT_S = 1.0
Columns = dict[str, NDArray[Any]]


class FramePublisher:
    """Builds frames of one bar maker with `build_frames`, publishes them with `send`, and serves snapshots.

    `epoch` and `n`, the number of the last frame built, are the version of the bars.
    """

    def __init__(self, settings: Settings, bus: Bus, bars: BarEngine, maker: str) -> None:
        self.epoch = now_ns()
        self.n = 0
        self._settings = settings
        self._bus = bus
        self._bars = bars
        self._maker = maker
        self.listeners: list[Callable[[Changes], None]] = []
        """Called with the changes before their frames are built."""
        self._outbox: list[bytes] = []
        self._revised: list[StaleSpan] = []
        self._sent_at = 0.0
        self._ranked_at = 0.0

    def add_revised(self, spans: Iterable[StaleSpan]) -> None:
        """Announce in the next frame that stored rows changed whose bars have left the rings."""
        self._revised += spans

    def build_frames(self) -> None:
        """Build frames of all changes since the last call."""
        if not self._bars.has_changes and not self._revised:
            return
        changes = self._bars.take_changes()
        for listener in self.listeners:
            listener(changes)
        for first in range(0, max(1, len(changes.bars), len(changes.dirty_symbols)), MAX_BARS_PER_FRAME):
            part = slice(first, first + MAX_BARS_PER_FRAME)
            self._add_frame(_slice_changes(changes, part), self._revised if first == 0 else ())
        self._revised = []

    def _add_frame(self, changes: Changes, revised: Sequence[StaleSpan] = (), ranking: bool = False) -> None:
        message = self._encode_frame(changes, revised, ranking)
        rows = max(len(changes.bars), len(changes.dirty_symbols), len(revised))
        if len(message) > _MAX_FRAME_BYTES and rows > 1:
            # The names of symbols are of any length.
            for half in (slice(0, rows // 2), slice(rows // 2, rows)):
                self._add_frame(_slice_changes(changes, half), revised[half])
            return
        self.n += 1
        self._outbox.append(message)
        self._sent_at = time.monotonic()

    def _encode_frame(self, changes: Changes, revised: Sequence[StaleSpan], ranking: bool) -> bytes:
        """The next frame, encoded."""
        rankings = rank_symbols(self._bars, self._settings.ranked) if ranking else None
        groups = [
            changes.symbols,
            changes.dirty_symbols,
            np.array([span.symbol for span in revised], np.int64),
        ]
        groups += [rows["key"] for rows in (rankings or {}).values()]
        symbols, keys = np.unique(np.concatenate(groups), return_inverse=True)
        parts = np.split(keys, np.cumsum([len(group) for group in groups])[:-1])
        for rows, places in zip((rankings or {}).values(), parts[3:], strict=True):
            rows["key"] = places
        return encode(
            self._maker,
            self.epoch,
            self.n + 1,
            [self._bars.names[symbol] for symbol in symbols.tolist()],
            _bar_columns(changes, parts[0]),
            self._latest_columns(changes.dirty_symbols, parts[1]),
            [(int(key), span.start_ns, span.end_ns) for key, span in zip(parts[2], revised, strict=True)],
            rankings,
        )

    def _latest_columns(self, symbols: NDArray[np.int64], keys: NDArray[np.int64]) -> Columns:
        latest = self._bars.state.latest[symbols]
        return {"key": keys, **{name: latest[name] for name in LATEST.names or ()}}

    async def send(self) -> None:
        """Publish the frames that were built. A frame that cannot be sent is lost; readers notice the gap in n."""
        outbox, self._outbox = self._outbox, []
        for message in outbox:
            with contextlib.suppress(NatsError, OSError):
                await self._bus.client.publish(f"frames.{self._maker}", message)

    async def publish_due(self) -> None:
        """Add rankings when they are due, or a heartbeat after a second without frames, and publish all frames."""
        now = time.monotonic()
        due = now - self._ranked_at >= self._settings.rankings_s
        if due:
            self._ranked_at = now
        if due or now - self._sent_at >= _HEARTBEAT_S:
            self._add_frame(_NO_CHANGES, ranking=due)
        await self.send()

    async def serve_snapshots(self) -> None:
        """Answer requests for snapshots until cancelled; one that is not valid gets an empty frame."""
        async with self._bus.subscribed(f"bars.snapshot.{self._maker}", self._on_request):
            await asyncio.Event().wait()

    async def _on_request(self, message: Msg) -> None:
        try:
            request = json.loads(message.data)
            intervals = set(request.get("intervals") or NAMES)
            if not intervals <= set(NAMES):
                raise ValueError(intervals)
            answer = self._encode_snapshot(str(request["venue"]), str(request["symbol"]), intervals)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            answer = encode(self._maker, self.epoch, self.n)
        with contextlib.suppress(NatsError, OSError):
            await self._bus.client.publish(message.reply, answer)

    def _encode_snapshot(self, venue: str, symbol: str, intervals: Set[str]) -> bytes:
        number = self._bars.symbol_id(venue, symbol)
        parts = []
        for name in NAMES:
            if name not in intervals:
                continue
            bars, final = self._bars.read(number, name)
            parts.append((bars, np.full(len(bars), NAMES.index(name), np.int8), final))
        changes = Changes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        latest = self._latest_columns(np.array([number]), np.zeros(1, np.int64))
        keys = np.zeros(len(changes.bars), np.int64)
        return encode(self._maker, self.epoch, self.n, [(venue, symbol)], _bar_columns(changes, keys), latest)


def _slice_changes(changes: Changes, part: slice) -> Changes:
    return Changes(
        changes.bars[part],
        changes.intervals[part],
        changes.final[part],
        changes.symbols[part],
        changes.dirty_symbols[part],
    )


def _bar_columns(changes: Changes, keys: NDArray[np.int64]) -> Columns:
    columns = {name: changes.bars[name] for name in BAR.names or ()}
    return {"key": keys, "interval": changes.intervals, **columns, "final": changes.final}


_NO_CHANGES = Changes(np.empty(0, BAR), np.empty(0, np.int8), np.empty(0, np.bool_))
