"""Answers that are made whole before they are sent: small tables and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from gateway.rest.encoding import packer
from gateway.rest.formats import ENCODERS
from gateway.rest.negotiation import MEDIA, content_type, encoding_of, format_of
from gateway.rest.parameters import Asked

FORMATS = tuple(MEDIA)
_WORTH = 1_024
"""Bytes that are worth being encoded."""


@dataclass(frozen=True)
class Wanted:
    """How a client wants its answer."""

    format_name: str
    encoding: str

    @classmethod
    def by(cls, request: Request, asked: Asked, formats: Sequence[str] = FORMATS) -> Wanted:
        """What a request wants of the formats that there are. Raises UsageError, ProblemError (406)."""
        format_name = format_of(asked.one("format"), request.headers.get("accept", ""), tuple(formats))
        return cls(format_name, encoding_of(request.headers.get("accept-encoding", ""), format_name))

    def response(self, body: bytes) -> Response:
        """A whole answer."""
        headers: Mapping[str, str] = {
            "content-type": content_type(self.format_name),
            "vary": "Accept, Accept-Encoding",
            "cache-control": "private, no-cache",
        }
        if self.encoding and len(body) >= _WORTH:
            stream = packer(self.encoding)
            body = b"".join([stream.pack(body), stream.finish()])
            headers = {**headers, "content-encoding": self.encoding}
        return Response(body, headers=dict(headers))

    def table(self, kind: str, rows: pa.Table | pl.DataFrame) -> Response:
        """A table in the format."""
        if isinstance(rows, pl.DataFrame):
            rows = _plain(rows)
        encoder = ENCODERS[self.format_name](kind, rows.schema, page=False)
        parts = [encoder.begin(), *map(encoder.batch, rows.to_batches()), encoder.end([], None)]
        return self.response(b"".join(parts))


def _plain(frame: pl.DataFrame) -> pa.Table:
    """A frame with strings as other Arrow readers have them."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    wanted = [
        field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(wanted))
