"""Compares the batches of a source with the stored rows as they come, and gives them their seq."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from ingest.imports.comparison import Compared, TimeNumbering
from ingest.imports.id_comparison import IdComparison
from ingest.imports.row_sources import RowSource
from ingest.imports.stored_rows import StoredRows
from ingest.numbering import BY_TIME, NumberingRegistry
from tapehouse.batch import Batch
from tapehouse.errors import ConnectError

_TIMEOUT_S = 120
_RETRY_S = 0.25
_T = TypeVar("_T")
_log = structlog.get_logger()


async def _at_once() -> None:
    """For sources of which nothing is published before it is compared."""


class SourceComparison:
    """Compares the batches of a source with the stored rows, each kind by ids or by times."""

    def __init__(
        self,
        source: RowSource,
        stored: StoredRows,
        numberings: NumberingRegistry,
        numbered: dict[str, dict[str, int]],
        *,
        fills_duplicates: bool = False,
    ) -> None:
        """`numberings` records how each symbol is numbered. `numbered`: by kind the last seq of each symbol without
        ids; it is updated. With `fills_duplicates` rows that are stored get the stored values of the columns that the
        source lacks."""
        self._fills_duplicates = fills_duplicates
        self._source = source
        self._stored = stored
        self._numberings = numberings
        self._numbered = numbered
        self._by_kind: dict[str, TimeNumbering | IdComparison] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found, to be shown to the user."""
        count = sum(
            comparison.at_other_times
            for comparison in self._by_kind.values()
            if isinstance(comparison, IdComparison)
        )
        return (f"{count:,} rows are stored already at other times of the same ids",) if count else ()

    def late_rows(self, batch: Batch) -> int:
        """The rows of a batch whose days are ClickHouse's."""
        return int((batch.array("ts_event") < self._stored.sealed_ns(batch.kind)).sum())

    async def compare(
        self, batch: Batch, until_written: Callable[[], Awaitable[None]] = _at_once
    ) -> Compared:
        """The rows of a batch, with their seq, beside the stored ones.

        `until_written` waits until what was published before is committed; it is called where rows of the batch may
        be repeats of that. Raises NumberingError where another numbering is recorded for one of its symbols.
        """
        kind = batch.kind
        numbering = self._source.numbering(kind)
        if numbering is not None:
            await self._numberings.claim(batch, numbering)
        if kind.name not in self._by_kind:
            provided = self._source.provided(kind)
            if numbering == BY_TIME:
                previous = self._numbered.setdefault(kind.name, {})
                self._by_kind[kind.name] = TimeNumbering(
                    kind, provided, previous, fills_duplicates=self._fills_duplicates
                )
            else:
                self._by_kind[kind.name] = IdComparison(
                    kind, provided, fills_duplicates=self._fills_duplicates
                )
        comparison = self._by_kind[kind.name]
        if isinstance(comparison, TimeNumbering):
            return comparison.number(batch, await query_store(self._stored.near, batch))
        if comparison.may_repeat(batch):
            await until_written()
            await query_store(self._stored.wait_applied, kind)
        return comparison.compare(batch, await query_store(self._stored.of_ids, batch))


async def query_store(query: Callable[..., _T], *arguments: Any) -> _T:
    """The result of a query of stored rows, retried while a store is unavailable, for at most two minutes."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return await asyncio.to_thread(query, *arguments)
        except ConnectError as reason:
            if time.monotonic() > deadline:
                raise
            _log.warning("store unavailable, retrying", reason=reason.message)
            await asyncio.sleep(_RETRY_S)
