"""Ticks into bars of all 12 intervals: us a tick on one core, beside a group-by in polars and nautilus_trader.

The ticks are those of SPY over five days, as one symbol; each given to one of 200 and 5,000 symbols by chance
(seed fixed). `kernel` adds ticks alone, `changes` takes what changed each time there is no more room for it.
Peers: the 1-minute bars alone, of all rows at once by polars on all cores; and a tick at a time by nautilus_trader's
TimeBarAggregator, put into a folder of its own in the temporary directory by pip. `ratio` is that of all
12 intervals on SPY to nautilus's one, or to polars where nautilus cannot be had.

`path_ticks_per_s`: messages of the wire, 5,000 rows of 200 symbols each, unpacked, added, and every 50 ms what changed
put into frames. `peak_mb` is of a process that fills the rings of 5,000 symbols.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.stand import SPY, peak_mb
from ingest.barteller import Teller
from tapehouse import barkernel
from tapehouse.bars import RINGS, Bars
from tapehouse.barstate import number, start
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MINUTE, parse_ns
from tapehouse.model import TRADES
from tapehouse.settings import BarMaker
from tapehouse.wire import pack, unpack

_TURNS = 5
_MESSAGE = 5_000
_FRAME_S = 0.05
_NAUTILUS_ROWS = 300_000


class Ticks(NamedTuple):
    """Columns of SPY's trades, or as many made up."""

    ts: NDArray[np.int64]
    seq: NDArray[np.int64]
    price: NDArray[np.float64]
    size: NDArray[np.float64]


def measure() -> dict[str, Any]:
    """Medians; the sizes and peers take turns."""
    ticks = _ticks()
    took: dict[str, list[float]] = {}
    for turn in range(_TURNS + 1):
        for symbols, name in ((1, "spy"), (200, "200_symbols"), (5_000, "5000_symbols")):
            kernel, changes = _kernel(ticks, symbols)
            if turn:  # the first compiles
                took.setdefault(f"{name}_kernel_us", []).append(kernel)
                took.setdefault(f"{name}_changes_us", []).append(changes)
                took.setdefault(f"{name}_us", []).append(kernel + changes)
        if turn:
            took.setdefault("polars_1m_us", []).append(_polars(ticks, 1))
            took.setdefault("polars_1m_200_symbols_us", []).append(_polars(ticks, 200))
            took.setdefault("path_ticks_per_s", []).append(_path(ticks))
    figures: dict[str, Any] = {name: round(statistics.median(values), 4) for name, values in took.items()}
    figures["path_ticks_per_s"] = int(figures["path_ticks_per_s"])
    nautilus = _nautilus(ticks)
    figures["nautilus_1m_us"] = nautilus
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        figures["peak_mb"] = pool.submit(_peak_mb, 5_000).result()
    peer = nautilus if isinstance(nautilus, float) else figures["polars_1m_us"]
    return {
        "ticks": "SPY" if SPY.exists() else f"made up, for ../shared/data/{SPY.name} is absent",
        **figures,
        "peer": "nautilus_trader TimeBarAggregator, 1m" if peer == nautilus else "polars group_by, 1m",
        "ratio": round(figures["spy_us"] / peer, 3),
    }


def _ticks() -> Ticks:
    if not SPY.exists():
        chance = np.random.default_rng(0)
        ts = parse_ns("2013-10-07T08:00Z") + np.cumsum(chance.integers(0, 500_000_000, 1_900_000))
        price = 165 + np.cumsum(chance.choice([-0.01, 0.0, 0.01], len(ts)))
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
    """us a tick of adding, and of taking what changed."""
    bars = Bars(symbols)
    numbers = _of_symbols(ticks, symbols)
    for symbol in range(symbols):
        bars.admit("V", str(symbol), int(ticks.ts[0]))
    side, flags = np.zeros(len(numbers), np.int8), np.zeros(len(numbers), np.int16)
    columns = (numbers, ticks.ts, ticks.ts, ticks.seq, ticks.price, ticks.size, side, flags)
    for column in columns:
        column.flags.writeable = False  # as those of messages are, for which the kernel is compiled
    row, adding, taking = 0, 0.0, 0.0
    while row < len(numbers):
        began = time.perf_counter()
        row = barkernel.apply(bars.state, *columns, row, False)
        added = time.perf_counter()
        bars.changes()
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
    """Ticks a second from messages to frames."""
    whole = _batch(ticks, 200)
    messages = [pack(whole.slice(row, row + _MESSAGE)) for row in range(0, whole.rows, _MESSAGE)]
    bars = Bars(200)
    # Frames are made and not sent.
    teller = Teller(BarMaker(), None, bars, "bench")  # type: ignore[arg-type]
    began = told = time.perf_counter()
    for message in messages:
        batch, row = unpack(message), 0
        while (row := bars.apply(batch, row)) < batch.rows:
            teller.gather()
        if time.perf_counter() - told >= _FRAME_S:
            teller.gather()
            told = time.perf_counter()
    teller.gather()
    return whole.rows / (time.perf_counter() - began)


def _peak_mb(symbols: int) -> int:
    """A tick in every bucket that the rings hold, and the memory that took."""
    bars = Bars(symbols)
    last = parse_ns("2024-08-08T12:00Z")
    times = {
        start(place, number(place, last) - back)
        for place, size in enumerate(RINGS.values())
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
            bars.changes()
    filled = bars.state.ring["trades"] > 0
    assert filled.mean() > 0.9, filled.mean()
    return peak_mb(os.getpid())


def _nautilus(ticks: Ticks) -> float | str:
    """us a tick by nautilus_trader, or why there is none."""
    folder = Path(tempfile.gettempdir()) / f"tapehouse-bench-{os.getuid()}"
    python = folder / "nautilus" / "bin" / "python"
    try:
        if not (folder / "installed").exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            _run(sys.executable, "-m", "venv", "--clear", str(folder / "nautilus"))
            _run(str(python), "-m", "pip", "install", "--quiet", "nautilus_trader")
            (folder / "installed").touch()
        rows = slice(_NAUTILUS_ROWS)
        np.savez(folder / "ticks.npz", ts=ticks.ts[rows], price=ticks.price[rows], size=ticks.size[rows])
        script = str(Path(__file__).with_name("nautilus_minutes.py"))
        took = [
            float(json.loads(_run(str(python), script, str(folder / "ticks.npz")))["us"])
            for _ in range(_TURNS)
        ]
    except subprocess.CalledProcessError as reason:
        return f"nautilus_trader cannot be had here: {reason.stderr.strip().splitlines()[-1:]}"
    return round(statistics.median(took), 4)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("\n")[-1]
