"""Fingerprints: equal in numpy and ClickHouse for every value, and different after any change."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.mirror.cold_store import ColdStore
from analytics.mirror.fingerprint import Fingerprint, of_frame, row_hashes
from tapehouse.batch import Batch, Lists
from tapehouse.clock import DAY
from tapehouse.model import QUOTES, SEQ_MAX, TICKS, TRADES, Column, Kind
from tapehouse.settings import ClickHouse
from tapehouse.tabular import as_frame
from tests.analytics.mirror.row_changes import changed
from tests.batches import START, batch, batches, decimals

_KINDS = st.sampled_from(TICKS)
_SEEDS = st.integers(0, 2**32 - 1)
_EDGE_TIMES = [0, 1, DAY - 1, DAY, START, START + DAY - 1, 2**62]


@pytest.fixture(scope="module")
def store(shared_cold: ClickHouse) -> Iterator[ColdStore]:
    store = ColdStore(shared_cold)
    yield store
    store.close()


@pytest.fixture(scope="module")
def staging(store: ColdStore) -> dict[Kind, str]:
    """A staging table of each kind, truncated before each use. The database is dropped at the end."""
    names = {kind: f"staging_{kind.name}" for kind in TICKS}
    for kind, name in names.items():
        store.client.command(f"CREATE TABLE {name} AS {kind.name}")
    return names


def _parquet(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_parquet(body)
    return body.getvalue()


def _insert(store: ColdStore, kind: Kind, table: str, frame: pl.DataFrame) -> None:
    store.client.command(f"TRUNCATE TABLE {table}")
    store.insert(kind, table, _parquet(frame))


def _stored(store: ColdStore, kind: Kind, table: str) -> pl.DataFrame:
    columns = [
        f"toUnixTimestamp64Nano({one.name}) AS {one.name}" if one.type == "time" else one.name
        for one in kind.columns
    ]
    body = store.client.arrow(f"SELECT {', '.join(columns)} FROM {table}")
    return pl.read_ipc_stream(io.BytesIO(body))


def _bits(kind: Kind, frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The rows with values that compare by their bits, sorted."""
    columns = [_column_bits(column, frame[column.name]) for column in kind.columns]
    return sorted(zip(*columns, strict=True), key=repr)


def _column_bits(column: Column, values: pl.Series) -> list[Any]:
    if column.type == "double":
        return [None if value is None else float(value).hex() for value in values.to_list()]
    if column.type == "doubles":
        return [tuple(float(value).hex() for value in row) for row in values.to_list()]
    if column.type == "time":
        return list(values.cast(pl.Int64))
    if column.type == "symbol":
        return [None if value is None else _text(value) for value in values.to_list()]
    return values.to_list()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@st.composite
def _edged(draw: st.DrawFn) -> Batch:
    """Batches in which many values are at the bounds of the model."""
    made = draw(batches(30))
    columns = dict(made.columns)
    chance = np.random.default_rng(draw(_SEEDS))
    edged = chance.random(made.rows) < 0.5
    for column in made.kind.columns:
        data = columns.get(column.name)
        if isinstance(data, np.ndarray):
            edges = _edges(column)
            data = data.copy()
            data[edged] = edges[chance.integers(0, len(edges), int(edged.sum()))]
            columns[column.name] = data
        elif isinstance(data, Lists):
            edges = _edges(column)
            values = np.where(
                chance.random(len(data.values)) < 0.3, chance.choice(edges, len(data.values)), data.values
            )
            columns[column.name] = Lists(values, data.ends)
    return Batch(made.kind, made.venue, made.rows, columns)


