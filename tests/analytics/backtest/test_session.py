"""Backtests of a session: of what is defined there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

import tapehouse
from analytics.backtest import Strategy, Targets
from analytics.backtest.desk import Desk
from analytics.backtest.strategy import Bar
from tapehouse.client.database import Database
from tapehouse.errors import UsageError
from tests.analytics.backtest.rows import bars, flat
from tests.tapehouse.client.played import playing, stream, streaming


class Buys(Strategy):
    """Buys at each bar."""

    size = 1.0

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        desk.buy(bar.symbol, self.size)


@pytest.fixture
def db() -> Iterator[Database]:
    """A gateway that answers each query with the same three bars."""
    answer = stream(bars(flat(100, 101, 102)).with_columns(final=pl.lit(True)).to_arrow())
    with playing(streaming(answer)) as gateway, tapehouse.connect(gateway.url) as db:
        yield db


def _span(db: Database, strategy: Any, **options: Any) -> Any:
    return db.backtest(strategy, "A", "1m", "2024-01-02", "2024-01-03", **options)


def test_numbers_may_be_given_for_texts_and_the_report_is_frames(db: Database) -> None:
    report = _span(db, Buys, venue="V", capital=1_000, taker=0.001, parameters={"size": 2.0})
    assert report.fills["price"].to_list() == [101, 102]
    assert report.fills["size"].to_list() == [2, 2]
    # The last price is 102; fees are 0.202 and 0.204.
    assert report.figures["final_equity"] == "1001.594"
    assert report.document["strategy"]["sha256"]
    assert "final_equity" in repr(report)


def test_an_expression_may_be_run_too(db: Database) -> None:
    report = _span(db, Targets(pl.lit(3.0)), venue="V")
    assert report.fills["size"].to_list() == [3]


@pytest.mark.parametrize(
    ("strategy", "options", "said"),
    [
        (42, {"venue": "V"}, "strategy: expected a class derived from Strategy"),
        (Buys(), {"venue": "V"}, "strategy: expected a class derived from Strategy"),
        (Buys, {}, "venue: expected one"),
        (Buys, {"venue": "V", "leverage": 3}, "request: expected some of"),
        (Buys, {"venue": "V", "parameters": {"slow": 3}}, "no parameter 'slow'"),
    ],
)
def test_what_cannot_be_run_says_what_was_expected(
    db: Database, strategy: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        _span(db, strategy, **options)


def test_without_a_span_of_time_nothing_is_run(db: Database) -> None:
    with pytest.raises(UsageError, match="end: expected a time after 2024-01-03T00:00:00Z, was 2024-01-02"):
        db.backtest(Buys, "A", "1m", "2024-01-03", "2024-01-02", venue="V")
