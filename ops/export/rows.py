"""The rows of a query: from the gateway if one runs, else from the stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from gateway.query import Query
    from gateway.surface import QuerySurface
    from tapehouse.client.transport import Transport
    from tapehouse.settings import Settings


class Source(Protocol):
    """Answers one query."""

    def explain(self) -> dict[str, Any]:
        """The plan, ready for JSON; nothing is read."""

    def answer(self) -> contextlib.AbstractContextManager[Rows]:
        """The rows, to be read once."""


class Rows(Protocol):
    """The rows of an answer, to be read once."""

    @property
    def empty(self) -> pl.DataFrame:
        """The columns, without rows."""

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Which store served which span; complete after the last row."""

    def frames(self, piece: int = ...) -> Iterator[pl.DataFrame]:
        """The rows in order. Raises TapehouseError if the answer fails."""


@contextlib.contextmanager
def source(settings: Settings, query: Query) -> Iterator[Source]:
    """The gateway of the settings if it responds, else the stores."""
    from tapehouse.client.address import known
    from tapehouse.client.transport import Transport

    if url := known(settings):
        with contextlib.closing(Transport(url)) as transport:
            if transport.answers():
                yield _Gateway(transport, query)
                return
    from gateway.surface import QuerySurface

    with QuerySurface(settings) as surface:
        yield _Stores(surface, query)


class _Gateway:
    def __init__(self, transport: Transport, query: Query) -> None:
        self._transport = transport
        self._query = query

    def explain(self) -> dict[str, Any]:
        parameters = {"kind": self._query.kind, **_parameters(self._query)}
        return dict(self._transport.json("/v1/explain", parameters))

    def answer(self) -> contextlib.AbstractContextManager[Rows]:
        from tapehouse.client.download import RowDownload

        return RowDownload(self._transport, f"/v1/{self._query.kind}", _parameters(self._query))


class _Stores:
    def __init__(self, surface: QuerySurface, query: Query) -> None:
        from tapehouse.errors import TapehouseError

        self._surface = surface
        self._query = query
        # If a store does not answer, the query that needs it raises; others do not need it.
        with contextlib.suppress(TapehouseError):
            surface.refresh()

    def explain(self) -> dict[str, Any]:
        return self._surface.explain(self._query)

    @contextlib.contextmanager
    def answer(self) -> Iterator[Rows]:
        answer = self._surface.answer(self._surface.resolve(self._query))
        try:
            yield _Read(answer)
        finally:
            answer.close()


class _Read:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    @property
    def empty(self) -> pl.DataFrame:
        return self._frame(self._answer.schema.empty_table())

    @property
    def segments(self) -> list[dict[str, Any]]:
        return list(self._answer.segments)

    def frames(self, piece: int = 0) -> Iterator[pl.DataFrame]:
        for batch in self._answer:
            if batch.num_rows:
                yield self._frame(batch)

    @staticmethod
    def _frame(rows: Any) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(pl.from_arrow(rows))


def _parameters(query: Query) -> dict[str, object]:
    """The query as REST parameters."""
    from tapehouse.clock import MAX_TS, iso
    from tapehouse.model import OF_ACCOUNTS

    return {
        "account" if query.kind in OF_ACCOUNTS else "symbol": query.symbols,
        "venue": query.venue or None,
        "start": iso(query.start_ns),
        "end": None if query.end_ns == MAX_TS else iso(query.end_ns),
        "last" if query.last else "limit": query.limit,
        "columns": query.columns,
        "interval": query.interval,
        "fill": query.fill if query.kind == "bars" else None,
        "open": None if query.open else "false",
        "flags": query.flags or None,
        "store": query.store or None,
    }
