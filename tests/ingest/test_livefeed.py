"""A live feed: every row once, what is missing known, whatever the venue, the broker or a kill does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ingest.feeds import replay_binance
from ingest.feeds.dialect import Recorded
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MILLISECOND, SECOND, parse_ns
from tapehouse.model import DEPTH, QUOTES, TRADES
from tapehouse.settings import Feed, Settings
from tests.broker import Broker
from tests.ingest.live import Live, live, market

START = parse_ns("2024-08-08T23:59:30Z")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ROWS = 3_000


@pytest.fixture
def settings(broker: Broker) -> Settings:
    feed = Feed(gap_grace_s=0.2, overlap_s=0.3, silence_s=5)
    return broker.settings.model_copy(update={"feed": feed})


def trades(rows: int = ROWS) -> Batch:
    times = START + np.arange(rows) * 20 * MILLISECOND
    symbols = Strings(SYMBOLS, np.arange(rows, dtype=np.int32) % 2)
    chance = np.random.default_rng(1)
    return Batch(
        TRADES,
        "any",
        rows,
        {
            "ts_event": times,
            "ts_recv": times + SECOND,
            "symbol": symbols,
            "seq": 1_000 + np.arange(rows) // 2,
            "price": np.round(chance.normal(60_000, 10, rows), 2),
            "size": np.round(chance.exponential(1, rows), 5),
            "side": np.where(chance.random(rows) < 0.5, np.int8(1), np.int8(-1)),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings.constant(None, rows),
            "conditions": Strings.constant(None, rows),
        },
    )


@pytest.fixture(scope="module")
def recording() -> list[Recorded]:
    return list(replay_binance.USDM.render([trades()]))


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("ts_event", "symbol", "seq", "price", "size", "side"))


async def test_what_a_venue_sends_is_published_once(settings: Settings, recording: list[Recorded]) -> None:
    async with live(settings, market(replay_binance.USDM, recording), SYMBOLS) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: arrived(at, ROWS), "all rows in the stream")
        rows = (await at.rows())["trades"]
        expected = [row for row in rows_of(trades())]
        assert sorted(map(key, rows)) == sorted(map(key, expected))


async def arrived(at: Live, count: int) -> bool:
    return len((await at.rows())["trades"]) >= count


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    from tests.ingest.live import as_rows

    return as_rows(batch)
