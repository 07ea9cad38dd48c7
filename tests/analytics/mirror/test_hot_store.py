"""A day is read from QuestDB as Parquet files that hold every row as it is."""

from __future__ import annotations

import io
from contextlib import closing

import numpy as np
import polars as pl

from analytics.mirror.copier import slice_fingerprint
from analytics.mirror.hot_store import HotDayReader
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.clock import SECOND, parse_ns
from tapehouse.model import TRADES
from tests.conftest import Platform

_DAY = "2019-03-05"
_ROWS = 450_000
"""More than QuestDB puts into one group of a Parquet file, several times."""


def _trades(venue: str) -> Batch:
    numbers = np.arange(_ROWS)
    times = parse_ns(_DAY) + numbers * (SECOND // 10)
    ids: list[str | None] = [None, "", "\u00e9", *map(str, range(3, 1000)), *[None] * (_ROWS - 1000)]
    return Batch(
        TRADES,
        venue,
        _ROWS,
        {
            "ts_event": times,
            "ts_recv": times,
            "symbol": Strings.constant("S", _ROWS),
            "seq": numbers + 1,
            "price": np.full(_ROWS, 1.5),
            "size": np.full(_ROWS, 2.0),
            "side": np.ones(_ROWS, np.int8),
            "flags": np.zeros(_ROWS, np.int16),
            "exchange": Strings.constant(None, _ROWS),
            "conditions": Strings.constant(None, _ROWS),
            "trade_id": Strings.of(ids),
        },
    )


async def test_a_slice_of_several_groups_is_readable_and_keeps_its_texts(
    provisioned: Platform, venue: str
) -> None:
    settings = provisioned.settings.questdb
    batch = _trades(venue)
    with closing(QuestDBWriter(settings)) as writer:
        assert not writer.commit([batch])
    hot = HotDayReader(settings)
    try:
        hot.reader.wait_applied(TRADES.name)
        slices = hot.slices(TRADES, _DAY, max_rows=2 * _ROWS)
        found = [(part, body) async for part, body in hot.export(TRADES, slices)]
    finally:
        hot.reader.close()
    assert max(part.rows for part, _ in found) >= _ROWS
    assert sum(slice_fingerprint(TRADES, part, body).rows for part, body in found) >= _ROWS
    rows = pl.concat([pl.read_parquet(io.BytesIO(body)) for _, body in found])
    rows = rows.filter(pl.col("venue") == venue).sort("seq")
    assert rows["trade_id"].to_list() == batch.columns["trade_id"].to_list()
