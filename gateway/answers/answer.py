"""The answer of a query as a stream of Arrow batches from both stores, correct while a day moves between them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Self

import pyarrow as pa

from gateway import arrow
from gateway.answers.bars import find_cached_bars, read_bars
from gateway.answers.cursor import encode_cursor
from gateway.answers.day_bars import CachedJson
from gateway.answers.execution import Execution
from gateway.answers.finality import add_final, without_open
from gateway.answers.last import read_last
from gateway.answers.plan import StoreTier, source_span
from gateway.answers.registry import StoreRegistry
from gateway.answers.rows import read_rows
from gateway.query import Query
from tapehouse.clock import now_ns, parse_interval
from tapehouse.model import BARS, KINDS


class QueryAnswer:
    """An iterator of a query's batches, for one pass; `next` may run in any thread, one at a time.

    Raises what the stores raise; an answer that ends without an error is complete.
    """

    def __init__(
        self,
        query: Query,
        registry: StoreRegistry,
        check_names: Callable[[Query], None] | None = None,
        grace_ns: int = 0,
    ) -> None:
        """Plan the query without reading. Raises ConnectError if the owners of its days are unknown.

        `check_names` raises for names that are not stored: called before the first row for several symbols, of which
        one may be wrong, and for one symbol only if the answer is empty. `grace_ns` is how long after its end a bar
        is final.
        """
        self.query = query
        self.schema: pa.Schema = arrow.schema(query.kind, query.result_columns)
        self.cursor: str | None = None
        """After the last batch: the cursor of the next page; None if there are no more rows."""
        # Before anything is read: a bar that ends meanwhile is not final.
        self._closed_ns = now_ns() - grace_ns
        read = query if query.open else without_open(query, self._closed_ns)
        self._execution = Execution(read, registry)
        self.version = (
            None
            if query.store
            else self._execution.coverage.version(query.source_kind.name, *source_span(read))
        )
        """Changes whenever the answer may have changed; None if changes of the span cannot be detected."""
        self._batches = self._read() if check_names is None else self._read_checked(check_names)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading; the rest of the answer is discarded."""
        self._batches.close()

    @property
    def next_tier(self) -> StoreTier:
        """The tier of the store that the next batch is read from."""
        return self._execution.next_tier

    @property
    def segments(self) -> list[dict[str, Any]]:
        """The JSON of the segments: which store served which span, with the rows and ms so far."""
        return self._execution.describe()

    def cached_json(self) -> CachedJson | None:
        """The whole answer where it is bars in memory, all of them final, with all columns; None otherwise.

        Nothing is read. Only for use before the first `next`, in its place.
        """
        _, last = source_span(self._execution.query)
        if self.query.columns or last > self._closed_ns:
            return None
        found = find_cached_bars(self._execution)
        return None if found is None else CachedJson(self._execution.day_bars, found)

    def _read_checked(self, check_names: Callable[[Query], None]) -> Generator[pa.RecordBatch]:
        if len(self.query.symbols) > 1:
            check_names(self.query)
        is_empty = True
        for batch in self._read():
            is_empty = is_empty and batch.num_rows == 0
            yield batch
        if is_empty and self.query.after is None:
            check_names(self.query)

    def _read(self) -> Generator[pa.RecordBatch]:
        query = self.query
        left = query.limit
        last = None
        for batch in self._with_keys():
            if left is None or query.last:
                yield batch.select(query.result_columns)
                continue
            if left:
                last = batch.slice(0, left)
                yield last.select(query.result_columns)
            if batch.num_rows > left and last is not None:
                self.cursor = encode_cursor(arrow.row_key(last, KINDS[query.kind], last.num_rows - 1))
                return
            left -= batch.num_rows

    def _with_keys(self) -> Iterator[pa.RecordBatch]:
        """The batches with the key columns; with a limit, at least one row more than it if there is one."""
        query = self.query
        if query.interval is not None:
            return self._bars()
        if query.last:
            assert query.limit is not None
            return read_last(self._execution, query.limit)
        return read_rows(self._execution, query.after, query.limit)

    def _bars(self) -> Iterator[pa.RecordBatch]:
        """Bars or candles."""
        query = self._execution.query
        assert query.interval is not None
        if query.last:
            assert query.limit is not None
            found = read_last(self._execution, query.limit)
        else:
            found = read_bars(self._execution, query.start_ns if query.after is None else int(query.after[0]))
        for batch in found:
            batch = arrow.rows_after(batch, KINDS[query.kind], query.after)
            if batch.num_rows and query.kind == BARS.name:
                yield add_final(batch, parse_interval(query.interval), self._closed_ns)
            elif batch.num_rows:
                yield batch
