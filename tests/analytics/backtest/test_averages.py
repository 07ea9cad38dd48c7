"""A strategy of two averages against whole columns of numpy, which know nothing of orders."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.backtest.desk import Desk
from analytics.backtest.strategy import Bar, Strategy
from tests.analytics.backtest.rows import bars, ran

_FAST, _SLOW, _FEE, _CAPITAL = 5, 20, 0.00075, 10_000


class _Cross(Strategy):
    def on_bar(self, bar: Bar, desk: Desk) -> None:
        closes = desk.closes("A", _SLOW)
        if len(closes) == _SLOW:
            desk.target("A", 1 if closes[-_FAST:].mean() > closes.mean() else -1)


@pytest.mark.parametrize("seed", [1, 2])
def test_trades_and_equity_are_those_of_whole_columns(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 2_000
    closes = np.round(100 + np.cumsum(random.normal(0, 0.2, count)), 2)
    opens = np.round(np.concatenate([[100], closes[:-1]]) + random.normal(0, 0.05, count), 2)
    prices = list(
        zip(opens, np.maximum(opens, closes) + 0.01, np.minimum(opens, closes) - 0.01, closes, strict=True)
    )
    report = ran(_Cross, frames={"bars": bars(prices)}, taker=str(_FEE), capital=str(_CAPITAL))

    windows = np.lib.stride_tricks.sliding_window_view(closes, _SLOW)
    wanted = np.where(windows[:, -_FAST:].mean(axis=1) > windows.mean(axis=1), 1, -1)
    # Wanted at the end of a bar, held from the next open on.
    held = np.concatenate([np.zeros(_SLOW), wanted[:-1]])
    traded = np.diff(held, prepend=0)
    cash = _CAPITAL - np.cumsum(traded * opens + np.abs(traded) * opens * _FEE)
    equity = cash + held * closes
    assert report.fills.height == np.count_nonzero(traded) > 100
    assert report.fills["price"].to_list() == opens[traded != 0].tolist()
    np.testing.assert_allclose(report.equity["equity"].to_numpy(), equity, rtol=1e-12)
    assert float(report.figures["final_equity"]) == pytest.approx(equity[-1], rel=1e-12)
