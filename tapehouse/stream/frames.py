"""The message format of bar makers: frames on `frames.<maker>` (core NATS), responses of `bars.snapshot.<maker>`.

A frame is a msgpack array:

    0 FORMAT      1
    1 maker       "all", or the index of the shard's bar maker
    2 epoch       ns UTC; a new epoch invalidates all earlier frames of the maker
    3 n           number of the frame, rising by one; a frame without changes is sent after a second
    4 sent        when it was sent, ns UTC
    5 keys        [[venue, symbol], ...]: `key` below is an index into it
    6 bars        [key u4, interval u1, ts i8, open f8, high f8, low f8, close f8, volume f8, turnover f8,
                  trades i8, buy_volume f8, seq_first i8, seq_last i8, revision i8, final u1]
    7 latest      [key u4, seq i8, ts_event i8, ts_recv i8, price f8, size f8]
    8 revised     [[key, start, end], ...]: spans (ns, both inclusive) with changed rows that no bar here has
    9 rankings    nil, or [[window, key u4, change f8, volatility f8, turnover f8], ...]

Bars, latest and rankings are columns of raw little-endian values, in the order given here. Each bar replaces the
one of the same key, interval (its index in clock.INTERVALS) and ts; a bar with trades 0 deletes it. A time of 0
is unknown. Rankings: see `tapehouse/bars/rankings.py`.

A snapshot is requested with the JSON object {"venue", "symbol", "intervals"} (null for all) and is a frame too:
the cached bars and last price of the symbol as of frame n or later. Apply frames after n to it, not earlier ones.
A maker without the symbol responds with a frame without keys.
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
FRAME_BAR = np.dtype(
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
FRAME_LATEST = np.dtype(
    [
        ("key", "<u4"),
        ("seq", "<i8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("price", "<f8"),
        ("size", "<f8"),
    ]
)
_FRAME_RANKED = np.dtype([("key", "<u4"), ("change", "<f8"), ("volatility", "<f8"), ("turnover", "<f8")])
_NO_BARS = np.empty(0, FRAME_BAR)
_NO_LATEST = np.empty(0, FRAME_LATEST)


@dataclass(frozen=True)
class Frame:
    """One frame or snapshot. `bars` has the dtype FRAME_BAR, `latest` FRAME_LATEST; both are 1-dimensional."""

    maker: str
    epoch: int
    n: int
    sent_ns: int
    keys: Sequence[tuple[str, str]]
    bars: NDArray[Any]
    latest: NDArray[Any]
    revised: Sequence[tuple[int, int, int]]
    rankings: dict[str, NDArray[Any]] | None
    """By window: rows of key, change, volatility, turnover; None when the frame has no rankings."""


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
    """Encode a frame with the present time as `sent`. Bars, latest and each ranking map columns to arrays."""
    ranked = None
    if rankings is not None:
        ranked = [[window, *_columns(rows, _FRAME_RANKED)] for window, rows in rankings.items()]
    columns = (
        _columns(_NO_BARS if bars is None else bars, FRAME_BAR),
        _columns(_NO_LATEST if latest is None else latest, FRAME_LATEST),
    )
    return bytes(msgpack.packb([FORMAT, maker, epoch, n, now_ns(), keys, *columns, revised, ranked]))


def decode(message: bytes) -> Frame:
    """Decode a frame. Raises WireError for other bytes or another format."""
    try:
        fields = msgpack.unpackb(message)
        if fields[0] != FORMAT:
            raise WireError(
                f"frame: expected format {FORMAT}, was {fields[0]!r}",
                remedy="Use the same release of Tapehouse for bar makers and readers.",
            )
        _, maker, epoch, n, sent, keys, bars, latest, revised, ranked = fields
        rankings = None if ranked is None else {one[0]: _rows(one[1:], _FRAME_RANKED) for one in ranked}
        frame = Frame(
            maker,
            epoch,
            n,
            sent,
            [(venue, symbol) for venue, symbol in keys],
            _rows(bars, FRAME_BAR),
            _rows(latest, FRAME_LATEST),
            [(key, start, end) for key, start, end in revised],
            rankings,
        )
        _check(frame)
    except (msgpack.UnpackException, ValueError, TypeError, IndexError, KeyError) as reason:
        raise WireError(f"frame: {reason!r:.200}") from None
    return frame


def _check(frame: Frame) -> None:
    """Raise ValueError for values that would cause an error only when they are used."""
    names = [frame.maker, *(frame.rankings or {})]
    names += [name for key in frame.keys for name in key]
    whole = [frame.epoch, frame.n, frame.sent_ns, *(number for one in frame.revised for number in one)]
    if not all(type(name) is str for name in names) or not all(type(number) is int for number in whole):
        raise ValueError("expected strings and integers")
    used = [rows["key"] for rows in (frame.bars, frame.latest, *(frame.rankings or {}).values())]
    used.append(np.array([key for key, _, _ in frame.revised], np.int64))
    if any(((keys < 0) | (keys >= len(frame.keys))).any() for keys in used):
        raise ValueError(f"a key is not below {len(frame.keys)}")
    if (frame.bars["interval"] >= len(NAMES)).any():
        raise ValueError(f"an interval is not below {len(NAMES)}")


def _columns(columns: Mapping[str, NDArray[Any]] | NDArray[Any], dtype: np.dtype[Any]) -> list[bytes]:
    return [columns[name].astype(dtype[name], copy=False).tobytes() for name in dtype.names or ()]


def _rows(columns: Sequence[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    names = dtype.names or ()
    if len(columns) != len(names):
        raise ValueError(f"expected {len(names)} columns, was {len(columns)}")
    rows = np.empty(len(columns[0]) // dtype[names[0]].itemsize, dtype)
    for name, column in zip(names, columns, strict=True):
        values = np.frombuffer(column, dtype[name])
        # A single value would be broadcast to all rows.
        if len(values) != len(rows):
            raise ValueError(f"{name}: expected {len(rows)} values, was {len(values)}")
        rows[name] = values
    return rows