def _edges(column: Column) -> np.ndarray[Any, Any]:
    if column.type == "time":
        return np.array(_EDGE_TIMES)
    if column.type == "decimal":
        return decimals([0, 1, -1, 10**38 - 1, 1 - 10**38, 2**64, -(2**64), 2**64 - 1, 10**18])
    if column.type == "flag":
        return np.array([False, True])
    low, high = column.low or 0, column.high or 0
    if column.type in ("double", "doubles"):
        return np.array([low, high, -0.0, 0.0, 5e-324, 2.2250738585072014e-308, 0.1, high - 1e-4])
    return np.array([low, high, high - 1, (low + high) // 2], column.types.numpy)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=_edged())
def test_stored_rows_have_the_bits_and_the_fingerprint_of_the_sent_ones(
    store: ColdStore, staging: dict[Kind, str], made: Batch
) -> None:
    frame = as_frame(made)
    kind, table = made.kind, staging[made.kind]
    _insert(store, kind, table, frame)
    assert of_frame(kind, frame) == of_frame(kind, pl.read_parquet(io.BytesIO(_parquet(frame))))
    assert store.fingerprint(kind, table) == of_frame(kind, frame)
    stored = _stored(store, kind, table)
    assert _bits(kind, stored) == _bits(kind, frame)
    assert of_frame(kind, stored.with_columns(pl.col(pl.String).cast(pl.String))) == of_frame(kind, frame)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_seqs_near_ts_event_are_read_back_exactly(
    store: ColdStore, staging: dict[Kind, str], data: st.DataObject
) -> None:
    """A seq from ts_event on to 2**40 ns after it is stored as the difference, any other one as it is."""
    rows = data.draw(st.integers(1, 20))
    times = data.draw(
        st.lists(st.sampled_from(_EDGE_TIMES) | st.integers(0, 2**62), min_size=rows, max_size=rows)
    )
    near = st.sampled_from([0, 1, -1, 2**40, 2**40 - 1, 2**40 + 1, 2**41, -(2**40)]) | st.integers(
        -(2**42), 2**42
    )
    numbers = [min(max(time + data.draw(near), 0), SEQ_MAX) for time in times]
    delays = [data.draw(st.sampled_from([0, 1, -1, -(2**33), 2**33, 2**40])) for _ in times]
    frame = as_frame(batch(TRADES, rows)).with_columns(
        ts_event=pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")),
        ts_recv=pl.Series([max(a + b, 0) for a, b in zip(times, delays, strict=True)], dtype=pl.Int64).cast(
            pl.Datetime("ns", "UTC")
        ),
        seq=pl.Series(numbers, dtype=pl.Int64),
    )
    _insert(store, TRADES, staging[TRADES], frame)
    assert _bits(TRADES, _stored(store, TRADES, staging[TRADES])) == _bits(TRADES, frame)
    assert store.fingerprint(TRADES, staging[TRADES]) == of_frame(TRADES, frame)


def test_a_day_has_the_fingerprint_of_its_rows(store: ColdStore, staging: dict[Kind, str]) -> None:
    frame = as_frame(batch(TRADES, 200, 3))
    _insert(store, TRADES, staging[TRADES], frame)
    days = frame.with_columns(day=pl.col("ts_event").dt.date().dt.to_string()).partition_by(
        "day", as_dict=True
    )
    for (day,), rows in days.items():
        assert store.fingerprint(TRADES, staging[TRADES], str(day)) == of_frame(TRADES, rows)
    assert store.fingerprint(TRADES, staging[TRADES], "1999-01-01") == Fingerprint({})


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_the_fingerprint_of_no_rows_is_empty(store: ColdStore, staging: dict[Kind, str], kind: Kind) -> None:
    store.client.command(f"TRUNCATE TABLE {staging[kind]}")
    assert (
        store.fingerprint(kind, staging[kind])
        == of_frame(kind, as_frame(batch(kind, 3)).head(0))
        == Fingerprint({})
    )


def test_null_differs_from_every_value() -> None:
    frame = as_frame(batch(QUOTES, 1))
    values = [None, 0.0, -0.0, 5e-324, -5e-324, 1e12, -1e12]
    assert (
        len({of_frame(QUOTES, frame.with_columns(bid=pl.lit(value, pl.Float64))).digest for value in values})
        == 7
    )


@settings(max_examples=150)
@given(data=st.data(), kind=_KINDS, seed=_SEEDS, rows=st.integers(1, 30))
def test_any_single_change_of_rows_changes_the_fingerprint(
    data: st.DataObject, kind: Kind, seed: int, rows: int
) -> None:
    frame = as_frame(batch(kind, rows, seed))
    other = changed(data, kind, frame)
    is_same = _bits(kind, other) == _bits(kind, frame)
    assert (of_frame(kind, other) == of_frame(kind, frame)) is is_same
    assert (of_frame(kind, other).digest == of_frame(kind, frame).digest) is is_same


@settings(max_examples=50)
@given(kind=_KINDS, seeds=st.lists(_SEEDS, min_size=1, max_size=4), chance=st.randoms())
def test_a_fingerprint_is_the_sum_of_its_parts_in_any_order(
    kind: Kind, seeds: list[int], chance: Any
) -> None:
    frames = [as_frame(batch(kind, 1 + seed % 20, seed)) for seed in seeds]
    whole = pl.concat(frames)
    parts = [of_frame(kind, frame) for frame in frames]
    chance.shuffle(parts)
    assert (
        Fingerprint.sum(parts)
        == of_frame(kind, whole)
        == of_frame(kind, whole.sample(fraction=1, shuffle=True, seed=1))
    )
    assert Fingerprint.sum(parts).digest == of_frame(kind, whole).digest
    assert Fingerprint.sum(parts).rows == whole.height
    for part in parts:
        assert Fingerprint.sum([of_frame(kind, whole).minus(part), part]) == of_frame(kind, whole)
    assert Fingerprint.sum(parts).minus(Fingerprint.sum(parts)) == Fingerprint({})


def test_differing_groups_are_listed_in_order() -> None:
    one = Fingerprint({("V", "a"): (1, 5), ("V", "b"): (2, 6), ("V", None): (1, 1)})
    other = Fingerprint({("V", "a"): (1, 5), ("V", "b"): (2, 7), ("W", "a"): (1, 1)})
    assert one.differing_groups(other) == other.differing_groups(one) == [("V", "b"), ("V", None), ("W", "a")]
    assert one.differing_groups(one) == []


def test_minus_shows_rows_that_were_not_there() -> None:
    """Subtracting rows that are not part of a fingerprint is visible in the result."""
    one = Fingerprint({("a",): (1, 5)})
    assert one.minus(Fingerprint({("a",): (1, 6)})) != Fingerprint({})
    assert one.minus(Fingerprint({("b",): (1, 5)})).groups == {("a",): (1, 5), ("b",): (-1, 2**64 - 5)}


def test_trades_without_a_trade_id_have_the_hash_from_before_there_was_one() -> None:
    frame = as_frame(batch(TRADES, 100)).with_columns(trade_id=pl.lit(None, pl.String))
    before = Kind("trades", TRADES.columns[:-1], TRADES.key)
    assert TRADES.columns[-1].name == "trade_id"
    assert row_hashes(TRADES, frame).tolist() == row_hashes(before, frame).tolist()
