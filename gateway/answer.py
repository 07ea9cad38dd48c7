"""One answer as it is read: batches in order, over the stores, also while a day moves from one to the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Self

import pyarrow as pa

from gateway import arrow
from gateway.barpieces import bars, last_bars
from gateway.cursor import written_cursor
from gateway.owners import Owners
from gateway.plan import Side, rows_span
from gateway.query import Query
from gateway.reading import Reading
from gateway.rows import last_rows, rows
from tapehouse.model import BARS, KINDS


class Answer:
    """The batches of a query's answer, to be iterated once; `next` may run in any thread, one at a time.

    Raises what the stores raise; an answer that ended without an error is whole.
    """

    def __init__(self, query: Query, owners: Owners) -> None:
        """Plan it; nothing is read yet. Raises ConnectError where the owners of its days are not known."""
        self.query = query
        self.schema: pa.Schema = arrow.schema(query.kind, query.names)
        self.cursor: str | None = None
        """After the last batch: where the next page begins; None where the answer is complete."""
        self._reading = Reading(query, owners)
        self.version = self._reading.coverage.version(query.rows_kind.name, *rows_span(query))
        """Changes whenever the answer may; None while the span can still change without being noticed."""
        self._batches = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def close(self) -> None:
        """Give up what is left of it."""
        self._batches.close()

    @property
    def next_store(self) -> Side:
        """Which store the next batch is waited for."""
        return self._reading.next_store

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Which store served which span, with the rows and ms so far."""
        return self._reading.told()

    def _read(self) -> Generator[pa.RecordBatch]:
        query = self.query
        left = query.limit
        last = None
        for batch in self._with_keys():
            if left is None or query.last:
                yield batch.select(query.names)
                continue
            if left:
                last = batch.slice(0, left)
                yield last.select(query.names)
            if batch.num_rows > left and last is not None:
                self.cursor = written_cursor(arrow.key_of(last, KINDS[query.kind], last.num_rows - 1))
                return
            left -= batch.num_rows

    def _with_keys(self) -> Iterator[pa.RecordBatch]:
        """With the columns of the key, and at least one row more than the limit where there is one."""
        query = self.query
        if query.kind != "bars":
            if query.last:
                assert query.limit is not None
                return last_rows(self._reading, query.limit)
            return rows(self._reading, query.after, query.limit)
        return self._bars()

    def _bars(self) -> Iterator[pa.RecordBatch]:
        query = self.query
        if query.last:
            assert query.limit is not None
            found = last_bars(self._reading, query.limit)
        else:
            found = bars(self._reading, query.start_ns if query.after is None else int(query.after[0]))
        for batch in found:
            batch = arrow.behind(batch, BARS, query.after)
            if batch.num_rows:
                yield batch
