"""Cash and positions: nothing is made and nothing is lost."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from analytics.backtest.account import Account, Fees, Position
from analytics.backtest.instrument import MONEY, Grid, Series
from analytics.backtest.orders import Execution, Order

_SERIES = Series("V", "A")
_GRID = Grid(Decimal("0.05"), Decimal("0.001"))
_fills = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(1, 10**9), st.integers(-(10**6), 10**6), st.booleans()),
    max_size=40,
)


@given(_fills, st.decimals(0, "0.01", places=6), st.decimals("-0.001", "0.01", places=6))
def test_cash_and_position_are_what_the_fills_say(
    fills: list[tuple[int, int, int, bool]], taker: Decimal, maker: Decimal
) -> None:
    capital = 10**6 * MONEY
    account = Account(capital, Fees(maker, taker), {_SERIES: _GRID})
    booked = []
    for number, (side, lots, ticks, is_maker) in enumerate(fills):
        order = Order(number, _SERIES, 1 if side > 0 else -1, lots, 0, 0)
        booked.append(account.book(order, Execution(number, ticks, lots, is_maker)))
        assert order.status == "filled"
    position = account.positions[_SERIES]
    assert position.lots == sum(fill.side * fill.lots for fill in booked)
    paid = sum(fill.side * fill.lots * fill.ticks * _GRID.unit + fill.fee for fill in booked)
    assert account.cash == capital - paid
    for ticks in (7, -3):
        account.mark(_SERIES, ticks)
        assert account.equity == account.cash + position.lots * ticks * _GRID.unit
        # Profit is what was realised and what is open, less fees.
        unrealised = position.value - position.cost
        profit = sum(fill.realised - fill.fee for fill in booked) + unrealised
        assert account.equity - capital == profit


def test_profit_is_realised_by_average_cost() -> None:
    position = Position(Grid(Decimal(1), Decimal(1)))
    assert position.add(10, 100) == 0
    assert position.add(10, 110) == 0
    assert position.add(-5, 120) == 5 * (120 - 105) * MONEY
    # The rest is sold, and ten more are sold short.
    assert position.add(-25, 100) == 15 * (100 - 105) * MONEY
    assert (position.lots, position.cost) == (-10, -1000 * MONEY)
    assert position.add(10, 90) == 10 * 10 * MONEY
    assert (position.lots, position.cost) == (0, 0)


def test_fees_are_exact() -> None:
    account = Account(0, Fees(Decimal("-0.0001"), Decimal("0.00075")), {_SERIES: _GRID})
    # 2.5 units at 100.05: 250.125 of value.
    taken = account.book(Order(1, _SERIES, 1, 2500, 0, 0), Execution(0, 2001, 2500, False))
    assert taken.fee == 187_593_750_000_000_000
    made = account.book(Order(2, _SERIES, -1, 2500, 0, 0), Execution(0, 2001, 2500, True))
    assert made.fee == -25_012_500_000_000_000
    assert account.cash == -taken.fee - made.fee
