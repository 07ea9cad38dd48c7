"""Every store's candles of accounts are those of its rows to the last digit, however a span is cut."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.candles import PARTS, merge_candles, whole_candles
from gateway.query import Query
from gateway.stores import candle_rows
from gateway.stores.contract import Store
from tapehouse.batch import Batch
from tapehouse.clock import DAY, HOUR, INTERVALS, MAX_TS, MINUTE, NAMES, interval_named, parse_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import ACCOUNT_TRADES
from tests.batches import DECIMAL_MAX, batch, decimals
from tests.gateway import oracle
from tests.gateway.stores.stored_rows import Stores

START = parse_ns("2024-02-28T22:00:00Z")
ACCOUNT = secrets.randbits(50)
FEW = settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)


def asked(interval: str, accounts: Sequence[int]) -> Query:
    return Query("account_candles", "", tuple(map(str, accounts)), 0, MAX_TS, interval)


def trades(account: int, rows: Sequence[tuple[int, int, int, int]]) -> Batch:
    """Trades of an account: ns after START, id, amount and size in units of the last digit."""
    times, ids, amounts, sizes = zip(*rows, strict=True)
    made = batch(ACCOUNT_TRADES, len(rows), len(rows), venue="")
    columns: dict[str, Any] = {
        "ts_event": START + np.array(times, np.int64),
        "account_id": np.full(len(rows), account, np.int64),
        "id": np.array(ids, np.int64),
        "amount": decimals(list(amounts)),
        "trx_amount": decimals(list(sizes)),
    }
    return replace(made, columns={**made.columns, **columns})


def told(candles: pa.RecordBatch) -> list[oracle.Candle]:
    """A store's candles as those of the oracle."""
    assert candles.schema == PARTS
    columns = [candles.column("ts").cast(pa.int64()), *candles.columns[1:]]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


@pytest.fixture(scope="module")
def stored(stores: Stores) -> pl.DataFrame:
    """Trades of three accounts with ties in time, whose ids do not follow it, and corrections of some."""
    chance = np.random.default_rng(5)
    rows = 400
    times = chance.choice([0, 1, 59, MINUTE, HOUR, 2 * HOUR, DAY - 1, DAY, 9 * DAY], rows)
    made = batch(ACCOUNT_TRADES, rows, 5, venue="")
    columns = {
        "ts_event": START + times + chance.choice([0, 0, 0, 1, 30 * MINUTE], rows),
        "account_id": ACCOUNT + chance.integers(0, 3, rows),
        "id": chance.permutation(rows),
    }
    made = replace(made, columns={**made.columns, **columns})
    again = batch(ACCOUNT_TRADES, rows, 6, venue="")
    again = replace(again, columns={**again.columns, **columns}).slice(100, 180)
    return stores.put(made, again)


@FEW
@given(data=st.data())
def test_candles_are_those_of_the_rows_of_a_span(
    store: Store, stored: pl.DataFrame, data: st.DataObject
) -> None:
    reach = [0, START, START + 1, START + 59, START + HOUR + 1, START + DAY, START + 9 * DAY, MAX_TS]
    start, end = sorted(data.draw(st.lists(st.sampled_from(reach), min_size=2, max_size=2, unique=True)))
    count = data.draw(st.integers(1, 3))
    query = asked(data.draw(st.sampled_from(NAMES)), [ACCOUNT + number for number in range(count)])
    found, _ = store.account_candles(query, start, end)
    rows = oracle.of_names(stored, query).filter(oracle.within("ts_event", start, end))
    assert told(found) == oracle.candles_of(rows, str(query.interval))


@pytest.mark.parametrize("page_rows", [1, 7, 100])
def test_candles_of_rows_read_in_pages_of_any_size(
    store: Store, stored: pl.DataFrame, page_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_rows, "_PAGE_ROWS", page_rows)
    query = asked("30m", [ACCOUNT, ACCOUNT + 2])
    found, _ = candle_rows.read_candles(store.read, query, 0, MAX_TS)
    assert told(found) == oracle.candles_of(oracle.of_names(stored, query), "30m")


def test_parts_of_adjacent_spans_are_the_candles_of_both(store: Store, stored: pl.DataFrame) -> None:
    for interval in INTERVALS:
        query = asked(interval, [ACCOUNT, ACCOUNT + 1])
        seams = [0, START + 1, START + HOUR, START + DAY, MAX_TS]
        parts = [store.account_candles(query, *span)[0] for span in pairwise(seams)]
        whole = told(merge_candles(parts, interval_named(interval)))
        assert whole == oracle.candles_of(oracle.of_names(stored, query), interval)


def test_open_and_close_of_trades_of_one_time_are_those_of_the_lowest_and_highest_id(
    stores: Stores, store: Store, store_name: str
) -> None:
    account = secrets.randbits(50)
    stores.put(trades(account, [(5, 9, 1, 1), (5, 2, 3, 1), (5, 10, 2, 1), (6, 1, 7, 1), (6, 0, 8, 1)]))
    found = told(store.account_candles(asked("1m", [account]), 0, MAX_TS)[0])
    prices = [oracle.amount_of(units) for units in (3, 8, 1, 7)]
    assert found == [(START, account, *prices, oracle.amount_of(5), 5)]


def test_sums_have_all_their_digits_and_a_whole_one_that_does_not_fit_is_refused(
    stores: Stores, store: Store, store_name: str
) -> None:
    account = secrets.randbits(50)
    stores.put(trades(account, [(0, 1, DECIMAL_MAX, DECIMAL_MAX), (1, 2, -DECIMAL_MAX, DECIMAL_MAX)]))
    query = asked("1d", [account])
    parts, _ = store.account_candles(query, 0, MAX_TS)
    assert [candle[6] for candle in told(parts)] == [oracle.amount_of(2 * DECIMAL_MAX)]
    with pytest.raises(
        TapehouseError, match=rf"account {account} at 2024-02-28T00:00:00Z is 199999.*not fit"
    ):
        whole_candles(parts)
    with pytest.raises(TapehouseError, match="does not fit in 38 digits"):
        stores.answer(store_name, query)


def test_a_sum_that_fits_is_answered_though_that_of_a_part_does_not(stores: Stores, store_name: str) -> None:
    account = secrets.randbits(50)
    rows = [(0, 1, 1, DECIMAL_MAX), (1, 2, 2, DECIMAL_MAX), (DAY, 3, 3, -DECIMAL_MAX)]
    stores.put(trades(account, rows))
    found = stores.answer(store_name, asked("1w", [account]))
    assert found["volume"].to_list() == [oracle.amount_of(DECIMAL_MAX)]
    assert found["trades"].to_list() == [3]


def test_there_are_no_candles_of_an_account_without_trades(store: Store, store_name: str) -> None:
    found, _ = store.account_candles(asked("1h", [1]), 0, MAX_TS)
    assert (found.num_rows, found.schema) == (0, PARTS)
