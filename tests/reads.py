"""Whole answers as frames, as the query surface gives them, by the stores that a test names."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from gateway.answers.answer import QueryAnswer
from gateway.answers.coverage import Coverage
from gateway.answers.registry import StoreRegistry
from gateway.query import Query
from gateway.stores.questdb import QuestDBStore
from tapehouse.settings import Settings
from tapehouse.stores.clickhouse import ClickHouseClient


def read_hot(settings: Settings, query: Query) -> pl.DataFrame:
    """The answer of the hot store alone: no day is known to be another's."""
    store, ledger = QuestDBStore(settings.questdb), ClickHouseClient(settings.clickhouse)
    try:
        registry = StoreRegistry({"hot": store}, ledger)
        registry.coverage = Coverage(unknown_reason="")
        return whole(QueryAnswer(query, registry))
    finally:
        store.close()
        ledger.close()


def whole(answer: QueryAnswer) -> pl.DataFrame:
    """All of an answer."""
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(list(answer), schema=answer.schema)))
