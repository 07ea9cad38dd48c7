"""An answer as encoded pieces, each read by a thread of the store that it is waited for."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

import pyarrow as pa

from gateway.rest.encoding import Bytes, packer
from gateway.rest.formats import ENCODERS
from gateway.rest.problems import Problem
from gateway.rest.readers import Readers, Side

_PIECE = 2**16
"""As many bytes a piece has at least, before it is encoded, unless its store has no more."""
_PAGE = 2**23
"""The same of JSON, so that most pages are known whole before they are sent."""


class Rows(Protocol):
    """An answer: batches to be read once, by one thread at a time."""

    schema: pa.Schema
    cursor: str | None

    @property
    def segments(self) -> list[dict[str, Any]]: ...  # noqa: D102

    @property
    def next_store(self) -> Side: ...  # noqa: D102

    def __next__(self) -> pa.RecordBatch: ...

    def close(self) -> None: ...  # noqa: D102


class Pieces:
    """An answer under way, for one caller. `first`, then `next` until the piece that is the last."""

    def __init__(self, readers: Readers, rows: Rows, kind: str, format_name: str, encoding: str) -> None:
        self.rows = rows
        self._readers = readers
        self._encoder = ENCODERS[format_name](kind, rows.schema)
        self._packer = packer(encoding)
        self._least = _PAGE if format_name == "json" else _PIECE
        self._begun = False
        self._made = 0
        self._working: Future[tuple[Bytes, bool]] | None = None

    async def first(self) -> tuple[Bytes, bool]:
        """The first piece, and whether it is the last: of JSON the whole page where it is not too large."""
        limits = self._readers.limits
        with self._readers.turn(self.rows.next_store):
            piece, last = await self._next(limits.first_s)
            pieces = [piece]
            while not last and self._made < self._least:
                piece, last = await self._next(limits.first_s)
                pieces.append(piece)
        return _joined(pieces), last

    async def next(self) -> tuple[Bytes, bool]:
        """The next piece, and whether it is the last."""
        return await self._next(self._readers.limits.piece_s)

    def broken(self, problem: Problem) -> Bytes:
        """What tells that it broke off."""
        return self._packer.pack(self._encoder.broken(problem.document))

    def close(self) -> None:
        """Give up what is left, once no thread is at it."""
        if self._working is None or self._working.cancel():
            self.rows.close()
        else:
            self._working.add_done_callback(lambda _: self.rows.close())

    async def _next(self, within_s: float) -> tuple[Bytes, bool]:
        self._working = self._readers.submit(self.rows.next_store, self._piece, first=not self._begun)
        return await self._readers.heard(self._working, within_s)

    def _piece(self) -> tuple[Bytes, bool]:
        """Some batches, none that another store is waited for; in a thread."""
        store, begin = self.rows.next_store, self._made
        parts: list[Bytes] = []
        if not self._begun:
            self._begun = True
            parts.append(self._encoder.begin())
        while self._made - begin < self._least and self.rows.next_store == store:
            try:
                batch = next(self.rows)
            except StopIteration:
                parts.append(self._encoder.end(self.rows.segments, self.rows.cursor))
                return _joined([self._packer.pack(_joined(parts)), self._packer.finish()]), True
            parts.append(self._encoder.batch(batch))
            self._made += len(parts[-1])
        return self._packer.pack(_joined(parts)), False


def _joined(parts: list[Bytes]) -> Bytes:
    """All of them, not copied where there is one."""
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else b"".join(filled)
