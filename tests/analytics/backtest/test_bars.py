"""Fills at bars, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from analytics.backtest.desk import Desk, FillNotice
from analytics.backtest.report import Report
from analytics.backtest.strategy import Bar, Strategy
from tapehouse.clock import DAY, MINUTE
from tests.analytics.backtest.rows import START, bars, flat, ran


def _at_first(act: Callable[[Desk], object]) -> Strategy:
    """Acts once, when the first bar has ended."""

    class Once(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            if bar.ts == START:
                act(desk)

    return Once()


def _filled(report: Report) -> list[tuple[int, float, float, str]]:
    """Minute, price, size and liquidity of each fill."""
    frame = report.fills
    minutes = [(ts - START) // MINUTE for ts in frame["ts"].to_physical()]
    return list(zip(minutes, frame["price"], frame["size"], frame["liquidity"], strict=True))


_RISING = [(100, 101, 99, 100), (102, 106, 101, 105), (105, 107, 96, 97), (97, 98, 90, 91)]


@pytest.mark.parametrize(
    ("act", "fills"),
    [
        # The close of the first bar is 100; the next open is 102.
        (lambda desk: desk.buy("A", 2), [(1, 102, 2, "taker")]),
        (lambda desk: desk.sell("A", 2), [(1, 102, 2, "taker")]),
        # It is better than its limit when it arrives.
        (lambda desk: desk.buy("A", 1, limit=103), [(1, 102, 1, "taker")]),
        (lambda desk: desk.sell("A", 1, limit=101.5), [(1, 102, 1, "taker")]),
        # It rests until the price goes through it; a touch is not enough: 101 is the low of the second bar.
        (lambda desk: desk.buy("A", 1, limit=101), [(2, 101, 1, "maker")]),
        (lambda desk: desk.sell("A", 1, limit=106), [(2, 106, 1, "maker")]),
        (lambda desk: desk.buy("A", 1, limit=50), []),
        # A gap beyond a limit that rests fills it at its price: the last bar opens at 97.
        (lambda desk: desk.buy("A", 1, limit=96.5), [(2, 96.5, 1, "maker")]),
        # Stops: within a bar at their price, beyond it at the open.
        (lambda desk: desk.buy("A", 1, stop=104), [(1, 104, 1, "taker")]),
        (lambda desk: desk.buy("A", 1, stop=101), [(1, 102, 1, "taker")]),
        (lambda desk: desk.sell("A", 1, stop=98), [(2, 98, 1, "taker")]),
        # A stop-limit within a bar waits for the next bar.
        (lambda desk: desk.buy("A", 1, stop=104, limit=105), [(2, 105, 1, "taker")]),
        (lambda desk: desk.buy("A", 1, limit=103, post_only=True), []),
        (lambda desk: desk.buy("A", 1, limit=101, post_only=True), [(2, 101, 1, "maker")]),
        (lambda desk: desk.buy("A", 1, limit=101, lifetime="ioc"), []),
        (lambda desk: desk.buy("A", 1, limit=103, lifetime="ioc"), [(1, 102, 1, "taker")]),
        (lambda desk: desk.buy("A", 1_500, lifetime="fok"), []),
        (lambda desk: desk.buy("A", 1_500, lifetime="ioc"), [(1, 102, 1_000, "taker")]),
        # More than the bar's volume goes on with the next bar.
        (lambda desk: desk.buy("A", 1_500), [(1, 102, 1_000, "taker"), (2, 105, 500, "taker")]),
        (lambda desk: desk.cancel(desk.buy("A", 1)), []),
        (
            lambda desk: desk.replace(desk.buy("A", 3, limit=50), size=1, limit=101),
            [(2, 101, 1, "maker")],
        ),
    ],
)  # fmt: skip
def test_an_order_fills_where_the_bars_say(
    act: Callable[[Desk], object], fills: list[tuple[int, float, float, str]]
) -> None:
    report = ran(_at_first(act), frames={"bars": bars(_RISING)}, capital="1000000")
    assert _filled(report) == fills


def test_the_close_that_an_order_was_made_from_is_filled_only_when_asked_for_and_said_to_be_optimistic() -> (
    None
):
    report = ran(_at_first(lambda desk: desk.buy("A", 2)), frames={"bars": bars(_RISING)}, fills="same_close")
    assert _filled(report) == [(1, 100, 2, "taker")]
    assert report.document["notes"][0].startswith("Optimistic")
    assert not ran(_at_first(lambda desk: None), frames={"bars": bars(_RISING)}).document["notes"]


def test_a_span_without_bars_is_a_run_without_events() -> None:
    report = ran(_at_first(lambda desk: None), frames={"bars": bars(flat(100)).clear()}, check_causality=True)
    assert report.figures["events"] == report.days.height == report.fills.height == 0
    assert report.figures["final_equity"] == "100000"
    assert report.figures["exposure"] is None


def test_a_fill_that_brings_a_fill_at_once_ends() -> None:
    class Chases(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            desk.buy("A", 1)

        def on_fill(self, fill: FillNotice, desk: Desk) -> None:
            desk.buy("A", 1)

    report = ran(Chases, frames={"bars": bars(flat(100, 100, 100))}, fills="same_close")
    # One a bar, and one for each fill that was told: of the bar before.
    assert report.fills["ts"].to_physical().to_list() == [START + MINUTE * at for at in (1, 2, 2, 3, 3, 3)]


def test_an_order_on_its_way_to_be_cancelled_counts_to_the_position() -> None:
    def act(desk: Desk) -> None:
        desk.cancel(desk.buy("A", 2, limit=50))
        desk.buy("A", 2)

    for latency, statuses in (("0s", ["cancelled", "filled"]), ("1s", ["cancelled", "refused"])):
        report = ran(_at_first(act), frames={"bars": bars(_RISING)}, limits={"position": 3}, latency=latency)
        assert [order.status for order in report.outcome.orders] == statuses


def test_the_last_bar_of_a_day_is_of_that_day_also_with_grace() -> None:
    class Idle(Strategy):
        pass

    last = bars(flat(100), first=START + DAY - MINUTE)
    report = ran(Idle, frames={"bars": pl.concat([last, bars(flat(101), first=START + DAY)])}, grace_s=5)
    assert report.days["day"].to_list() == [date(2024, 1, 2), date(2024, 1, 3)]


def test_a_close_that_is_too_old_fills_nothing() -> None:
    class Buys(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            if bar.symbol == "B":
                desk.buy("A", 1)

    both = pl.concat([bars(flat(100)), bars(flat(50, 50, 50), "B")]).sort("ts", "symbol")
    report = ran(Buys, ("A", "B"), frames={"bars": both}, fills="same_close", max_age_s=60)
    assert [order.status for order in report.outcome.orders] == ["filled", "filled", "refused"]
    assert report.outcome.orders[2].reason == "stale price: the close is 120 s old, at most 60"


def test_grace_and_latency_cost_a_bar_whose_open_was_before_the_order() -> None:
    for options in ({"grace_s": 1}, {"latency": "1ms"}):
        report = ran(_at_first(lambda desk: desk.buy("A", 1)), frames={"bars": bars(_RISING)}, **options)
        assert _filled(report) == [(2, 105, 1, "taker")]


def test_slippage_and_participation() -> None:
    report = ran(
        _at_first(lambda desk: desk.buy("A", 150)),
        frames={"bars": bars(_RISING)},
        slippage="0.001",
        participation="0.1",
        tick="0.01",
    )
    # 102 and 0.102, and 105 and 0.105, rounded up to the tick.
    assert _filled(report) == [(1, 102.11, 100, "taker"), (2, 105.11, 50, "taker")]
    assert report.figures["slippage"] == "16.5"


def test_a_limit_is_never_passed_by_slippage() -> None:
    report = ran(
        _at_first(lambda desk: desk.buy("A", 1, limit=102)), frames={"bars": bars(_RISING)}, slippage="0.01"
    )
    assert _filled(report) == [(1, 102, 1, "taker")]


def test_in_one_bar_the_stop_comes_before_the_limit() -> None:
    def act(desk: Desk) -> None:
        desk.sell("A", 1, limit=103)
        desk.sell("A", 1, stop=97)

    report = ran(_at_first(act), frames={"bars": bars([*flat(100), (100, 104, 96, 100)])})
    assert _filled(report) == [(1, 97, 1, "taker"), (1, 103, 1, "maker")]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"size": 1}, "size: at most 1 an order, was 2"),
        ({"position": 3}, "position: at most 3, would be 4"),
        ({"notional": 250}, "notional: at most 250, would be 400"),
        ({"rate": 1}, "rate: at most 1 orders a second"),
    ],
)
def test_a_refused_order_has_its_reason(limit: dict[str, float], reason: str) -> None:
    def act(desk: Desk) -> None:
        desk.buy("A", 1)
        desk.buy("A", 1)
        desk.buy("A", 2)

    made = ran(_at_first(act), frames={"bars": bars(flat(100, 100, 100))}, limits=limit)
    reasons = [order.reason for order in made.outcome.orders if order.status == "refused"]
    assert reason in reasons
    assert any(note.startswith("Refused") for note in made.document["notes"])


def test_after_the_greatest_loss_only_orders_that_reduce_pass() -> None:
    class Losing(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            at = (bar.ts - START) // MINUTE
            if at in (0, 2):
                desk.buy("A", 1)
            if at == 3:
                desk.sell("A", 1)

    made = ran(Losing, frames={"bars": bars(flat(100, 100, 80, 80, 80))}, limits={"loss": 10})
    assert [order.status for order in made.outcome.orders] == ["filled", "refused", "filled"]
    assert made.outcome.orders[1].reason == "loss: at most 10, is 20"


def test_a_round_trip_by_hand() -> None:
    class Trip(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            desk.target("A", {0: 10.0, 1: 10.0}.get((bar.ts - START) // MINUTE, 0.0))

    made = ran(Trip, frames={"bars": bars(flat(100, 101, 103, 104))}, taker="0.001", capital="10000")
    # 10 bought at 101, sold at 104; fees 1.01 and 1.04.
    assert made.figures["final_equity"] == "10027.95"
    assert made.figures["profit"] == "27.95"
    assert made.figures["fees"] == "2.05"
    assert made.figures["traded"] == "2050"
    assert made.figures["hit_rate"] == 1.0
    assert made.equity["equity"].to_list() == [10_000, 9_998.99, 10_018.99, 10_027.95]
    assert made.equity["gross"].to_list() == [0, 1010, 1030, 0]
    assert made.figures["max_drawdown"] == pytest.approx(1.01 / 10_000)
    assert made.symbols.row(0, named=True) == {
        "venue": "V", "symbol": "A", "fills": 2, "traded": 2050.0, "realised": 30.0, "hit_rate": 1.0,
        "fee": 2.05, "slippage": 0.0,
    }  # fmt: skip


def test_days_add_up_to_the_run() -> None:
    class Turns(Strategy):
        def on_bar(self, bar: Bar, desk: Desk) -> None:
            desk.target("A", len(desk.bars("A", 10)) % 2)

    # The last order is filled at midnight, of a day that has no bars.
    prices = bars(flat(100, 103, 101, 104), step=DAY // 2)
    report = ran(Turns, frames={"bars": prices}, interval="12h", fills="same_close", taker="0.001")
    days = report.days
    assert days["day"].to_list() == [date(2024, 1, at) for at in (2, 3, 4)]
    assert days["fills"].to_list() == [1, 2, 1]
    assert days["profit"].sum() == pytest.approx(float(report.figures["profit"]), abs=1e-9)
    assert days["fee"].sum() == pytest.approx(float(report.figures["fees"]))
    assert days["equity"][-1] == float(report.figures["final_equity"])
    assert report.figures["calmar"] is not None
