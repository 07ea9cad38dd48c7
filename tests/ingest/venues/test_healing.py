"""What a live feed missed is asked for again, and said."""

from __future__ import annotations

import json

import pytest

from ingest.replay import binance, coinbase
from ingest.replay.emulator import RecordedMessage
from ingest.venues.venue import VenueStream
from tapehouse.settings import Feed, Settings
from tests.broker import Broker
from tests.ingest.venues.live import live, market
from tests.ingest.venues.test_venues import SYMBOLS, trades


@pytest.fixture
def settings(broker: Broker) -> Settings:
    return broker.settings.model_copy(update={"feed": Feed(gap_grace_s=0.2, kinds=("trades",))})


async def test_the_last_trade_before_a_quiet_time_is_missed_by_what_the_venue_tells(
    settings: Settings,
) -> None:
    emulator = coinbase.EXCHANGE
    symbol = SYMBOLS["coinbase"][0]
    recording = [item for item in emulator.encode([trades(emulator)]) if item.stream.symbol == symbol][:20]
    heartbeat = {
        "type": "heartbeat", "last_trade_id": emulator.trade_id(recording[-1].message), "product_id": symbol,
        "sequence": 90_000, "time": "2024-08-08T12:00:30.000000Z",
    }  # fmt: skip
    told = RecordedMessage(
        recording[-1].at_ns + 1, VenueStream("quotes", symbol), json.dumps(heartbeat).encode()
    )
    quiet = market(emulator, [*recording[:19], told])
    last = recording[-1]
    quiet.history.add_trade(symbol, emulator.trade_id(last.message), last.message)
    asking = settings.model_copy(
        update={"feed": settings.feed.model_copy(update={"kinds": ("trades", "quotes")})}
    )
    async with live(asking, quiet, [symbol]) as at, at.feeding():
        await at.until(
            lambda: at.seen("trades", {(symbol, emulator.trade_id(last.message))}), "the last trade"
        )


async def test_a_gap_that_rest_cannot_fill_stays_open_and_is_closed_when_it_can(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.venues.healing._RETRY_AFTER_S", (0.3,) * 30)
    emulator = binance.SPOT
    recording = list(emulator.encode([trades(emulator)]))[:40]
    lost = recording[20]
    at_venue = market(emulator, [item for item in recording if item is not lost])
    symbol, seq = lost.stream.symbol, emulator.trade_id(lost.message)
    async with live(settings, at_venue, ["BTCUSDT", "ETHUSDT"]) as at, at.feeding():

        async def said(closed: bool) -> bool:
            gaps = (await at.rows())["gaps"]
            return any(
                (gap["seq"], gap["missing"], gap["closed"]) == (seq, 1 - closed, closed) for gap in gaps
            )

        await at.until(lambda: said(False), "the open gap")
        at_venue.history.trades[symbol] = dict(
            sorted({**at_venue.history.trades[symbol], seq: lost.message}.items())
        )
        await at.until(lambda: said(True), "the closed gap")
        assert await at.seen("trades", {(symbol, seq)})
