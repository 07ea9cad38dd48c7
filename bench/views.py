"""The cost of materialized views: the same rows into tables with 0, 1, 2, 4 and 11 immediate views.

For each set of views, with the QuestDB client alone: rows a second in transactions of 50,000 until all views are up to
date, and the time from sent to visible at 10,000 rows a second in batches of 100. Peer: the table without views.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from questdb import Sender

from bench.stand import Stand, stand
from tapehouse.stores.migrations import migrations
from tapehouse.stores.questdb import QuestReader

_SETS = {
    "none": (),
    "1m": ("1m",),
    "1m 1d": ("1m", "1d"),
    "1m 15m 1h 1d": ("1m", "15m", "1h", "1d"),
    "eleven": ("15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"),
}
_ROWS, _FRAME, _SYMBOLS = 1_000_000, 50_000, 200
_STEPS, _STEP_S = 1_000, 0.01


def measure() -> dict[str, Any]:
    """For each set of views: rows a second, and percentiles of visible latency in ms."""
    figures: dict[str, Any] = {}
    with stand() as platform:
        # Warms up the server's JIT compiler.
        _bulk(platform, "bench_warm", _make(platform, "bench_warm", ("1m", "1d")))
        for place, (name, intervals) in enumerate(_SETS.items()):
            table = f"bench_{place}"
            views = _make(platform, table, intervals)
            rows_s = _bulk(platform, table, views)
            p50, p99 = _steady(platform, table)
            figures[name] = {"rows_s": round(rows_s), "visible_p50_ms": p50, "visible_p99_ms": p99}
            print(name, figures[name], flush=True)
    chosen, bare = figures["1m 1d"], figures["none"]
    return {**figures, "peer": "no view", "ratio": round(chosen["rows_s"] / bare["rows_s"], 3)}


def _make(platform: Stand, table: str, intervals: tuple[str, ...]) -> list[str]:
    """Create a table like trades and its views, each based on the one before it; returns the names of the views."""
    files = {file.name: file.statement for file in migrations("questdb")}
    quest = platform.settings.questdb
    views: list[str] = []
    with psycopg.connect(
        host=quest.host, port=quest.pg_port, user=quest.user, dbname="qdb",
        password=quest.password.get_secret_value(), autocommit=True,
    ) as connection:  # fmt: skip
        connection.execute(files["0001_trades.sql"].replace("EXISTS trades", f"EXISTS {table}").encode())
        for interval in intervals:
            view = f"{table}_{interval}"
            file, base, unit = (
                ("0007_bars_1d.sql", "bars_1m", "1d") if views else ("0006_bars_1m.sql", "trades", "1m")
            )
            text = files[file].replace(f"EXISTS bars_{unit}", f"EXISTS {view}")
            for word in ("BASE", "FROM"):
                text = text.replace(f"{word} {base}", f"{word} {views[-1] if views else table}")
            text = text.replace(f"SAMPLE BY {unit}", f"SAMPLE BY {interval}")
            connection.execute(text.encode())
            views.append(view)
    return views


def _frame(first: int, rows: int, start_ns: int, step_ns: int) -> pd.DataFrame:
    places = np.arange(first, first + rows)
    times = (start_ns + places * step_ns).view("datetime64[ns]")
    symbols = [f"S{n}" for n in range(_SYMBOLS)]
    return pd.DataFrame(
        {
            "ts_event": times,
            "ts_recv": times,
            "venue": pd.Categorical.from_codes(np.zeros(rows, np.int8), ["bench"]),
            "symbol": pd.Categorical.from_codes(places % _SYMBOLS, symbols),
            "seq": places,
            "price": 100 + (places % 997) / 100,
            "size": np.ones(rows),
            "side": np.ones(rows, np.int8),
            "flags": np.zeros(rows, np.int16),
        }
    )


def _sender(platform: Stand) -> Sender:
    quest = platform.settings.questdb
    return Sender.from_conf(
        f"http::addr={quest.host}:{quest.http_port};username={quest.user};"
        f"password={quest.password.get_secret_value()};auto_flush=off;protocol_version=3;"
    )


def _send(sender: Sender, table: str, frame: pd.DataFrame) -> None:
    with sender.transaction(table) as transaction:
        transaction.dataframe(frame, at="ts_event")


def _bulk(platform: Stand, table: str, views: list[str]) -> float:
    """Rows a second, measured until every view shows all rows."""
    day = 1_700_006_400 * 10**9
    frames = [_frame(first, _FRAME, day, 80_000_000) for first in range(0, _ROWS, _FRAME)]
    began = time.perf_counter()
    with _sender(platform) as sender, QuestReader(platform.settings.questdb) as reader:
        for frame in frames:
            _send(sender, table, frame)
        reader.wait_applied(table)
        for view in views:
            reader.wait_refreshed(view, 120)
    return _ROWS / (time.perf_counter() - began)


def _steady(platform: Stand, table: str) -> tuple[float, float]:
    """Time from sent to visible, ms: (p50, p99) at 10,000 rows a second."""
    latencies = []
    start_ns = time.time_ns()
    with _sender(platform) as sender, QuestReader(platform.settings.questdb) as reader:
        began = time.perf_counter()
        for step in range(_STEPS):
            time.sleep(max(0.0, began + step * _STEP_S - time.perf_counter()))
            sent = time.perf_counter()
            _send(sender, table, _frame(step * 100, 100, start_ns, 100_000))
            reader.wait_applied(table)
            latencies.append((time.perf_counter() - sent) * 1000)
    measured = latencies[_STEPS // 10 :]
    return round(float(np.percentile(measured, 50)), 1), round(float(np.percentile(measured, 99)), 1)
