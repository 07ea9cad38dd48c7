"""Random strategies on random markets: what must hold whatever happens."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.backtest.desk import Desk
from analytics.backtest.instrument import MONEY, Grid
from analytics.backtest.report import Report
from analytics.backtest.strategy import Bar, Quote, Strategy, Trade
from tests.analytics.backtest.rows import bars, quotes, ran, trades

_GRID = Grid(Decimal("0.5"), Decimal("0.1"))
_price = st.integers(180, 200).map(lambda ticks: ticks / 2)
_size = st.integers(1, 40).map(lambda lots: lots / 10)
_bar = st.lists(_price, min_size=4, max_size=4).map(
    lambda four: (four[0], max(four), min(four), four[3])
)  # fmt: skip
_order = st.fixed_dictionaries(
    {
        "side": st.sampled_from([1, -1]),
        "size": _size,
        "limit": st.none() | _price,
        "stop": st.none() | st.none() | _price,
        "lifetime": st.sampled_from(["gtc", "gtc", "ioc", "fok"]),
        "post_only": st.booleans(),
    }
)
# None does nothing; a number cancels or replaces the order that many before the newest.
_act = st.none() | _order | st.integers(1, 4) | st.integers(-4, -1)
_acts = st.lists(_act, min_size=5, max_size=30)


class _Acts(Strategy):
    """Does what a list says, one act for each row."""

    def __init__(self, acts: list[Any]) -> None:
        self._acts = list(acts)

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        self._act(desk)

    def on_trade(self, trade: Trade, desk: Desk) -> None:
        self._act(desk)

    def on_quote(self, quote: Quote, desk: Desk) -> None:
        self._act(desk)

    def _act(self, desk: Desk) -> None:
        act = self._acts.pop(0) if self._acts else None
        if isinstance(act, dict):
            more = {name: act[name] for name in ("limit", "stop", "lifetime")}
            post_only = act["post_only"] and act["limit"] is not None
            desk.order("A", act["side"] * act["size"], **more, post_only=post_only)
        elif act is not None and len(desk.orders) >= abs(act):
            order = desk.orders[len(desk.orders) + 1 - abs(act)]
            if act > 0:
                desk.cancel(order)
            else:
                desk.replace(order, size=1.5)


def _holds(report: Report, capital: int) -> None:
    """What must be true of every run."""
    outcome = report.outcome
    assert outcome.fault is None, outcome.fault
    paid = sum(fill.side * fill.ticks * fill.lots * _GRID.unit + fill.fee for fill in outcome.fills)
    assert outcome.cash == capital - paid
    orders = {order.id: order for order in outcome.orders}
    filled = dict.fromkeys(orders, 0)
    for fill in outcome.fills:
        order = orders[fill.order]
        filled[order.id] += fill.lots
        assert fill.lots > 0
        assert fill.ts >= order.made
        assert order.limit is None or (order.limit - fill.ticks) * order.side >= 0
        assert not (order.post_only and not fill.maker)
    for order in orders.values():
        assert filled[order.id] == order.filled <= order.lots
        assert (order.filled == order.lots) == (order.status == "filled")
        assert order.lifetime != "fok" or order.filled in (0, order.lots)
        assert order.filled == 0 or order.status != "refused"
        assert bool(order.reason) == (order.status in ("refused", "cancelled"))
    position = sum(fill.side * fill.lots for fill in outcome.fills)
    profit = sum(fill.realised - fill.fee for fill in outcome.fills)
    if position == 0 and outcome.fills:
        assert outcome.cash - capital == profit


_options = st.fixed_dictionaries(
    {
        "slippage": st.sampled_from(["0", "0.003"]),
        "participation": st.sampled_from(["1", "0.3"]),
        "maker": st.sampled_from(["0", "-0.0001"]),
        "taker": st.sampled_from(["0", "0.00075"]),
        "latency": st.sampled_from(["0s", "3s", "1s..90s"]),
    }
)


# An example is a whole run.
_few = settings(max_examples=60)


@pytest.mark.parametrize("fills", ["next_open", "same_close"])
@given(st.lists(_bar, min_size=2, max_size=20), _acts, _options)
@_few
def test_at_bars(
    fills: str, prices: list[tuple[float, float, float, float]], acts: list[Any], options: dict[str, str]
) -> None:
    frames = {"bars": bars(prices, volume=5), "trades": trades([]), "quotes": quotes([])}
    report = ran(_Acts(acts), frames=frames, fills=fills, capital="1000", tick="0.5", lot="0.1", **options)
    _holds(report, 1000 * MONEY)


_quote = st.tuples(_price, _size, st.integers(0, 4), _size)


@given(
    st.lists(st.tuples(st.booleans(), _quote, st.sampled_from([1, -1, 0])), min_size=2, max_size=40),
    _acts, _options, st.booleans(),
)  # fmt: skip
@_few
def test_at_quotes_and_trades(
    rows: list[tuple[bool, Any, int]], acts: list[Any], options: dict[str, str], has_quotes: bool
) -> None:
    quoted, traded = [], []
    for second, (is_quote, (price, size, wide, other), side) in enumerate(rows):
        if is_quote and has_quotes:
            quoted.append((second, price, size, price + wide / 2, other))
        else:
            traded.append((second, price, size, side))
    frames: dict[str, pl.DataFrame] = {
        "bars": bars([(95, 95, 95, 95)]), "quotes": quotes(quoted), "trades": trades(traded),
    }  # fmt: skip
    report = ran(
        _Acts(acts), frames=frames, fills="latency", capital="1000", tick="0.5", lot="0.1", **options
    )
    _holds(report, 1000 * MONEY)
