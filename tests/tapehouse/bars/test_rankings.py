"""Rankings over rolling windows, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from tapehouse.bars.engine import BarEngine
from tapehouse.bars.rankings import RANKING_ROW, merge_rankings, rank_symbols, select_leaders
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, MINUTE, SECOND, parse_ns
from tapehouse.model import TRADES

_NOON = parse_ns("2024-08-08T12:00:00Z")
_NAN = float("nan")


def _bars(rows: Sequence[tuple[str, int, float, float]]) -> BarEngine:
    """An engine with trades of (symbol, ts, price, size), in this order."""
    bars = BarEngine(8)
    for seq, (symbol, ts, price, size) in enumerate(rows, 1):
        columns: dict[str, Any] = {
            "ts_event": np.array([ts]),
            "ts_recv": np.array([ts]),
            "symbol": Strings.constant(symbol, 1),
            "seq": np.array([seq]),
            "price": np.array([price]),
            "size": np.array([size]),
            "side": np.zeros(1, np.int8),
            "flags": np.zeros(1, np.int16),
        }
        while not bars.apply(Batch(TRADES, "V", 1, columns)):
            bars.take_changes()
    return bars


def _ranked(bars: BarEngine, window: str) -> dict[str, tuple[float, float, float]]:
    rows = rank_symbols(bars, 100)[window]
    return {bars.names[row["key"]][1]: (row["change"], row["volatility"], row["turnover"]) for row in rows}


def _near(*expected: float) -> Any:
    return pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("window", "step", "count"), [("1h", MINUTE, 60), ("24h", 15 * MINUTE, 96), ("7d", HOUR, 168)]
)
def test_a_window_begins_at_a_whole_bar_and_compares_with_the_last_close_before_it(
    window: str, step: int, count: int
) -> None:
    begins = _NOON - (count - 1) * step
    rows = [
        ("S", begins - 2 * step, 50.0, 1.0),
        ("S", begins - 1, 80.0, 9.0),  # the last before
        ("S", begins, 100.0, 2.0),
        ("S", begins + step, 120.0, 1.0),
        ("S", begins + step + 1, 90.0, 1.0),
        ("S", _NOON, 99.0, 3.0),
        ("S", _NOON + 1, 110.0, 1.0),
    ]
    # By hand: closes 80 | 100, 90, 110.
    change, squares = 110 / 80 - 1, log(100 / 80) ** 2 + log(90 / 100) ** 2 + log(110 / 90) ** 2
    turnover = 100 * 2 + 120 + 90 + 99 * 3 + 110
    bars = _bars(rows)
    assert _ranked(bars, window) == {"S": _near(change, sqrt(squares), turnover)}
    # The same when the clock has closed the bars.
    while not bars.finalize("V", _NOON + 2 * step):
        bars.take_changes()
    assert _ranked(bars, window) == {"S": _near(change, sqrt(squares), turnover)}


def test_without_a_trade_before_it_the_first_open_counts() -> None:
    bars = _bars([("S", _NOON - 10 * MINUTE, 100.0, 1.0), ("S", _NOON - MINUTE, 150.0, 1.0)])
    assert _ranked(bars, "1h") == {"S": _near(0.5, log(1.5), 250.0)}
    bars = _bars([("S", _NOON, 100.0, 1.0), ("S", _NOON + 20 * SECOND, 102.0, 1.0)])
    assert _ranked(bars, "1h") == {"S": _near(102 / 100 - 1, 0.0, 202.0)}


def test_a_quiet_symbol_is_measured_by_the_clock_of_its_venue() -> None:
    rows = [
        ("QUIET", _NOON - 90 * MINUTE, 10.0, 1.0),
        ("HALF", _NOON - 61 * MINUTE, 10.0, 1.0),
        ("HALF", _NOON - 30 * MINUTE, 20.0, 1.0),
        ("BUSY", _NOON, 5.0, 1.0),
    ]
    bars = _bars(rows)
    found = _ranked(bars, "1h")
    assert found == {"HALF": _near(1.0, log(2), 20.0), "BUSY": _near(0.0, 0.0, 5.0)}
    assert set(_ranked(bars, "24h")) == {"QUIET", "HALF", "BUSY"}


def test_a_price_that_is_not_above_zero_has_no_change() -> None:
    rows = [("S", _NOON - MINUTE, -5.0, 1.0), ("S", _NOON, 10.0, 1.0), ("T", _NOON, 3.0, 0.0)]
    found = _ranked(_bars(rows), "1h")
    assert found == {"S": _near(_NAN, _NAN, 5.0)}  # T has no turnover


def test_symbols_among_the_first_by_any_measure_are_ranked() -> None:
    rows = np.array(
        [
            (0, 0.5, 0.1, 10.0),  # first by change
            (1, -0.5, 0.2, 20.0),  # last by change
            (2, 0.1, 0.9, 30.0),  # first by volatility
            (3, 0.2, 0.3, 90.0),  # first by turnover
            (4, 0.0, 0.4, 40.0),
            (5, _NAN, _NAN, 50.0),
        ],
        RANKING_ROW,
    )
    assert select_leaders(rows, 1)["key"].tolist() == [0, 1, 2, 3]
    assert select_leaders(rows, 100)["key"].tolist() == [0, 1, 2, 3, 4, 5]
    assert select_leaders(rows[:0], 1)["key"].tolist() == []
    assert select_leaders(rows[5:], 1)["key"].tolist() == [5]


def test_the_rows_of_several_makers_are_ranked_together() -> None:
    one = np.array([(0, 0.5, 0.1, 10.0), (1, _NAN, 0.2, 90.0)], RANKING_ROW)
    other = np.array([(2, 0.7, 0.3, 20.0), (3, -0.1, 0.4, 30.0)], RANKING_ROW)
    assert merge_rankings([one, other], "change", 2)["key"].tolist() == [2, 0]
    assert merge_rankings([one, other], "turnover", 9)["key"].tolist() == [1, 3, 2, 0]
    assert merge_rankings([], "change", 2)["key"].tolist() == []


def test_a_day_of_many_symbols_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (f"S{rng.integers(4)}", int(ts), float(rng.integers(90, 110)), float(rng.integers(1, 5)))
        for ts in np.sort(rng.integers(_NOON - 2 * DAY, _NOON, 3_000))
    ]
    since = rows[-1][1] // (15 * MINUTE) * (15 * MINUTE) - 95 * 15 * MINUTE
    found = _ranked(_bars(rows), "24h")
    for symbol in ("S0", "S1", "S2", "S3"):
        own = [row for row in rows if row[0] == symbol]
        before = [row[2] for row in own if row[1] < since][-1]
        inside = [row for row in own if row[1] >= since]
        closes = [before, *{row[1] // (15 * MINUTE): row[2] for row in inside}.values()]
        squares = sum(log(b / a) ** 2 for a, b in pairwise(closes))
        turnover = sum(row[2] * row[3] for row in inside)
        assert found[symbol] == _near(closes[-1] / before - 1, sqrt(squares), turnover)
