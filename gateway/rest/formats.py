"""The response formats: one encoder each, which encodes batches.

JSON      {"rows": [{column: value}], "next": cursor or null, "segments": [...]}; only "rows" with page=False
CSV       a header, then one line for each row; null is empty, an empty string is ""
Arrow     an IPC stream; its last batch has no rows, and `segments` and `next`, or `error`, as custom metadata
Parquet   one row group for each batch; `segments` and `next` in the file's metadata
msgpack   {"kind", "columns", "types"}, then for each batch an array of columns, then {"segments", "next"}

Times are ISO 8601 with 9 fraction digits and Z in JSON and CSV, ns in msgpack. Decimals are strings in all three,
lists are JSON strings in CSV.
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

from gateway.arrow import empty_batch
from gateway.json_rows import JsonRows, with_text
from gateway.rest.encoding import Bytes
from gateway.rest.problems import encode_json

Segments = Sequence[Mapping[str, Any]]
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Encoder(Protocol):
    """Encodes one answer: the concatenation of what its methods return."""

    def begin(self) -> bytes:
        """Everything before the first batch."""

    def batch(self, batch: pa.RecordBatch) -> Bytes:
        """The rows of a batch with the encoder's schema."""

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """Everything after the last batch."""

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """The end of an incomplete answer: the problem, if the format can express it."""


class Json:
    """One JSON object with the rows."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._page = page
        self._has_rows = False

    def begin(self) -> bytes:
        """The start of the object."""
        return b'{"rows":['

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """The rows as objects."""
        if not batch.num_rows:
            return b""
        every = JsonRows(batch)
        rows = every.part(0, len(every))
        had_rows, self._has_rows = self._has_rows, True
        return b"," + rows if had_rows else rows

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """The end of the object."""
        return _page_end(segments, cursor) if self._page else b"]}"

    @staticmethod
    def page(rows: bytes, cursor: str | None, segments: Segments) -> bytes:
        """A whole page of rows that are encoded already, with commas between them."""
        return b"".join((b'{"rows":[', rows, _page_end(segments, cursor)))

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """Empty: an object without its end cannot be parsed."""
        return b""


class Csv:
    """Lines of comma-separated values (RFC 4180, with LF)."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        """The header."""
        return ",".join(self._schema.names).encode() + b"\n"

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """One line for each row."""
        file = io.BytesIO()
        with_text(batch, lists_as_text=True).write_csv(file, include_header=False)
        return file.getvalue()

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """Empty."""
        return b""

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """Empty: the client sees only that the connection was closed."""
        return b""


class Arrow:
    """An Arrow IPC stream."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._schema = schema

    def begin(self) -> bytes:
        """The schema."""
        return bytes(self._schema.serialize())

    def batch(self, batch: pa.RecordBatch) -> Bytes:
        """One message."""
        return memoryview(batch.serialize())

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """An empty batch with the segments and the cursor as metadata, and the end-of-stream marker."""
        return (
            self._empty({"segments": encode_json(list(segments)), "next": encode_json(cursor)})
            + _END_OF_STREAM
        )

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """An empty batch with the problem as metadata, and no end-of-stream marker."""
        return self._empty({"error": encode_json(dict(problem))})

    def _empty(self, metadata: Mapping[str, bytes]) -> bytes:
        sink = pa.BufferOutputStream()
        writer = pa.ipc.new_stream(sink, self._schema)
        writer.write_batch(empty_batch(self._schema), custom_metadata=metadata)
        # Without the schema message, which was written by `begin`.
        message: bytes = sink.getvalue().to_pybytes()
        return message[len(self.begin()) :]


class Parquet:
    """One Parquet file, compressed with zstd."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, "w"), schema, compression="zstd")

    def begin(self) -> bytes:
        """The magic bytes."""
        return self._sink.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """One row group."""
        if batch.num_rows:
            self._writer.write_batch(batch)
        return self._sink.take()

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """The footer."""
        self._writer.add_key_value_metadata(
            {"segments": encode_json(list(segments)), "next": encode_json(cursor)}
        )
        self._writer.close()
        return self._sink.take()

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """Empty: a file without its footer cannot be read."""
        return b""


class Msgpack:
    """A sequence of msgpack documents."""

    def __init__(self, kind: str, schema: pa.Schema, *, page: bool = True) -> None:
        self._kind = kind
        self._schema = schema

    def begin(self) -> bytes:
        """The kind and the columns."""
        types = [_type_of(field.type) for field in self._schema]
        return _pack({"kind": self._kind, "columns": self._schema.names, "types": types})

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """An array of columns."""
        return _pack([_values(column) for column in batch.columns]) if batch.num_rows else b""

    def end(self, segments: Segments, cursor: str | None) -> bytes:
        """A document with the segments and the cursor."""
        return _pack({"segments": list(segments), "next": cursor})

    def abort(self, problem: Mapping[str, Any]) -> bytes:
        """A document with the problem."""
        return _pack({"error": dict(problem)})


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "json": Json, "csv": Csv, "arrow": Arrow, "parquet": Parquet, "msgpack": Msgpack
}  # fmt: skip


def _page_end(segments: Segments, cursor: str | None) -> bytes:
    return b'],"next":' + encode_json(cursor) + b',"segments":' + encode_json(list(segments)) + b"}"


class _Sink(io.RawIOBase):
    """An in-memory file whose content is removed by `take`."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    elif pa.types.is_decimal(kind):
        # Arrow's own text has an exponent where there are many zeros.
        return pl.Series(column).cast(pl.String).to_list()
    return list(pl.Series(column).to_list())


def _type_of(kind: pa.DataType) -> str:
    """The name of a type in `tapehouse.model`."""
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


def _pack(document: Any) -> bytes:
    return bytes(msgpack.packb(document))
