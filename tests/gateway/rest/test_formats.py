"""Each format read back by another reader, and cut where it may be cut."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import msgpack
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.arrow import batch_from_frame, schema
from gateway.rest.formats import ENCODERS
from tapehouse.batch import Batch
from tapehouse.model import DEPTH, GAPS, TICKS, TRADES, Kind
from tapehouse.tabular import as_frame
from tests.batches import batch, batches

_SEGMENTS = [{"store": "questdb", "why": "ä \u2028", "rows": 3}]


def _table(*parts: Batch) -> pa.Table:
    kind = parts[0].kind
    wanted = schema(kind.name, kind.names)
    return pa.Table.from_batches([batch_from_frame(as_frame(part), wanted) for part in parts], wanted)


def _encoded(name: str, table: pa.Table, kind: Kind, *, cut: bool = False) -> list[bytes]:
    encoder = ENCODERS[name](kind.name, table.schema)
    parts = [encoder.begin(), *map(encoder.batch, table.to_batches())]
    return [*parts, encoder.abort({"detail": "gone"}) if cut else encoder.end(_SEGMENTS, "next")]


def _documents(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(io.BytesIO(data), raw=False)
    return list(unpacker)


@settings(max_examples=30)
@given(batches())
def test_arrow_and_parquet_are_read_back_as_they_were(one: Batch) -> None:
    table = _table(one, one)
    stream = pa.ipc.open_stream(b"".join(_encoded("arrow", table, one.kind)))
    found = list(stream.iter_batches_with_custom_metadata())
    assert pa.Table.from_batches([batch for batch, _ in found], table.schema).equals(table)
    last, metadata = found[-1]
    assert last.num_rows == 0
    assert json.loads(metadata["segments"]) == _SEGMENTS
    assert json.loads(metadata["next"]) == "next"

    file = pq.ParquetFile(io.BytesIO(b"".join(_encoded("parquet", table, one.kind))))
    assert file.read().equals(table)
    assert file.num_row_groups == 2
    assert json.loads(file.metadata.metadata[b"segments"]) == _SEGMENTS


@settings(max_examples=30)
@given(batches())
def test_json_csv_and_msgpack_say_the_same_as_arrow(one: Batch) -> None:
    table = _table(one, one)
    texts = _texts(table)
    page = json.loads(b"".join(_encoded("json", table, one.kind)))
    assert page == {"rows": texts, "next": "next", "segments": _SEGMENTS}

    documents = _documents(b"".join(_encoded("msgpack", table, one.kind)))
    assert documents[0]["kind"] == one.kind.name
    assert documents[0]["columns"] == list(one.kind.names)
    assert documents[-1] == {"segments": _SEGMENTS, "next": "next"}
    for columns in documents[1:-1]:
        for name, type_, values in zip(one.kind.names, documents[0]["types"], columns, strict=True):
            column = table.slice(0, one.rows).column(name)
            if type_ == "time":
                assert values == column.cast(pa.int64()).to_pylist()
            elif type_ == "decimal":
                assert [Decimal(value) for value in values] == column.to_pylist()
            else:
                assert values == column.to_pylist()

    lines = b"".join(_encoded("csv", table, one.kind))
    read = list(csv.DictReader(io.StringIO(lines.decode(), newline="")))
    assert len(read) == len(texts)
    for found, expected in zip(read, texts, strict=True):
        for name, value in expected.items():
            assert _is_written(found[name], value), (name, found[name], value)


def _is_written(text: str, value: Any) -> bool:
    if value is None or isinstance(value, str):
        return text == (value or "")
    if isinstance(value, bool):
        return text == str(value).lower()
    return bool(json.loads(text) == value)


def _texts(table: pa.Table) -> list[dict[str, Any]]:
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_timestamp(field.type):
            whole = column.cast(pa.timestamp("s", "UTC"), safe=False).to_pylist()
            fractions = [ns % 10**9 for ns in column.cast(pa.int64()).to_pylist()]
            columns[field.name] = [
                f"{at:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
                for at, fraction in zip(whole, fractions, strict=True)
            ]
        elif pa.types.is_decimal(field.type):
            columns[field.name] = [f"{value:.18f}" for value in column.to_pylist()]
        else:
            columns[field.name] = column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("name", ENCODERS)
def test_no_rows_are_an_answer_too(name: str) -> None:
    empty = _table(batch(TRADES, 1)).slice(0, 0)
    whole = b"".join(_encoded(name, empty, TRADES))
    if name == "json":
        assert json.loads(whole)["rows"] == []
    elif name == "csv":
        assert whole.decode() == ",".join(TRADES.names) + "\n"
    elif name == "arrow":
        assert pa.ipc.open_stream(whole).read_all().equals(empty)
    elif name == "parquet":
        assert pq.read_table(io.BytesIO(whole)).equals(empty)
    else:
        assert len(_documents(whole)) == 2


@given(
    st.sampled_from([name for name in ENCODERS if name != "csv"]), st.sampled_from([TRADES, DEPTH]), st.data()
)
def test_an_answer_that_was_cut_anywhere_is_not_whole(name: str, kind: Kind, data: st.DataObject) -> None:
    parts = _encoded(name, _table(batch(kind, 20), batch(kind, 5)), kind)
    whole = b"".join(parts)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert not _is_whole(name, cut)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "csv"])
@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_an_answer_that_broke_off_is_not_whole(name: str, kind: Kind) -> None:
    assert not _is_whole(name, b"".join(_encoded(name, _table(batch(kind, 20)), kind, cut=True)))


def _is_whole(name: str, data: bytes) -> bool:
    """By the marks that the format has, whatever the transport says."""
    try:
        if name == "json":
            json.loads(data)
        elif name == "parquet":
            pq.read_table(io.BytesIO(data))
        elif name == "arrow":
            found = list(pa.ipc.open_stream(data).iter_batches_with_custom_metadata())
            return bool(found and found[-1][1] and "segments" in found[-1][1])
        else:
            documents = _documents(data)
            return bool(documents and isinstance(documents[-1], dict) and "segments" in documents[-1])
    except (ValueError, pa.ArrowInvalid, OSError):
        return False
    return True


def test_an_arrow_stream_that_broke_off_says_why() -> None:
    parts = _encoded("arrow", _table(batch(GAPS, 4)), GAPS, cut=True)
    reader = pa.ipc.open_stream(b"".join(parts))
    found = list(reader.iter_batches_with_custom_metadata())
    assert json.loads(found[-1][1]["error"]) == {"detail": "gone"}


def test_numbers_that_are_none_are_null_in_json() -> None:
    table = pa.table({"change": [1.0, float("nan"), float("inf"), None]})
    encoder = ENCODERS["json"]("rankings", table.schema, page=False)
    parts = [encoder.begin(), *map(encoder.batch, table.to_batches()), encoder.end([], None)]
    assert json.loads(b"".join(parts)) == {"rows": [{"change": value} for value in (1.0, None, None, None)]}
