"""Backtests: events a CPU second of a strategy in Python on SPY's trades, against nautilus_trader's engine.

The first 200,000 trades of SPY, or as many synthetic ones, in memory; a strategy that does nothing (`idle`), and one
that makes a market order of one at every 20th trade, buying and selling in turns (`trading`), filled by the next trade.
Ours is timed from the frame to the end of the run, with the digest and the reading of the rows; nautilus_trader from
when it has its objects. Times are CPU seconds of the process, of all its threads. `ratio_nautilus` is ours over its,
the lower one of idle and trading; `ratio_trading` that of trading.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import numpy as np
import polars as pl

from analytics.backtest.desk import Desk
from analytics.backtest.loading import Loaded
from analytics.backtest.request import Request
from analytics.backtest.run import run
from analytics.backtest.source import FrameRows
from analytics.backtest.strategy import Strategy, Trade
from bench import nautilus
from bench.bar_kernel import Ticks, read_ticks
from tapehouse.bars.series import bars_frame

_TURNS = 3
_ROWS = 200_000
_EVERY = 20


class _Idle(Strategy):
    def on_trade(self, trade: Trade, desk: Desk) -> None:
        pass


class _Turns(Strategy):
    def on_start(self, desk: Desk) -> None:
        self.count = self.made = 0

    def on_trade(self, trade: Trade, desk: Desk) -> None:
        self.count += 1
        if self.count % _EVERY == 0:
            self.made += 1
            desk.order("SPY", 1 if self.made % 2 else -1)


def measure() -> dict[str, Any]:
    """Medians; ours and the peer take turns."""
    every = read_ticks()
    ticks = Ticks(*(column[:_ROWS] for column in every))
    frames = _frames(ticks)
    times: dict[str, list[float]] = {}
    why = ""
    for turn in range(_TURNS + 1):
        found = {"idle_per_s": _ours(frames, _Idle), "trading_per_s": _ours(frames, _Turns)}
        try:
            found |= _nautilus(ticks)
        except nautilus.MissingError as reason:
            why = str(reason)
        for name, value in found.items():
            if turn:  # the first compiles
                times.setdefault(name, []).append(value)
    figures: dict[str, Any] = {name: int(statistics.median(values)) for name, values in times.items()}
    made = {"events": _ROWS, **figures, "peer": why or "nautilus_trader BacktestEngine"}
    if not why:
        idle, trading = (
            figures[f"{name}_per_s"] / figures[f"nautilus_{name}_per_s"] for name in ("idle", "trading")
        )
        made |= {"ratio_trading": round(trading, 2), "ratio_nautilus": round(min(idle, trading), 2)}
        made["ratio"] = made["ratio_nautilus"]
    return made


def _frames(ticks: Ticks) -> dict[str, pl.DataFrame]:
    """Trades with the model's columns, their 1-minute bars, and no quotes."""
    count = len(ticks.ts)
    times = pl.Series(ticks.ts).cast(pl.Datetime("ns", "UTC"))
    trades = pl.DataFrame(
        {
            "ts_event": times, "ts_recv": times, "venue": ["V"] * count, "symbol": ["SPY"] * count,
            "seq": ticks.seq, "price": ticks.price, "size": np.maximum(ticks.size, 1),
            "side": np.ones(count, np.int8), "flags": np.zeros(count, np.int16),
        }
    )  # fmt: skip
    names = ("bid", "bid_size", "ask", "ask_size")
    quotes = trades.clear().select(
        "ts_event", "ts_recv", "venue", "symbol", "seq", *(pl.lit(0.0).alias(name) for name in names)
    )
    return {"trades": trades.drop("flags"), "bars": bars_frame(trades, "1m"), "quotes": quotes}


def _ours(frames: dict[str, pl.DataFrame], strategy: type[Strategy]) -> float:
    times = frames["trades"]["ts_event"].to_physical()
    request = Request(
        ("SPY",), ("V",), int(times[0]), int(times[-1]) + 1, fills="latency", capital="10000000"
    )
    began = time.process_time()
    report = run(request, FrameRows(**frames), lambda: Loaded(strategy(), "bench", "", ""))
    took = time.process_time() - began
    wanted = 0 if strategy is _Idle else _ROWS // _EVERY
    assert wanted - 1 <= report.figures["fills"] <= wanted, report
    return _ROWS / took


def _nautilus(ticks: Ticks) -> dict[str, float]:
    nautilus.folder().mkdir(mode=0o700, exist_ok=True)
    path = nautilus.folder() / "trades.npz"
    np.savez(path, ts=ticks.ts, price=ticks.price, size=ticks.size)
    found = {}
    for name, every in (("idle", 0), ("trading", _EVERY)):
        said = json.loads(nautilus.last_line("nautilus_trades.py", str(path), str(every)))
        found[f"nautilus_{name}_per_s"] = float(said["events_per_s"])
    return found
