"""The formats of answers: one encoder each, fed batch by batch.

JSON      {"rows": [{column: value}], "next": cursor or null, "segments": [...]}; an answer that is no page of a
          query has rows alone
CSV       a header, then a line a row; an absent value is empty, an empty text is ""
Arrow     a stream of batches; then one without rows whose custom metadata has `segments` and `next`, or `error`
Parquet   a row group a batch; `segments` and `next` in the file's metadata
msgpack   {"kind", "columns", "types"}, an array of columns for each batch, {"segments", "next"}

In JSON and CSV times are ISO 8601 with 9 digits and Z, decimals text, in CSV lists JSON text; in msgpack times are
ns, decimals text.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgpack
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from gateway.arrow import empty
from gateway.rest.encoding import Bytes
from gateway.rest.problems import encoded

Segments = Sequence[Mapping[str, Any]]
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"


class Encoder(Protocol):
    """One answer under way. What its methods return, joined, is the answer."""

    def begin(self) -> bytes:
        """What comes before the first batch."""

    def batch(self, batch: pa.RecordBatch) -> Bytes:
        """The rows of a batch of the schema."""

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """What makes it whole."""

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """What tells, where the format can, that it broke off; it is not whole then."""


class Json:
    """One JSON object with the rows."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._page = page
        self._any = False

    def begin(self) -> bytes:
        """The object's beginning."""
        return b'{"rows":['

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """The rows as objects."""
        if not batch.num_rows:
            return b""
        file = io.BytesIO()
        _readable(batch).write_json(file)
        rows = file.getvalue()[1:-1]
        before, self._any = self._any, True
        return b"," + rows if before else rows

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """The object's end."""
        if not self._page:
            return b"]}"
        return b'],"next":' + encoded(cursor) + b',"segments":' + encoded(list(segments)) + b"}"

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """Nothing: an object without its end is none."""
        return b""


class Csv:
    """Lines of comma-separated values (RFC 4180, with LF)."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        """The header."""
        return ",".join(self._schema.names).encode() + b"\n"

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """A line a row."""
        file = io.BytesIO()
        _readable(batch, lists_as_text=True).write_csv(file, include_header=False)
        return file.getvalue()

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """Nothing."""
        return b""

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """Nothing: the connection is cut."""
        return b""


class Arrow:
    """The Arrow IPC stream: each message as it is, written once."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        """The schema."""
        return bytes(self._schema.serialize())

    def batch(self, batch: pa.RecordBatch) -> Bytes:
        """One message."""
        return memoryview(batch.serialize())

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """A batch without rows that carries the segments, and the mark of the end."""
        return self._empty({"segments": encoded(list(segments)), "next": encoded(cursor)}) + _END_OF_STREAM

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """A batch without rows that carries the problem, and no mark of the end."""
        return self._empty({"error": encoded(dict(problem))})

    def _empty(self, metadata: Mapping[str, bytes]) -> bytes:
        sink = pa.BufferOutputStream()
        writer = pa.ipc.new_stream(sink, self._schema)
        writer.write_batch(empty(self._schema), custom_metadata=metadata)
        # The schema comes before it.
        message: bytes = sink.getvalue().to_pybytes()
        return message[len(self.begin()) :]


class Parquet:
    """One Parquet file, of zstd pages."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, "w"), schema, compression="zstd")

    def begin(self) -> bytes:
        """The magic bytes."""
        return self._sink.taken()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """One row group."""
        if batch.num_rows:
            self._writer.write_batch(batch)
        return self._sink.taken()

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """The footer, without which a file is none."""
        self._writer.add_key_value_metadata({"segments": encoded(list(segments)), "next": encoded(cursor)})
        self._writer.close()
        return self._sink.taken()

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """Nothing: without its footer a file is none."""
        return b""


class Msgpack:
    """A sequence of msgpack documents."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._kind = kind
        self._schema = schema

    def begin(self) -> bytes:
        """What the columns are."""
        types = [_type_of(field.type) for field in self._schema]
        return _packed({"kind": self._kind, "columns": self._schema.names, "types": types})

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """An array of columns."""
        return _packed([_values(column) for column in batch.columns]) if batch.num_rows else b""

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """A document with the segments."""
        return _packed({"segments": list(segments), "next": cursor})

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """A document with the problem."""
        return _packed({"error": dict(problem)})


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "json": Json, "csv": Csv, "arrow": Arrow, "parquet": Parquet, "msgpack": Msgpack
}  # fmt: skip


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken; its place goes on rising."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._place += len(part)
        return len(part)

    def tell(self) -> int:
        return self._place

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _readable(batch: pa.RecordBatch, *, lists_as_text: bool = False) -> pl.DataFrame:
    """The rows with times and decimals as text."""
    changed = []
    for field in batch.schema:
        column = pl.col(field.name)
        if pa.types.is_timestamp(field.type):
            changed.append(column.dt.to_string(_TIME))
        elif pa.types.is_decimal(field.type):
            changed.append(column.cast(pl.String))
        elif lists_as_text and pa.types.is_list(field.type):
            texts = column.list.eval(pl.element().cast(pl.String)).list.join(",")
            changed.append(pl.concat_str(pl.lit("["), texts, pl.lit("]")).alias(field.name))
    frame = pl.DataFrame(batch)
    return frame.with_columns(changed) if changed else frame


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    return list(pl.Series(column).to_list())


def _type_of(kind: pa.DataType) -> str:
    """The type's name in the model."""
    names = {
        "string": "text",
        "double": "double",
        "bool": "flag",
        "int64": "long",
        "int16": "short",
        "int8": "byte",
    }
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_decimal(kind):
        return "decimal"
    return "doubles" if pa.types.is_list(kind) else names.get(str(kind), str(kind))


def _packed(document: Any) -> bytes:
    return bytes(msgpack.packb(document))
