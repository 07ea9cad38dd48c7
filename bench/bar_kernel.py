"""The bar kernel: us a tick on one core for bars of all 12 intervals, against polars and nautilus_trader.

The ticks are those of SPY over five days, as one symbol, and assigned at random (fixed seed) to 200 and to 5,000
symbols. `kernel` is the time to add ticks, `changes` that to take the changes whenever there is no more room for them.
Peers make 1-minute bars only: polars groups all rows at once on all cores; nautilus_trader's TimeBarAggregator, which
pip installs in a folder of its own in the temporary directory, takes a tick at a time. `ratio` is our time for all 12
intervals on SPY over nautilus_trader's for one, or over that of polars where nautilus_trader cannot be installed.

`path_ticks_per_s`: messages of 5,000 rows of 200 symbols are unpacked and applied, and frames are built every 50 ms.
`peak_mb` is that of a process that fills the rings of 5,000 symbols.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench import nautilus
from bench.stand import SPY, peak_mb
from ingest.barmaker.frame_publisher import FramePublisher
from tapehouse.bars import kernel
from tapehouse.bars.engine import RING_SIZES, BarEngine
from tapehouse.bars.state import bucket_number, bucket_start
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MINUTE, parse_ns
from tapehouse.model import TRADES
from tapehouse.settings import BarMaker
from tapehouse.stream.wire import pack, unpack

_TURNS = 5
_MESSAGE = 5_000
_FRAME_S = 0.05
_NAUTILUS_ROWS = 300_000


class Ticks(NamedTuple):
    """Columns of SPY's trades, or of as many synthetic ones."""

    ts: NDArray[np.int64]
    seq: NDArray[np.int64]
    price: NDArray[np.float64]
    size: NDArray[np.float64]


def measure() -> dict[str, Any]:
    """Medians; symbol counts and peers take turns."""
    ticks = read_ticks()
    times: dict[str, list[float]] = {}
    for turn in range(_TURNS + 1):
        for symbols, name in ((1, "spy"), (200, "200_symbols"), (5_000, "5000_symbols")):
            kernel_us, changes = _kernel(ticks, symbols)
            if turn:  # the first compiles
                times.setdefault(f"{name}_kernel_us", []).append(kernel_us)
                times.setdefault(f"{name}_changes_us", []).append(changes)
                times.setdefault(f"{name}_us", []).append(kernel_us + changes)
        if turn:
            times.setdefault("polars_1m_us", []).append(_polars(ticks, 1))
            times.setdefault("polars_1m_200_symbols_us", []).append(_polars(ticks, 200))
            times.setdefault("path_ticks_per_s", []).append(_path(ticks))
    figures: dict[str, Any] = {name: round(statistics.median(values), 4) for name, values in times.items()}
    figures["path_ticks_per_s"] = int(figures["path_ticks_per_s"])
    nautilus = _nautilus(ticks)
    figures["nautilus_1m_us"] = nautilus
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        figures["peak_mb"] = pool.submit(_peak_mb, 5_000).result()
    peer = nautilus if isinstance(nautilus, float) else figures["polars_1m_us"]
    return {
        "ticks": "SPY" if SPY.exists() else f"synthetic, since ../shared/data/{SPY.name} is absent",
        **figures,
        "peer": "nautilus_trader TimeBarAggregator, 1m" if peer == nautilus else "polars group_by, 1m",
        "ratio": round(figures["spy_us"] / peer, 3),
    }


def read_ticks() -> Ticks:
    """The ticks of SPY, or synthetic ones where its file is absent."""
    if not SPY.exists():
        random = np.random.default_rng(0)
        ts = parse_ns("2013-10-07T08:00Z") + np.cumsum(random.integers(0, 500_000_000, 1_900_000))
        price = 165 + np.cumsum(random.choice([-0.01, 0.0, 0.01], len(ts)))
        return Ticks(ts, ts + np.arange(len(ts)), price, np.full(len(ts), 100.0))
    frame = pl.read_parquet(SPY)
    ts = frame["ts_event"].to_physical().to_numpy()
    places = np.arange(len(ts))
    return Ticks(
        ts,
        np.maximum.accumulate(ts - places) + places,
        frame["price"].to_numpy(),
        frame["size"].to_numpy(),
    )


def _of_symbols(ticks: Ticks, symbols: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, symbols, len(ticks.ts))


