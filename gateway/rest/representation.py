"""The negotiated format and content encoding of a response, and responses that are encoded as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from gateway.rest.encoding import content_encoder
from gateway.rest.formats import ENCODERS
from gateway.rest.negotiation import MEDIA, content_type, negotiate_encoding, negotiate_format

FORMATS = tuple(MEDIA)
_MIN_ENCODED = 1_024
"""Bytes; shorter bodies are not compressed, as it costs more than it saves."""


@dataclass(frozen=True)
class Representation:
    """The negotiated format, and content encoding (empty for none)."""

    format_name: str
    encoding: str

    @classmethod
    def negotiate(
        cls, request: Request, format_name: str | None, offered: Sequence[str] = FORMATS
    ) -> Representation:
        """From the parameter `format` and the request's headers. Raises UsageError, ProblemError (406)."""
        chosen = negotiate_format(format_name, request.headers.get("accept", ""), tuple(offered))
        return cls(chosen, negotiate_encoding(request.headers.get("accept-encoding", ""), chosen))

    def headers(self) -> dict[str, str]:
        """The headers of any answer, without content-encoding."""
        return {
            "content-type": content_type(self.format_name),
            "vary": "Accept, Accept-Encoding",
            "cache-control": "private, no-cache",
        }

    def response(self, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """The response with a complete body, compressed from 1,024 bytes on; without `headers` with those of any."""
        headers = self.headers() if headers is None else headers
        if self.encoding and len(body) >= _MIN_ENCODED:
            encoder = content_encoder(self.encoding)
            body = b"".join([encoder.encode(body), encoder.finish()])
            headers = {**headers, "content-encoding": self.encoding}
        return Response(body, headers=dict(headers))

    def table(self, name: str, rows: pa.Table | pl.DataFrame) -> Response:
        """All rows of a table; `name` is msgpack's `kind`."""
        if isinstance(rows, pl.DataFrame):
            rows = _to_arrow(rows)
        encoder = ENCODERS[self.format_name](name, rows.schema, page=False)
        parts = [encoder.begin(), *map(encoder.batch, rows.to_batches()), encoder.end([], None)]
        return self.response(b"".join(parts))


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    """A frame as Arrow with `string` columns, which more readers support than polars' `large_string`."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [
        field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
