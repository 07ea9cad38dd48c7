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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import NAMES, now_ns
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
_NO_BARS = np.empty(0, TOLD_BAR)
_NO_LATEST = np.empty(0, TOLD_LATEST)


@dataclass(frozen=True)
class Frame:
    """One frame, or a snapshot. `bars` is TOLD_BAR [n], `latest` TOLD_LATEST [m]."""

    maker: str
    epoch: int
    n: int
    sent_ns: int
    keys: Sequence[tuple[str, str]]
    bars: NDArray[Any]
    latest: NDArray[Any]
    revised: Sequence[tuple[int, int, int]]
    rankings: dict[str, NDArray[Any]] | None
    """By window: key, change, volatility, turnover."""


def encode(
    maker: str,
    epoch: int,
    n: int,
    keys: Sequence[tuple[str, str]] = (),
    bars: Mapping[str, NDArray[Any]] | None = None,
    latest: Mapping[str, NDArray[Any]] | None = None,
    revised: Sequence[tuple[int, int, int]] = (),
    rankings: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """The message of a frame sent now. Bars, latest and each ranking have an array for each column."""
    ranked = None
    if rankings is not None:
        ranked = [[window, *_columns(rows, _TOLD_RANKED)] for window, rows in rankings.items()]
    told = (
        _columns(_NO_BARS if bars is None else bars, TOLD_BAR),
        _columns(_NO_LATEST if latest is None else latest, TOLD_LATEST),
    )
    return bytes(msgpack.packb([FORMAT, maker, epoch, n, now_ns(), keys, *told, revised, ranked]))


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
        frame = Frame(
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
        _check(frame)
    except (msgpack.UnpackException, ValueError, TypeError, IndexError, KeyError) as reason:
        raise WireError(f"frame: {reason!r:.200}") from None
    return frame


def _check(frame: Frame) -> None:
    """Raise ValueError for what would be no error until it is used."""
    names = [frame.maker, *(frame.rankings or {})]
    names += [name for key in frame.keys for name in key]
    whole = [frame.epoch, frame.n, frame.sent_ns, *(number for one in frame.revised for number in one)]
    if not all(type(name) is str for name in names) or not all(type(number) is int for number in whole):
        raise ValueError("expected texts and whole numbers")
    used = [rows["key"] for rows in (frame.bars, frame.latest, *(frame.rankings or {}).values())]
    used.append(np.array([key for key, _, _ in frame.revised], np.int64))
    if any(((keys < 0) | (keys >= len(frame.keys))).any() for keys in used):
        raise ValueError(f"a key is not among the {len(frame.keys)}")
    if (frame.bars["interval"] >= len(NAMES)).any():
        raise ValueError("there is no such interval")


def _columns(columns: Mapping[str, NDArray[Any]] | NDArray[Any], told: np.dtype[Any]) -> list[bytes]:
    return [columns[name].astype(told[name], copy=False).tobytes() for name in told.names or ()]


def _rows(columns: Sequence[bytes], told: np.dtype[Any]) -> NDArray[Any]:
    names = told.names or ()
    if len(columns) != len(names):
        raise ValueError(f"expected {len(names)} columns, was {len(columns)}")
    rows = np.empty(len(columns[0]) // told[names[0]].itemsize, told)
    for name, column in zip(names, columns, strict=True):
        values = np.frombuffer(column, told[name])
        # One value would be spread over all rows.
        if len(values) != len(rows):
            raise ValueError(f"{name}: expected {len(rows)} values, was {len(values)}")
        rows[name] = values
    return rows