def _kernel(ticks: Ticks, symbols: int) -> tuple[float, float]:
    """us a tick to add it, and to take the changes."""
    bars = BarEngine(symbols)
    numbers = _of_symbols(ticks, symbols)
    for symbol in range(symbols):
        bars.ensure_symbol("V", str(symbol), int(ticks.ts[0]))
    side, flags = np.zeros(len(numbers), np.int8), np.zeros(len(numbers), np.int16)
    columns = (numbers, ticks.ts, ticks.ts, ticks.seq, ticks.price, ticks.size, side, flags)
    for column in columns:
        column.flags.writeable = False  # like columns of messages, for which the kernel is compiled
    row, adding, taking = 0, 0.0, 0.0
    while row < len(numbers):
        began = time.perf_counter()
        row = kernel.apply(bars.state, *columns, row, False)
        added = time.perf_counter()
        bars.take_changes()
        adding += added - began
        taking += time.perf_counter() - added
    return adding / len(numbers) * 1e6, taking / len(numbers) * 1e6


def _polars(ticks: Ticks, symbols: int) -> float:
    frame = pl.DataFrame({**ticks._asdict(), "symbol": _of_symbols(ticks, symbols)})
    began = time.perf_counter()
    frame.group_by("symbol", pl.col("ts") // MINUTE).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("size").sum(),
        turnover=(pl.col("price") * pl.col("size")).sum(),
        trades=pl.len(),
        seq_first=pl.col("seq").first(),
        seq_last=pl.col("seq").last(),
    )
    return (time.perf_counter() - began) / len(frame) * 1e6


def _batch(ticks: Ticks, symbols: int) -> Batch:
    rows = len(ticks.ts)
    none = np.full(rows, -1, np.int32)
    names = tuple(f"S{symbol}" for symbol in range(symbols))
    return Batch(
        TRADES,
        "V",
        rows,
        {
            "ts_event": ticks.ts,
            "ts_recv": ticks.ts,
            "symbol": Strings(names, _of_symbols(ticks, symbols).astype(np.int32)),
            "seq": ticks.seq,
            "price": ticks.price,
            "size": ticks.size,
            "side": np.zeros(rows, np.int8),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings((), none),
            "conditions": Strings((), none),
        },
    )


def _path(ticks: Ticks) -> float:
    """Ticks per second from messages to frames."""
    whole = _batch(ticks, 200)
    messages = [pack(whole.slice(row, row + _MESSAGE)) for row in range(0, whole.rows, _MESSAGE)]
    bars = BarEngine(200)
    # Frames are built but not sent.
    frames = FramePublisher(BarMaker(), None, bars, "bench")  # type: ignore[arg-type]
    began = built_at = time.perf_counter()
    for message in messages:
        batch, row = unpack(message), 0
        while (row := bars.apply(batch, row)) < batch.rows:
            frames.build_frames()
        if time.perf_counter() - built_at >= _FRAME_S:
            frames.build_frames()
            built_at = time.perf_counter()
    frames.build_frames()
    return whole.rows / (time.perf_counter() - began)


def _peak_mb(symbols: int) -> int:
    """The peak memory of a process whose rings have a trade in every bucket."""
    bars = BarEngine(symbols)
    last = parse_ns("2024-08-08T12:00Z")
    times = {
        bucket_start(place, bucket_number(place, last) - back)
        for place, size in enumerate(RING_SIZES.values())
        for back in range(size)
    }
    names = Strings(tuple(f"S{symbol}" for symbol in range(symbols)), np.arange(symbols, dtype=np.int32))
    ones, shorts = np.ones(symbols), np.zeros(symbols, np.int16)
    none = Strings((), np.full(symbols, -1, np.int32))
    for seq, at in enumerate(sorted(times)):
        ts, seqs = np.full(symbols, at, np.int64), np.full(symbols, seq, np.int64)
        columns: dict[str, Any] = {"ts_event": ts, "ts_recv": ts, "symbol": names, "seq": seqs}
        columns |= {"price": ones, "size": ones, "side": shorts.astype(np.int8), "flags": shorts}
        batch, row = Batch(TRADES, "V", symbols, columns | {"exchange": none, "conditions": none}), 0
        while (row := bars.apply(batch, row)) < symbols:
            bars.take_changes()
    filled = bars.state.ring["trades"] > 0
    assert filled.mean() > 0.9, filled.mean()
    return peak_mb(os.getpid())


def _nautilus(ticks: Ticks) -> float | str:
    """us a tick by nautilus_trader, or why it cannot be measured."""
    rows = slice(_NAUTILUS_ROWS)
    path = nautilus.folder() / "ticks.npz"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    np.savez(path, ts=ticks.ts[rows], price=ticks.price[rows], size=ticks.size[rows])
    try:
        said = [nautilus.last_line("nautilus_minutes.py", str(path)) for _ in range(_TURNS)]
    except nautilus.MissingError as reason:
        return str(reason)
    return round(statistics.median(float(json.loads(line)["us"]) for line in said), 4)
