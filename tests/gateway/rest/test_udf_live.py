"""UDF beside a real writer and bar maker: a chart that polls follows the feed, and late trades mark their bar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tapehouse.clock import MINUTE, SECOND
from tapehouse.settings import ClickHouse, Settings
from tests.gateway.rest.udf_client import Bar, Pulse, UdfClient, UdfError
from tests.gateway.serving import gateway
from tests.ingest.barmaker.livebars import (
    BEGIN,
    connected,
    making,
    publish,
    settings,
    trades,
    until_equal,
    writing,
)
from tests.waiting import until

__all__ = ["settings"]

_BEGIN_S = BEGIN // SECOND
_LEASE_S = 30.0


@asynccontextmanager
async def _charting(settings: Settings, cold: ClickHouse) -> AsyncIterator[UdfClient]:
    """A client of a gateway that has a loop of its own."""
    running = gateway(settings.model_copy(update={"clickhouse": cold}))
    client = await asyncio.to_thread(running.__enter__)
    try:
        yield UdfClient(client)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def test_a_chart_that_polls_follows_the_feed_and_late_trades_mark_their_bar(
    settings: Settings, shared_cold: ClickHouse, venue: str
) -> None:
    first = [(BEGIN + minute * MINUTE, "S", 1 + minute, 100.0 + minute, 1.0, 1, 0) for minute in range(10)]
    # Beside a gateway in the same process a lease of a second is not renewed in time on a busy machine.
    patient = settings.writer.model_copy(update={"lease_s": _LEASE_S})
    settings = settings.model_copy(update={"writer": patient})
    async with (
        _charting(settings, shared_cold) as udf,
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
    ):
        await publish(feed, trades(venue, first))
        await until_equal(settings, venue, ["S"])
        await until(lambda: asyncio.to_thread(_is_ready, udf), "the gateway to be ready")
        info = await asyncio.to_thread(udf.resolve, f"{venue}:S")
        pulse = Pulse(udf, info, "1")
        now = _BEGIN_S + 9 * 60 + 30
        assert _closes(await asyncio.to_thread(pulse.poll, now)) == [109.0]
        assert await asyncio.to_thread(udf.marks, info, "1", _BEGIN_S, now) == []

        more = [(BEGIN + 9 * MINUTE + 20 * SECOND, 11, 50.0), (BEGIN + 10 * MINUTE, 12, 60.0)]
        late = (BEGIN + 30 * SECOND, 13, 99.0)
        rows = [(ts, "S", seq, price, 1.0, 1, 0) for ts, seq, price in (*more, late)]
        await publish(feed, trades(venue, rows))
        await until_equal(settings, venue, ["S"])
        # The bar before is finished with what came after the last poll.
        assert _closes(await asyncio.to_thread(pulse.poll, now + 60)) == [50.0, 60.0]

        marks = await asyncio.to_thread(udf.marks, info, "1", _BEGIN_S, now)
        assert [(mark["time"], mark["label"]) for mark in marks] == [(_BEGIN_S, "R")]
        assert marks[0]["text"] == "changed 1 time after it was final"


def _is_ready(udf: UdfClient) -> bool:
    if udf.client.get("/readyz").status != 200:
        return False
    try:
        udf.ready()
    except UdfError:
        return False
    return True


def _closes(bars: list[Bar]) -> list[float]:
    return [bar.close for bar in bars]
