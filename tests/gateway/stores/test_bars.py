"""Bars of every store: those of a rebuild from the raw trades, whole or cut at a midnight, filled or not."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from gateway.stores.contract import Store
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MAX_TS, MINUTE, SECOND, now_ns, parse_interval, parse_ns
from tapehouse.model import NO_BAR, TRADES
from tests.batches import batch
from tests.gateway import oracle
from tests.gateway.stores.stored_rows import Stores

# Around the end of a leap month and of a week, so that every interval has several bars and a seam.
START = parse_ns("2024-02-28T22:00:00Z")
VENUE = f"T{secrets.token_hex(4).upper()}"
SYMBOLS = ("S", "T")


def trades(venue: str, times: Any, **columns: Any) -> Batch:
    """Trades of the symbol S, numbered from 0; sums of them are exact."""
    rows = len(times)
    chance = np.random.default_rng(rows)
    usual: dict[str, Any] = {
        "ts_event": np.asarray(times, np.int64),
        "symbol": Strings.constant("S", rows),
        "seq": np.arange(rows),
        "price": chance.integers(1, 1_000, rows) / 8,
        "size": chance.integers(0, 100, rows) / 4,
        "flags": np.zeros(rows, np.int16),
    }
    whole = batch(TRADES, rows, rows, venue=venue)
    return replace(whole, columns={**whole.columns, **usual, **columns})


def _shuffled(seed: int) -> list[Batch]:
    """Trades of a symbol with ties, out of order, late by weeks, cancelled and corrected, in several parts."""
    chance = np.random.default_rng(seed)
    rows = 1_000
    # Thick for some minutes, thinner for hours and days, thin for weeks.
    reach = chance.choice([5 * MINUTE, 2 * HOUR, 3 * DAY, 70 * DAY], rows, p=[0.3, 0.3, 0.2, 0.2])
    times = np.sort(START + (chance.random(rows) * reach).astype(np.int64) // SECOND * SECOND)
    ties = chance.random(rows) < 0.3
    times[ties] = times[ties] // (30 * SECOND) * (30 * SECOND)
    # Numbers that are not in the order of time.
    seq = np.arange(rows)
    swapped = chance.permutation(rows)[: rows // 5]
    seq[swapped] = chance.permutation(seq[swapped])
    flags = chance.choice([0, 0, 0, 0, 1, 2, 3, 4, 5], rows).astype(np.int16)
    symbols = Strings.constant(SYMBOLS[seed], rows)
    whole = trades(VENUE, times, seq=seq, flags=flags, symbol=symbols)
    parts = [whole.take(part) for part in np.array_split(chance.permutation(rows), 3)]
    corrected = whole.take(chance.permutation(rows)[:50])
    cancelled = (corrected.array("flags") ^ 1).astype(np.int16)
    prices = corrected.array("price") + 1
    return [*parts, replace(corrected, columns={**corrected.columns, "flags": cancelled, "price": prices})]


@pytest.fixture(scope="module")
def stored(stores: Stores) -> dict[str, pl.DataFrame]:
    """The trades of two symbols, in every store."""
    return {"trades": stores.put(*_shuffled(0), *_shuffled(1))}


def asked(venue: str, interval: str, start: int = 0, end: int = MAX_TS, **more: Any) -> Query:
    """Bars of S."""
    return Query("bars", venue, ("S",), start, end, interval, **more)


@pytest.mark.parametrize("interval", [*INTERVALS, "45s", "90s", "7m", "90m", "6h", "23h", "24h"])
def test_bars_equal_a_rebuild_from_the_trades(
    stores: Stores, store: Store, store_name: str, stored: dict[str, pl.DataFrame], interval: str
) -> None:
    for symbols in (("S",), SYMBOLS):
        query = replace(asked(VENUE, interval, START - DAY, START + 80 * DAY), symbols=symbols)
        expected = oracle.answer(stored, query, now_ns())
        assert expected.height > 2
        oracle.assert_answers(stores.answer(store_name, query), expected)
        # Any part of it has the bars that start in it, and each is whole.
        chance = np.random.default_rng(7)
        for _ in range(3):
            reach = int(chance.choice([HOUR, 3 * DAY, 70 * DAY]))
            start, end = sorted((START + chance.integers(0, reach, 2)).tolist())
            part = replace(query, start_ns=start, end_ns=end + 1)
            oracle.assert_answers(stores.answer(store_name, part), oracle.answer(stored, part, now_ns()))


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_bar_that_a_midnight_cuts_is_made_of_the_trades_of_the_span(
    store: Store, stored: dict[str, pl.DataFrame], interval: str
) -> None:
    query = replace(asked(VENUE, interval), symbols=SYMBOLS)
    midnight = START // DAY * DAY
    for start, end in (
        (midnight + DAY, midnight + 2 * DAY),
        (0, midnight + DAY),
        (midnight + 2 * DAY, MAX_TS),
    ):
        within = stored["trades"].filter(oracle.within("ts_event", start, end))
        expected = oracle.bars_of(oracle.of_names(within, query), interval)
        batch_, _ = store.bars(query, start, end)
        oracle.assert_answers(pl.DataFrame(pl.from_arrow(batch_)), expected)


@pytest.mark.parametrize("interval", ["15s", "1m", "4h", "1d", "1M"])
def test_the_last_bar_of_a_span(store: Store, stored: dict[str, pl.DataFrame], interval: str) -> None:
    counted = stored["trades"].filter((pl.col("flags") & int(NO_BAR)) == 0, pl.col("symbol") == "S")
    bucket = INTERVALS[interval].bucket
    midnight = START // DAY * DAY
    for start, end in (
        (0, MAX_TS),
        (midnight, midnight + DAY),
        (midnight + DAY, midnight + 40 * DAY),
        (0, DAY),
    ):
        times = counted.filter(oracle.within("ts_event", start, end))["ts_event"].cast(pl.Int64).to_numpy()
        found = store.last_bar_time(asked(VENUE, interval), "S", start, end)
        if not len(times):
            assert found is None
            continue
        assert found is not None
        assert start <= found < end
        assert bucket(np.array([found])) == bucket(times.max(keepdims=True))


def test_late_rows_change_the_bars_they_belong_to(stores: Stores, store_name: str, venue: str) -> None:
    rows = [
        stores.put(trades(venue, [START + index * SECOND for index in range(120)], seq=np.arange(120) * 10))
    ]
    late = {"seq": np.array([5, 305, 2_000]), "price": np.array([1e6, 2e6, 3e6])}
    rows.append(stores.put(trades(venue, [START + 30 * SECOND] * 3, **late)))
    for interval in ("15s", "1m", "1d", "1M"):
        query = asked(venue, interval, START - 40 * DAY, START + DAY)
        expected = oracle.answer({"trades": pl.concat(rows)}, query, now_ns())
        oracle.assert_answers(stores.answer(store_name, query), expected)


def test_other_venues_and_symbols_take_no_part(stores: Stores, store_name: str, venue: str) -> None:
    stores.put(trades(f"{venue}2", [START] * 3), trades(venue, [START] * 3, symbol=Strings.constant("T", 3)))
    own = stores.put(trades(venue, [START, START + 1]))
    for interval in ("15s", "1m", "1w"):
        query = asked(venue, interval, START - 8 * DAY, START + DAY)
        oracle.assert_answers(
            stores.answer(store_name, query), oracle.answer({"trades": own}, query, now_ns())
        )


def test_spans_of_bars_are_half_open_to_the_nanosecond(stores: Stores, store_name: str, venue: str) -> None:
    stores.put(trades(venue, [START - 1, START, START + 1, START + 2]))
    spans = [(START - 15 * SECOND, START), (START - 15 * SECOND + 1, START), (START, START + 1)]
    counts = [stores.answer(store_name, asked(venue, "15s", *span))["trades"].to_list() for span in spans]
    assert counts == [[1], [], [3]]


_SPARSE = (*INTERVALS, "45s", "7m", "23h")


def _length(interval: str) -> int:
    table = parse_interval(interval)
    start = table.bucket(np.array([START]))
    return int(table.following(start)[0] - start[0])


@pytest.fixture(scope="module")
def sparse(stores: Stores) -> dict[str, pl.DataFrame]:
    """For each interval trades of a venue of their own with empty bars between, numbered across the order of time."""
    found = []
    for name in _SPARSE:
        length = _length(name)
        chance = np.random.default_rng(length % 2**32)
        times = [
            START + step * length + int(at)
            for step in (0, 1, 5, 6, 11)
            for at in chance.integers(0, length, 4)
        ]
        found.append(trades(f"{VENUE}{name}", times, seq=chance.permutation(len(times))))
    return {"trades": stores.put(*found)}


@pytest.mark.parametrize("interval", _SPARSE)
def test_filled_bars_are_flat_at_the_close_before(
    stores: Stores, store_name: str, sparse: dict[str, pl.DataFrame], interval: str
) -> None:
    length = _length(interval)
    end = START + 15 * length
    for step in (-2, 3, 12):
        query = asked(f"{VENUE}{interval}", interval, START + step * length, end, fill="flat")
        oracle.assert_answers(stores.answer(store_name, query), oracle.answer(sparse, query, MAX_TS))
    query = replace(query, last=True, limit=4)
    oracle.assert_answers(stores.answer(store_name, query), oracle.answer(sparse, query, MAX_TS))


def test_nothing_is_filled_before_the_first_trade_nor_after_now(
    stores: Stores, store_name: str, venue: str
) -> None:
    assert stores.answer(store_name, asked(venue, "1m", START, MAX_TS, fill="flat")).height == 0
    now = now_ns()
    stores.put(trades(venue, [now - 5 * MINUTE]))
    found = stores.answer(store_name, asked(venue, "1m", now - HOUR, now + HOUR, fill="flat"))
    starts = found["ts"].cast(pl.Int64).to_list()
    assert starts[0] == (now - 5 * MINUTE) // MINUTE * MINUTE
    assert now // MINUTE * MINUTE <= starts[-1] <= now_ns()
    assert np.all(np.diff(starts) == MINUTE)
