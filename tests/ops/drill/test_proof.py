"""The proof of a drill: it sees each row that is missing, too many or other, and each wrong bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import pytest

from ingest.writer.store import QuestDBWriter
from ops.drill.proof import Verdict, count_different_bars, rebuild_bars, verify_rows
from ops.drill.source import ExpectedRows
from ops.drill.ticks import expected_rows, generate_ticks
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.clock import DAY
from tapehouse.model import TRADES
from tapehouse.settings import QuestDB
from tests.conftest import Platform

ROWS = 500
Store = Callable[[pl.DataFrame], None]


@pytest.fixture
def questdb(provisioned: Platform) -> QuestDB:
    return provisioned.settings.questdb


@pytest.fixture
def store(provisioned: Platform) -> Iterator[Store]:
    """Puts rows into QuestDB as the writer does."""
    hot = QuestDBWriter(provisioned.settings.questdb)
    yield lambda rows: _expect_none(hot.commit([_batch(rows)]))
    hot.close()


@pytest.fixture
def rows(venue: str) -> pl.DataFrame:
    return expected_rows(generate_ticks(3, ROWS, 19_000 * DAY), venue)


def _expect_none(refused: list[object]) -> None:
    assert not refused


def _batch(rows: pl.DataFrame) -> Batch:
    columns: dict[str, ColumnData] = {}
    for column in TRADES.columns:
        data = rows[column.name]
        if column.name == "venue":
            continue
        if data.dtype == pl.String:
            columns[column.name] = Strings.of(data.to_list())
        else:
            numbers = data.cast(pl.Int64) if column.type == "time" else data
            columns[column.name] = np.array(numbers.to_numpy(), column.types.numpy)
    return Batch(TRADES, rows["venue"][0], rows.height, columns)


def _all(rows: pl.DataFrame) -> ExpectedRows:
    return ExpectedRows(rows, rows.clear())


def test_rows_and_bars_that_are_the_sources_are_good(
    questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame
) -> None:
    store(rows)
    found = verify_rows(questdb, venue, _all(rows))
    assert found == Verdict(ROWS, 0, 0, 0)
    assert found.good


def test_missing_rows_are_lost(questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame) -> None:
    store(rows[3:])
    found = verify_rows(questdb, venue, _all(rows))
    # Bars of what is stored: they are right, for what is missing is told already.
    assert found == Verdict(ROWS, 3, 0, 0)
    assert not found.good


def test_nothing_stored_is_all_lost(questdb: QuestDB, venue: str, rows: pl.DataFrame) -> None:
    assert verify_rows(questdb, venue, _all(rows)) == Verdict(ROWS, ROWS, 0, 0)


def test_a_row_under_another_number_is_doubled_and_its_bars_are_wrong(
    questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame
) -> None:
    store(rows)
    store(rows[:1].with_columns(seq=pl.col("seq") + 1_000_000_000))
    assert verify_rows(questdb, venue, _all(rows)) == Verdict(ROWS, 0, 1, 2)


def test_a_row_with_another_value_is_lost_and_doubled(
    questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame
) -> None:
    store(rows)
    store(rows[:1].with_columns(exchange=pl.lit("other")))
    assert verify_rows(questdb, venue, _all(rows)) == Verdict(ROWS, 1, 1, 2)


@pytest.mark.parametrize(
    "other", [{"symbol": pl.lit("D99")}, {"ts_event": pl.col("ts_event").dt.offset_by("90d")}]
)
def test_a_row_of_another_symbol_or_day_is_doubled(
    questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame, other: dict[str, pl.Expr]
) -> None:
    store(rows)
    store(rows[:1].with_columns(**other))
    found = verify_rows(questdb, venue, _all(rows))
    assert (found.lost, found.doubled) == (0, 1)


def test_what_was_under_way_may_be_there_or_not(
    questdb: QuestDB, store: Store, venue: str, rows: pl.DataFrame
) -> None:
    store(rows[:450])
    assert verify_rows(questdb, venue, ExpectedRows(rows[:400], rows[400:])) == Verdict(400, 0, 0, 0)


def test_bars_may_differ_in_sums_by_a_rounding_and_in_nothing_else(rows: pl.DataFrame) -> None:
    bars = rebuild_bars(rows, "1m")
    assert count_different_bars(bars, bars) == 0
    assert count_different_bars(bars.with_columns(turnover=pl.col("turnover") * (1 + 1e-12)), bars) == 0
    assert (
        count_different_bars(bars.with_columns(turnover=pl.col("turnover") * (1 + 1e-8)), bars) == bars.height
    )
    assert count_different_bars(bars.with_columns(high=pl.col("high") * (1 + 1e-12)), bars) == bars.height
    assert count_different_bars(bars[1:], bars) == 1
    assert count_different_bars(bars, bars[1:]) == 1
