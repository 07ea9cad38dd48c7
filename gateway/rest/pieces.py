"""Encodes an answer piece by piece; each piece is read in a thread of its store's pool."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

import pyarrow as pa

from gateway.rest.encoding import Bytes, content_encoder
from gateway.rest.formats import ENCODERS
from gateway.rest.problems import Problem
from gateway.rest.readers import PoolName, Readers

_MIN_PIECE = 2**16
"""Bytes before content encoding; a piece is shorter only if its store has no more rows."""
_MIN_PAGE = 2**23
"""The same for JSON, so that most pages are complete before they are sent."""


class Rows(Protocol):
    """The batches of an answer, to be iterated once, by one thread at a time."""

    schema: pa.Schema
    cursor: str | None

    @property
    def segments(self) -> list[dict[str, Any]]: ...  # noqa: D102

    @property
    def next_tier(self) -> PoolName: ...  # noqa: D102

    def __next__(self) -> pa.RecordBatch: ...

    def close(self) -> None: ...  # noqa: D102


class Pieces:
    """The pieces of one answer, for one caller: `first`, then `next` until the last."""

    def __init__(self, readers: Readers, rows: Rows, kind: str, format_name: str, encoding: str) -> None:
        self.rows = rows
        self._readers = readers
        self._encoder = ENCODERS[format_name](kind, rows.schema)
        self._content_encoder = content_encoder(encoding)
        self._min_size = _MIN_PAGE if format_name == "json" else _MIN_PIECE
        self._started = False
        self._size = 0
        self._reading: Future[tuple[Bytes, bool]] | None = None

    async def first(self) -> tuple[Bytes, bool]:
        """The first piece, and whether it is the last. Of JSON the whole page up to 8 MiB."""
        limits = self._readers.limits
        with self._readers.first_rows_slot(self.rows.next_tier):
            piece, last = await self._next(limits.first_rows_s)
            pieces = [piece]
            while not last and self._size < self._min_size:
                piece, last = await self._next(limits.first_rows_s)
                pieces.append(piece)
        return _join(pieces), last

    async def next(self) -> tuple[Bytes, bool]:
        """The next piece, and whether it is the last."""
        return await self._next(self._readers.limits.next_rows_s)

    def abort(self, problem: Problem) -> Bytes:
        """The last piece of an answer that failed."""
        return self._content_encoder.encode(self._encoder.abort(problem.document))

    def close(self) -> None:
        """Close the rows, as soon as no thread reads them."""
        if self._reading is None or self._reading.cancel():
            self.rows.close()
        else:
            self._reading.add_done_callback(lambda _: self.rows.close())

    async def _next(self, timeout_s: float) -> tuple[Bytes, bool]:
        self._reading = self._readers.submit(self.rows.next_tier, self._piece, first=not self._started)
        return await self._readers.wait_for(self._reading, timeout_s)

    def _piece(self) -> tuple[Bytes, bool]:
        """Some batches of one store; runs in a thread."""
        store, start = self.rows.next_tier, self._size
        parts: list[Bytes] = []
        if not self._started:
            self._started = True
            parts.append(self._encoder.begin())
        while self._size - start < self._min_size and self.rows.next_tier == store:
            try:
                batch = next(self.rows)
            except StopIteration:
                parts.append(self._encoder.end(self.rows.segments, self.rows.cursor))
                return _join(
                    [self._content_encoder.encode(_join(parts)), self._content_encoder.finish()]
                ), True
            parts.append(self._encoder.batch(batch))
            self._size += len(parts[-1])
        return self._content_encoder.encode(_join(parts)), False


def _join(parts: list[Bytes]) -> Bytes:
    """The parts in one; a single part is not copied."""
    nonempty = [part for part in parts if part]
    return nonempty[0] if len(nonempty) == 1 else b"".join(nonempty)
