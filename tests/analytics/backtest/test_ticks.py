"""Fills at quotes and trades, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from analytics.backtest.desk import Desk, FillNotice
from analytics.backtest.report import Report
from analytics.backtest.strategy import Quote, Strategy, Trade
from tapehouse.clock import SECOND
from tests.analytics.backtest.rows import START, bars, flat, quotes, ran, trades

# Seconds, bid, its size, ask, its size.
_QUOTES = [(1, 99, 10, 101, 10), (10, 99, 8, 101, 4), (20, 100, 5, 102, 20), (100, 98, 5, 99, 5)]


def _at_first(act: Callable[[Desk], object]) -> type[Strategy]:
    class Once(Strategy):
        is_done = False

        def on_quote(self, quote: Quote, desk: Desk) -> None:
            if not self.is_done:
                self.is_done = True
                act(desk)

    return Once


def _run(
    act: Callable[[Desk], object], traded: list[tuple[float, float, float, int]], **options: object
) -> Report:
    # A last quote lets what has arrived by then fill.
    frames = {"bars": bars(flat(100)), "quotes": quotes(_QUOTES), "trades": trades(traded)}
    return ran(_at_first(act), frames=frames, fills="latency", **options)


def _filled(report: Report) -> list[tuple[float, float, float, str]]:
    """Second, price, size and liquidity of each fill."""
    frame = report.fills
    seconds = [(ts - START) / SECOND for ts in frame["ts"].to_physical()]
    return list(zip(seconds, frame["price"], frame["size"], frame["liquidity"], strict=True))


@pytest.mark.parametrize(
    ("act", "latency", "fills"),
    [
        (lambda desk: desk.buy("A", 3), "0s", [(1, 101, 3, "taker")]),
        (lambda desk: desk.sell("A", 3), "0s", [(1, 99, 3, "taker")]),
        # It arrives at the third second, and takes what the first quote shows.
        (lambda desk: desk.buy("A", 3), "2s", [(3, 101, 3, "taker")]),
        # At the 22nd the third quote is in force.
        (lambda desk: desk.buy("A", 3), "21s", [(22, 102, 3, "taker")]),
        # What is left takes from the next quotes.
        (lambda desk: desk.buy("A", 16), "0s", [(1, 101, 10, "taker"), (10, 101, 4, "taker"), (20, 102, 2, "taker")]),
        (lambda desk: desk.buy("A", 16, lifetime="ioc"), "0s", [(1, 101, 10, "taker")]),
        (lambda desk: desk.buy("A", 16, lifetime="fok"), "0s", []),
        (lambda desk: desk.buy("A", 10, lifetime="fok"), "0s", [(1, 101, 10, "taker")]),
        (lambda desk: desk.buy("A", 3, limit=101), "0s", [(1, 101, 3, "taker")]),
        (lambda desk: desk.buy("A", 3, limit=101, post_only=True), "0s", []),
        # A quote across its price fills a limit that rests.
        (lambda desk: desk.buy("A", 3, limit=99), "0s", [(100, 99, 3, "maker")]),
        (lambda desk: desk.buy("A", 3, limit=97), "0s", []),
        (lambda desk: desk.sell("A", 3, limit=99.5), "30s", [(31, 100, 3, "taker")]),
        # Two orders that arrive together do not take the same size twice.
        (lambda desk: [desk.buy("A", 8, lifetime="ioc"), desk.buy("A", 8, lifetime="ioc")], "0s",
         [(1, 101, 8, "taker"), (1, 101, 2, "taker")]),
        # The cancellation arrives after the order, and finds it filled.
        (lambda desk: desk.cancel(desk.buy("A", 1)), "1s", [(2, 101, 1, "taker")]),
        (lambda desk: desk.cancel(desk.buy("A", 1, limit=99)), "1s", []),
    ],
)  # fmt: skip
def test_an_order_meets_the_quote_in_force_when_it_arrives(
    act: Callable[[Desk], object], latency: str, fills: list[tuple[float, float, float, str]]
) -> None:
    assert _filled(_run(act, [], latency=latency)) == fills


@pytest.mark.parametrize(
    ("traded", "fills"),
    [
        # 10 are before it at 99; 8 trade, 2 are left before it, and a quote of 8 does not change that.
        ([(5, 99, 8, -1), (12, 99, 4, -1)], [(12, 99, 2, "maker"), (100, 99, 1, "maker")]),
        # The quote of 8 says that 2 of the 10 have gone.
        ([(12, 99, 9, -1)], [(12, 99, 1, "maker"), (100, 99, 2, "maker")]),
        # A buyer takes from the other side.
        ([(5, 99, 50, 1)], [(100, 99, 3, "maker")]),
        # Through its price nothing is left before it.
        ([(5, 98.5, 1, -1)], [(5, 99, 3, "maker")]),
    ],
)
def test_a_limit_waits_for_those_before_it(
    traded: list[tuple[float, float, float, int]], fills: list[tuple[float, float, float, str]]
) -> None:
    assert _filled(_run(lambda desk: desk.buy("A", 3, limit=99), traded)) == fills


def test_a_limit_inside_the_spread_is_first() -> None:
    report = _run(lambda desk: desk.buy("A", 3, limit=100), [(5, 100, 2, -1)])
    assert _filled(report) == [(5, 100, 2, "maker"), (100, 100, 1, "maker")]


def test_a_stop_takes_once_a_trade_reaches_it() -> None:
    report = _run(lambda desk: desk.buy("A", 2, stop=101), [(4, 100, 1, 1), (5, 101, 1, 1)])
    assert _filled(report) == [(5, 101, 2, "taker")]


def test_a_stale_quote_fills_nothing() -> None:
    report = _run(lambda desk: desk.buy("A", 1), [], latency="70s", max_age_s=40)
    assert _filled(report) == []
    assert report.outcome.orders[0].reason == "stale price: the quote is 51 s old, at most 40"
    assert _filled(_run(lambda desk: desk.buy("A", 1), [], latency="70s", max_age_s=51))


def test_without_quotes_the_next_trades_fill_what_takes() -> None:
    class Buys(Strategy):
        def on_trade(self, trade: Trade, desk: Desk) -> None:
            if not desk.orders:
                desk.buy("A", 5)
                desk.buy("A", 1, limit=98)

    traded = trades([(1, 100, 9, 1), (2, 101, 3, 1), (3, 102, 9, -1), (4, 98, 9, -1), (5, 97, 1, -1)])
    frames = {"bars": bars(flat(100)), "quotes": quotes([]), "trades": traded}
    assert _filled(ran(Buys, frames=frames, fills="latency")) == [
        (2, 101, 3, "taker"), (3, 102, 2, "taker"), (5, 98, 1, "maker"),
    ]  # fmt: skip


class _Records(Strategy):
    """What it is told, in seconds of the run's clock."""

    def on_start(self, desk: Desk) -> None:
        self.seen: list[tuple[str, float]] = []
        desk.timer(START + 2 * SECOND)
        desk.timer(START + SECOND)

    def on_trade(self, trade: Trade, desk: Desk) -> None:
        self._note("trade", desk)
        if len(desk.orders) < 1:
            desk.buy("A", 1)

    def on_quote(self, quote: Quote, desk: Desk) -> None:
        self._note("quote", desk)

    def on_fill(self, fill: FillNotice, desk: Desk) -> None:
        self._note("fill", desk)

    def on_timer(self, ts: int, desk: Desk) -> None:
        self._note("timer", desk)

    def _note(self, what: str, desk: Desk) -> None:
        self.seen.append((what, (desk.now - START) / SECOND))


