"""Files of ticks made up from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ingest.numbering import number_by_time
from ops.drill.ticks import expected_rows, generate_ticks, write_parquet
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY
from tapehouse.model import TRADES

ROWS = 20_000
FIRST = 18_000 * DAY


@pytest.fixture(scope="module")
def made() -> pl.DataFrame:
    return generate_ticks(1, ROWS, FIRST)


def test_a_seed_gives_the_same_file(made: pl.DataFrame) -> None:
    assert made.equals(generate_ticks(1, ROWS, FIRST))
    assert not made.equals(generate_ticks(2, ROWS, FIRST))


def test_it_has_what_real_ticks_have(made: pl.DataFrame) -> None:
    assert made.height == ROWS
    times = made["ts"].cast(pl.Int64)
    assert made["symbol"].n_unique() == 8
    assert (times // DAY).unique().sort().to_list() == [FIRST // DAY + day for day in range(3)]
    steps = times.diff()
    assert (steps == 0).sum() > 0.2 * ROWS  # ties
    assert 0 < (steps < 0).sum() < 0.02 * ROWS  # late rows
    assert made.is_duplicated().sum() > 0.01 * ROWS


def test_its_rows_are_numbered_as_the_product_numbers_them(made: pl.DataFrame) -> None:
    expected = expected_rows(made, "V")
    ordered = made.sort("ts", maintain_order=True)
    times = ordered["ts"].cast(pl.Int64).to_numpy()
    batch = Batch(TRADES, "V", ROWS, {"ts_event": times, "symbol": Strings.of(ordered["symbol"].to_list())})
    assert np.array_equal(number_by_time(batch, {}).array("seq"), expected["seq"].to_numpy())
    assert expected.columns == list(TRADES.names)
    assert expected.unique(TRADES.key).height == ROWS


def test_a_file_of_them_holds_them(made: pl.DataFrame, tmp_path: Path) -> None:
    assert pl.read_parquet(write_parquet(made, tmp_path / "ticks.parquet")).equals(made)
