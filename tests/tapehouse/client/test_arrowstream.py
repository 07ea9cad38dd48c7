"""The messages of an Arrow stream, read without Arrow's library, against Arrow's library."""

from __future__ import annotations

import contextlib
import io

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.client.arrowstream import END, ArrowStream
from tapehouse.errors import ConnectError, TapehouseError, UsageError
from tests.tapehouse.client.played import SEGMENTS, stream, trades


def _read(raw: bytes) -> tuple[ArrowStream, list[tuple[int, bytes]]]:
    arrow = ArrowStream(io.BytesIO(raw).read)
    return arrow, [(rows, b"".join(pieces)) for rows, pieces in arrow.batches()]


@given(st.integers(0, 5000), st.integers(1, 3000))
def test_counts_the_rows_of_each_batch_and_hears_who_served_them(rows: int, batch: int) -> None:
    table = trades(rows)
    arrow, batches = _read(stream(table, batch))
    assert [count for count, _ in batches] == [part.num_rows for part in table.to_batches(batch)]
    assert arrow.segments == SEGMENTS
    again = pl.read_ipc_stream(b"".join([arrow.schema, *(raw for _, raw in batches), END]))
    assert again.equals(pl.DataFrame(table))


def test_bodies_larger_than_what_is_read_at_a_time_are_whole() -> None:
    table = trades(200_000)
    arrow, batches = _read(stream(table, 200_000))
    assert [count for count, _ in batches] == [200_000]
    assert pl.read_ipc_stream(b"".join([arrow.schema, batches[0][1], END])).equals(pl.DataFrame(table))


_WHOLE = stream(trades(300), 100)


@given(st.integers(0, len(_WHOLE) - 1))
def test_a_stream_cut_at_any_byte_is_an_error(length: int) -> None:
    with pytest.raises(ConnectError, match="the answer was truncated"):
        _read(_WHOLE[:length])


def test_a_stream_without_its_end_mark_is_an_error_though_every_batch_is_there() -> None:
    with pytest.raises(ConnectError, match="the answer was truncated"):
        _read(_WHOLE.removesuffix(END))


def test_where_it_broke_off_the_stream_tells_why() -> None:
    problem = {"type": "/problems/away", "status": 503, "detail": "questdb: gone", "remedy": "Start it."}
    with pytest.raises(ConnectError, match="questdb: gone") as raised:
        _read(stream(trades(10), metadata={"error": problem}))
    assert raised.value.remedy == "Start it."


def test_an_error_told_as_misuse_is_one() -> None:
    problem = {"type": "/problems/usage", "status": 400, "detail": "limit: expected fewer"}
    with pytest.raises(UsageError, match="limit: expected fewer"):
        _read(stream(trades(10), metadata={"error": problem}))


def test_an_answer_without_a_row_has_its_columns() -> None:
    arrow, batches = _read(stream(trades(0)))
    assert not batches
    assert pl.read_ipc_stream(arrow.schema + END).columns == trades(0).column_names


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(TapehouseError):
        _read(raw)


@given(st.integers(0, len(_WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_read_or_refused_and_nothing_else(place: int, damage: bytes) -> None:
    # Arrow has no checksum: damage of a body passes here.
    raw = _WHOLE[:place] + damage + _WHOLE[place + len(damage) :]
    with contextlib.suppress(TapehouseError):
        _read(raw)


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(TapehouseError, match="was more data"):
        _read(_WHOLE + b"x")


def test_dictionaries_are_refused_for_the_gateway_sends_none() -> None:
    table = pa.table({"symbol": pa.array(["A", "B"]).dictionary_encode()})
    with pytest.raises(TapehouseError, match="expected a batch of rows"):
        _read(stream(table))