def _told(clock: str, late: float, latency: str = "0s") -> list[tuple[str, float]]:
    strategy = _Records()
    frames = {
        "bars": bars(flat(100)),
        "quotes": quotes([(1, 99, 1, 101, 1), (6, 99, 1, 101, 1)]),
        "trades": trades([(1, 100, 1, 1), (5, 100, 1, 1)], late),
    }
    ran(strategy, frames=frames, fills="latency", clock=clock, latency=latency)
    return strategy.seen


def test_the_clock_of_the_run_says_when_a_row_is_known() -> None:
    assert _told("event", 3) == [
        ("timer", 1), ("quote", 1), ("trade", 1), ("timer", 2), ("fill", 5), ("trade", 5), ("quote", 6),
    ]  # fmt: skip
    assert _told("recv", 3) == [
        ("timer", 1), ("quote", 1), ("timer", 2), ("trade", 4), ("fill", 6), ("quote", 6), ("trade", 8),
    ]  # fmt: skip


def test_recorded_latency_is_what_the_newest_row_took() -> None:
    report = ran(
        _Records,
        frames={
            "bars": bars(flat(100)),
            "quotes": quotes([(0.5, 99, 1, 101, 1), (9, 99, 1, 101, 1)]),
            "trades": trades([(1, 100, 1, 1)], 3),
        },
        fills="latency", clock="recv", latency="recorded",
    )  # fmt: skip
    assert report.fills["ts"].to_physical().to_list() == [START + 7 * SECOND]


