"""Whole answers as frames, as the query surface gives them, by the stores that a test names."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from gateway.answer import Answer
from gateway.coverage import Coverage
from gateway.owners import Owners
from gateway.query import Query
from gateway.stores.questdb import QuestStore
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.settings import Settings


def read_hot(settings: Settings, query: Query) -> pl.DataFrame:
    """The answer of the hot store alone: no day is known to be another's."""
    store, ledger = QuestStore(settings.questdb), ClickHouseClient(settings.clickhouse)
    try:
        owners = Owners({"hot": store}, ledger)
        owners.coverage = Coverage(unread="")
        return whole(Answer(query, owners))
    finally:
        store.close()
        ledger.close()


def whole(answer: Answer) -> pl.DataFrame:
    """All of an answer."""
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(list(answer), schema=answer.schema)))
