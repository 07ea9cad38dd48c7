"""What a bar maker tells: `frames.<maker>` on core NATS, and the answer of `bars.snapshot.<maker>`.

A frame is a msgpack array:

    0 FORMAT      1
    1 maker       "all", or the place of the shard's maker
    2 epoch       ns UTC; another one: all that was told before is void
    3 n           of the last frame told; rises by one a frame, also when nothing changed for a second
    4 sent        ns UTC
    5 keys        [[venue, symbol], ...]: `key` below is a place in it
    6 bars        [key u4, interval u1, ts i8, open f8, high f8, low f8, close f8, volume f8, turnover f8,
                  trades i8, buy_volume f8, seq_first i8, seq_last i8, revision i8, final u1]
    7 latest      [key u4, seq i8, ts_event i8, ts_recv i8, price f8, size f8]
    8 revised     [[key, start, end], ...]: rows of that span, ns, end inclusive, changed that no bar here covers
    9 rankings    nil, or [[window, key u4, change f8, volatility f8, turnover f8], ...]

Bars and latest are columns of raw little-endian values, one after the other in the order given here. Each bar
replaces the one of the same key, interval (its place in clock.INTERVALS) and ts; one with trades 0 says that
there is none. A time of 0 is unknown. Rankings: see `tapehouse/rankings.py`.

A snapshot is asked for with the JSON object {"venue", "symbol", "intervals"} (null for all) and is a frame too:
all that is held of the symbol, as of frame n or later. Frames up to n are older than it, the rest apply to it. A
maker that does not hold the symbol answers without keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import INTERVALS, now_ns
from tapehouse.errors import WireError

FORMAT = 1
TOLD_BAR = np.dtype(
    [
        ("key", "<u4"),
        ("interval", "u1"),
        ("ts", "<i8"),
        *((name, "<f8") for name in ("open", "high", "low", "close", "volume", "turnover")),
        ("trades", "<i8"),
        ("buy_volume", "<f8"),
        ("seq_first", "<i8"),
        ("seq_last", "<i8"),
        ("revision", "<i8"),
        ("final", "u1"),
    ]
)
TOLD_LATEST = np.dtype(
    [
        ("key", "<u4"),
        ("seq", "<i8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("price", "<f8"),
        ("size", "<f8"),
    ]
)
_TOLD_RANKED = np.dtype([("key", "<u4"), ("change", "<f8"), ("volatility", "<f8"), ("turnover", "<f8")])
NAMES = tuple(INTERVALS)


@dataclass(frozen=True)
class Frame:
    """One frame, or a snapshot. `bars` is TOLD_BAR [n], `latest` TOLD_LATEST [m]."""

    maker: str
    epoch: int
    n: int
    sent_ns: int = 0
    keys: Sequence[tuple[str, str]] = ()
    bars: NDArray[Any] = field(default_factory=lambda: np.empty(0, TOLD_BAR))
    latest: NDArray[Any] = field(default_factory=lambda: np.empty(0, TOLD_LATEST))
    revised: Sequence[tuple[int, int, int]] = ()
    rankings: dict[str, NDArray[Any]] | None = None
    """By window: key, change, volatility, turnover."""

    def encode(self) -> bytes:
        """The message."""
        ranked = None
        if self.rankings is not None:
            ranked = [[window, *_columns(rows, _TOLD_RANKED)] for window, rows in self.rankings.items()]
        return bytes(
            msgpack.packb(
                [
                    FORMAT,
                    self.maker,
                    self.epoch,
                    self.n,
                    self.sent_ns or now_ns(),
                    self.keys,
                    _columns(self.bars, TOLD_BAR),
                    _columns(self.latest, TOLD_LATEST),
                    self.revised,
                    ranked,
                ]
            )
        )


def decode(message: bytes) -> Frame:
    """The frame in a message; WireError where it is none, or of another format."""
    try:
        got = msgpack.unpackb(message)
        if got[0] != FORMAT:
            raise WireError(
                f"frame: expected format {FORMAT}, was {got[0]!r}",
                remedy="Bar maker and reader must be of releases that fit.",
            )
        _, maker, epoch, n, sent, keys, bars, latest, revised, ranked = got
        rankings = None if ranked is None else {one[0]: _rows(one[1:], _TOLD_RANKED) for one in ranked}
        return Frame(
            maker,
            epoch,
            n,
            sent,
            [(venue, symbol) for venue, symbol in keys],
            _rows(bars, TOLD_BAR),
            _rows(latest, TOLD_LATEST),
            [(key, start, end) for key, start, end in revised],
            rankings,
        )
    except (msgpack.UnpackException, ValueError, TypeError, IndexError, KeyError) as reason:
        raise WireError(f"frame: {reason!r}") from None


def _columns(rows: NDArray[Any], told: np.dtype[Any]) -> list[bytes]:
    assert told.names is not None
    return [rows[name].astype(told[name], copy=False).tobytes() for name in told.names]


def _rows(columns: Sequence[bytes], told: np.dtype[Any]) -> NDArray[Any]:
    names = told.names or ()
    if len(columns) != len(names):
        raise ValueError(f"expected {len(names)} columns, was {len(columns)}")
    rows = np.empty(len(columns[0]) // told[names[0]].itemsize, told)
    for name, column in zip(names, columns, strict=True):
        rows[name] = np.frombuffer(column, told[name])
    return rows
