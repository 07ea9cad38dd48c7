"""No look-ahead: what would profit from tomorrow is refused, and what does not is not."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from analytics.backtest.desk import Desk
from analytics.backtest.run import LookAheadError
from analytics.backtest.strategy import Bar, Strategy
from analytics.backtest.targets import Compiled, Targets
from tapehouse.bars.state import BAR
from tapehouse.clock import INTERVALS
from tapehouse.features.candle import compute
from tests.analytics.backtest.rows import bars, flat, ran

_WALK = 100 + np.cumsum(np.random.default_rng(5).choice([-1.0, 1.0], 300))
_BARS = {"bars": bars(flat(*_WALK))}
_UP = pl.col("close").diff() > 0


def test_an_expression_that_sees_tomorrow_profits_and_is_refused() -> None:
    # Of flat bars the fill at the next open has the next close: tomorrow is two bars on.
    sees = Targets((pl.col("close").shift(-2) > pl.col("close").shift(-1)).cast(pl.Float64))
    profit = float(ran(sees, frames=_BARS).figures["profit"])
    honest = float(ran(Targets(_UP.cast(pl.Float64)), frames=_BARS).figures["profit"])
    assert profit > max(50, 3 * honest)
    with pytest.raises(LookAheadError, match="looks ahead"):
        ran(sees, frames=_BARS, check_causality=True)


def test_an_expression_that_uses_the_whole_run_is_refused() -> None:
    above = Targets((pl.col("close") > pl.col("close").mean()).cast(pl.Float64))
    with pytest.raises(LookAheadError):
        ran(above, frames=_BARS, check_causality=True)


def test_an_expression_that_looks_back_passes() -> None:
    trend = Targets((pl.col("close").rolling_mean(3) > pl.col("close").rolling_mean(9)).cast(pl.Float64))
    report = ran(trend, frames=_BARS, check_causality=True)
    assert len(report.document["causality"]["moments"]) == 10
    assert report.figures["fills"] > 20


class _Remembers(Strategy):
    """Keeps what it has seen from one run to the next, and so knows what comes."""

    closes: ClassVar[list[float]] = []

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        at = len(desk.bars("A", 10_000))
        known = self.closes[at + 1 : at + 3]
        desk.target("A", 1.0 if len(known) == 2 and known[1] > known[0] else 0.0)
        if at > len(self.closes):
            self.closes.append(bar.close)


class _Guesses(Strategy):
    """Draws without a seed."""

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        desk.target("A", float(np.random.default_rng().integers(2)))


@pytest.mark.parametrize("strategy", [_Remembers, _Guesses])
def test_a_class_whose_answer_moves_is_refused(strategy: type[Strategy]) -> None:
    with pytest.raises(LookAheadError):
        ran(strategy, frames=_BARS, check_causality=True)


class _Follows(Strategy):
    def on_bar(self, bar: Bar, desk: Desk) -> None:
        closes = desk.closes("A", 2)
        desk.target("A", 1.0 if len(closes) == 2 and closes[1] > closes[0] else 0.0)


def _follows(bar: Any, state: Any) -> float:
    """As `_Follows`, for numba; the state is the close before."""
    before = state[0]
    state[0] = bar.close
    return 1.0 if before and bar.close > before else 0.0


def test_all_forms_of_one_strategy_make_the_same_fills() -> None:
    made = ran(_Follows, frames=_BARS, check_causality=True)
    same = ran(Targets(_UP.cast(pl.Float64).fill_null(0)), frames=_BARS)
    assert made.fills.height > 50
    assert made.document["fills"] == same.document["fills"]
    assert made.figures["final_equity"] == same.figures["final_equity"]
    compiled = ran(Compiled(_follows, size=1), frames=_BARS, check_causality=True)
    assert compiled.document["fills"] == made.document["fills"]


def test_an_expression_has_the_features_of_candles() -> None:
    low = pl.col("rsi_14") < 40
    named = ran(Targets(pl.when(low).then(1.0).otherwise(0.0)), frames=_BARS, check_causality=True)
    rows = np.zeros(_BARS["bars"].height, BAR)
    for name in _BARS["bars"].columns:
        if name in (BAR.names or ()):
            rows[name] = _BARS["bars"][name].to_physical().to_numpy()
    rsi = compute(rows, INTERVALS["1m"])["rsi_14"]
    wanted = np.where(np.isnan(rsi), 0, rsi < 40)[:-1]
    traded = np.flatnonzero(np.diff(wanted.astype(int), prepend=0))
    assert len(traded) > 10
    starts = _BARS["bars"]["ts"].to_physical().to_numpy()
    assert named.fills["ts"].to_physical().to_list() == starts[traded + 1].tolist()


def test_each_symbol_has_a_state_of_its_own() -> None:
    both = pl.concat([_BARS["bars"], bars(flat(*_WALK[::-1]), "B")]).sort("ts", "symbol")
    report = ran(Compiled(_follows), ("A", "B"), frames={"bars": both})
    of_a = ran(Compiled(_follows), frames=_BARS).fills.drop("order")
    assert report.fills.filter(pl.col("symbol") == "A").drop("order").equals(of_a)
    targets = ran(Targets(_UP.cast(pl.Float64).fill_null(0)), ("A", "B"), frames={"bars": both})
    assert targets.fills.equals(report.fills)