def test_a_bar_does_not_change_recorded_latency() -> None:
    class Buys(Strategy):
        def on_bar(self, bar: object, desk: Desk) -> None:
            desk.buy("A", 1)

    frames = {
        "bars": bars(flat(100)),
        "quotes": quotes([(1, 99, 1, 101, 1), (50, 99, 1, 101, 1), (90, 99, 1, 101, 1)], 3),
        "trades": trades([]),
    }
    report = ran(Buys, frames=frames, fills="latency", clock="recv", latency="recorded")
    assert _filled(report) == [(63, 101, 1, "taker")]


def test_rows_received_after_midnight_come_after_the_rows_of_the_day_before_them() -> None:
    early, late = 86_399, 86_401
    strategy = _Records()
    frames = {
        "bars": bars(flat(100)),
        "quotes": quotes([(early, 99, 1, 101, 1), (late, 99, 1, 101, 1)]),
        "trades": trades([(early, 100, 1, 1)], 5),
    }
    ran(strategy, frames=frames, clock="recv")
    assert [what for what in strategy.seen if what[0] != "timer"] == [
        ("quote", early), ("quote", late), ("trade", early + 5),
    ]  # fmt: skip


def test_an_empty_side_of_the_book_fills_nothing() -> None:
    report = ran(
        _at_first(lambda desk: desk.buy("A", 1)),
        frames={
            "bars": bars(flat(100)),
            "quotes": quotes([(1, 99, 1, None, 0), (2, 99, 1, 101, 1)]),
            "trades": trades([]),
        },
        fills="latency",
    )
    assert _filled(report) == [(2, 101, 1, "taker")]


def test_ticks_known_at_the_venues_time_are_said_to_be_optimistic() -> None:
    assert any("Optimistic" in note for note in _run(lambda _: None, []).document["notes"])
    assert not _run(lambda _: None, [], clock="recv").document["notes"]


def test_two_symbols_come_in_order_of_time() -> None:
    class Sees(Strategy):
        seen: tuple[tuple[str, float], ...] = ()

        def on_bar(self, bar: object, desk: Desk) -> None:
            self.seen += ((bar.symbol, bar.close),)  # type: ignore[attr-defined]

    sees = Sees()
    both = pl.concat([bars(flat(1, 2)), bars(flat(10, 20), "B")]).sort("ts", "symbol")
    ran(sees, ("A", "B"), frames={"bars": both})
    assert sees.seen == (("A", 1), ("B", 10), ("A", 2), ("B", 20))
