"""What every venue must hold to: replayed in its own format, its rows are in the stream once, or in `gaps`."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest

from ingest.numbering import BY_TIME
from ingest.publisher import Publisher
from ingest.replay.emulator import VenueEmulator
from ingest.replay.formatting import batch_rows
from ingest.replay.registry import EMULATORS
from ingest.venues import feed
from ingest.venues.registry import VENUES
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MILLISECOND, SECOND, parse_ns
from tapehouse.model import QUOTES, TRADES
from tapehouse.settings import Feed, Settings
from tapehouse.stream.wire import unpack
from tests.broker import Broker
from tests.ingest.venues.live import Live, live, market

START = parse_ns("2024-08-08T12:00:00Z")
ROWS = 2_000
SYMBOLS = {"coinbase": ("BTC-USD", "ETH-USD"), "kraken": ("BTC/USD", "ETH/USD")}
"""As the venue spells them, where not as Binance does."""

pytestmark = pytest.mark.parametrize("emulator", EMULATORS.values(), ids=EMULATORS)


@pytest.fixture
def settings(broker: Broker) -> Settings:
    quick = Feed(gap_grace_s=0.2, overlap_s=0.3, silence_s=1)
    return broker.settings.model_copy(update={"feed": quick})


def symbols_of(emulator: VenueEmulator) -> tuple[str, ...]:
    return SYMBOLS.get(emulator.name, ("BTCUSDT", "ETHUSDT"))


def trades(emulator: VenueEmulator) -> Batch:
    """Of two symbols in turn, ids rising by one within each."""
    chance = np.random.default_rng(1)
    times = START + np.arange(ROWS) * 10 * MILLISECOND
    return Batch(
        TRADES,
        "any",
        ROWS,
        {
            "ts_event": times,
            "ts_recv": times + SECOND,
            "symbol": Strings(symbols_of(emulator), np.arange(ROWS, dtype=np.int32) % 2),
            "seq": 1_000 + np.arange(ROWS) // 2,
            "price": np.round(chance.normal(60_000, 10, ROWS), 2),
            "size": np.round(chance.exponential(1, ROWS) + 0.001, 5),
            "side": np.where(chance.random(ROWS) < 0.5, np.int8(1), np.int8(-1)),
            "flags": np.zeros(ROWS, np.int16),
            "exchange": Strings.constant(None, ROWS),
            "conditions": Strings.constant(None, ROWS),
        },
    )


def quotes(emulator: VenueEmulator) -> Batch:
    """Of the same symbols, ids rising by any step; each quote's bid is a price of its own."""
    chance = np.random.default_rng(2)
    times = START + np.arange(ROWS) * 10 * MILLISECOND + 3 * MILLISECOND
    bids = 50_000 + np.arange(ROWS) / 100
    return Batch(
        QUOTES,
        "any",
        ROWS,
        {
            "ts_event": times,
            "ts_recv": times + SECOND,
            "symbol": Strings(symbols_of(emulator), np.arange(ROWS, dtype=np.int32) % 2),
            "seq": 5_000 + np.cumsum(chance.integers(1, 9, ROWS)),
            "bid": bids,
            "bid_size": np.round(chance.exponential(1, ROWS) + 0.001, 3),
            "ask": np.round(bids + 0.5, 2),
            "ask_size": np.round(chance.exponential(1, ROWS) + 0.001, 3),
            "flags": np.zeros(ROWS, np.int16),
        },
    )


def trade(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("ts_event", "symbol", "seq", "price", "size", "side"))


def quote(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("symbol", "bid", "bid_size", "ask", "ask_size"))


async def all_trades(at: Live) -> bool:
    """As many trades as were recorded are in the stream, all fine if these are they."""
    return len((await at.rows())["trades"]) >= ROWS


def assert_same_trades(rows: dict[str, list[dict[str, Any]]], emulator: VenueEmulator) -> None:
    assert Counter(map(trade, rows["trades"])) == Counter(map(trade, batch_rows(trades(emulator))))


def assert_quotes_once(rows: dict[str, list[dict[str, Any]]], emulator: VenueEmulator) -> None:
    """No quote is there twice, or as it was not sent."""
    assert not Counter(map(quote, rows["quotes"])) - Counter(map(quote, batch_rows(quotes(emulator))))


async def quotes_there_or_in_gaps(at: Live, unseen: int = 0, *, to_the_end: bool = True) -> bool:
    """Each quote is there, or lies in a gap of its symbol, to the id where it has one.

    `unseen` is how many the venue left out without a word: where ids only rise nobody can tell. A gap at the
    end is known when the next quote comes: not `to_the_end` where there may be none.
    """
    rows = await at.rows()
    found = set(map(quote, rows["quotes"]))
    by_id = at.venue.numbering["quotes"] != BY_TIME
    gaps = [gap for gap in rows["gaps"] if gap["kind"] == "quotes" and not gap["closed"]]
    source = list(batch_rows(quotes(at.market.emulator)))
    last = {row["symbol"]: row["seq"] for row in source if to_the_end or quote(row) in found}
    unrecorded = [
        row
        for row in source
        if quote(row) not in found
        and row["seq"] <= last[row["symbol"]]
        and not any(
            gap["symbol"] == row["symbol"] and (not by_id or gap["seq"] <= row["seq"] <= gap["seq_last"])
            for gap in gaps
        )
    ]
    return len(unrecorded) <= unseen


async def test_what_a_venue_sends_is_published_once(settings: Settings, emulator: VenueEmulator) -> None:
    recording = emulator.encode([trades(emulator), quotes(emulator)])
    async with live(settings, market(emulator, recording), symbols_of(emulator)) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_trades(at), "all trades in the stream")
            await at.until(lambda: all_quotes(at), "all quotes in the stream")
        rows = await at.rows()
        assert_same_trades(rows, emulator)
        assert_quotes_once(rows, emulator)
        assert not rows["gaps"]
        assert not await at.quarantined()


async def all_quotes(at: Live) -> bool:
    return len((await at.rows())["quotes"]) >= ROWS


async def test_cuts_and_skipped_ids_are_healed_by_rest_or_recorded(
    settings: Settings, emulator: VenueEmulator
) -> None:
    recording = emulator.encode([trades(emulator), quotes(emulator)])
    faults = {"cut": 3, "skip": 5, "double": 5}
    async with live(settings, market(emulator, recording, faults), symbols_of(emulator)) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_trades(at), "all trades in the stream")
            await at.until(lambda: gaps_closed(at), "the gaps of trades to be closed")
            await at.until(lambda: quotes_there_or_in_gaps(at, faults["skip"]), "all quotes, or their gaps")
        rows = await at.rows()
        assert_same_trades(rows, emulator)
        assert_quotes_once(rows, emulator)


async def gaps_closed(at: Live) -> bool:
    """The last word on each gap of trades is that it is closed."""
    gaps = [gap for gap in (await at.rows())["gaps"] if gap["kind"] == "trades"]
    return all({(gap["symbol"], gap["seq"]): gap["closed"] for gap in gaps}.values())


async def test_damaged_messages_are_in_quarantine_and_their_trades_healed(
    settings: Settings, emulator: VenueEmulator
) -> None:
    recording = emulator.encode([trades(emulator)])
    async with live(settings, market(emulator, recording, {"damage": 7}), symbols_of(emulator)) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_trades(at), "all trades in the stream")
        assert_same_trades(await at.rows(), emulator)
        assert len(await at.quarantined()) == 7


async def test_a_feed_that_is_killed_goes_on_without_a_loss_or_a_double(
    settings: Settings, emulator: VenueEmulator
) -> None:
    recording = emulator.encode([trades(emulator), quotes(emulator)])
    async with live(settings, market(emulator, recording, speed=15), symbols_of(emulator)) as at:
        for least in (1, ROWS // 4):
            async with at.feeding():
                await at.until(partial(more_than, at, least), f"{least} trades in the stream")
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_trades(at), "all trades in the stream")
            await at.until(lambda: quotes_there_or_in_gaps(at, to_the_end=False), "all quotes, or their gaps")
        rows = await at.rows()
        assert_same_trades(rows, emulator)
        assert_quotes_once(rows, emulator)


async def test_a_feed_that_is_killed_at_the_first_row_after_a_lost_connection_keeps_the_gap_before_it(
    settings: Settings, emulator: VenueEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = quotes(emulator)
    at_venue = market(emulator, emulator.encode([sent]), {"cut": 1}, seed=9, speed=5)
    stored = asyncio.Event()
    publish = Publisher.publish

    async def publish_up_to_the_cut(
        publisher: Publisher, subject: str, payload: bytes, place: str = ""
    ) -> int:
        """Stops the feed when a quote sent after the cut is stored."""
        ticket = await publish(publisher, subject, payload, place)
        batch = unpack(payload)
        cuts = at_venue.faults.injected
        if batch.kind is QUOTES and cuts and batch.array("bid").max() > sent.array("bid")[cuts[0].number]:
            await publisher.wait_acknowledged(ticket)
            stored.set()
            await asyncio.Event().wait()
        return ticket

    async with live(settings, at_venue, symbols_of(emulator)) as at:
        monkeypatch.setattr(Publisher, "publish", publish_up_to_the_cut)
        monkeypatch.setattr(feed, "_SAVE_EVERY_S", 3600)
        async with at.feeding():
            await at.until(stored.is_set, "a quote after the cut in the stream")
        monkeypatch.undo()
        assert not (await at.rows())["gaps"]
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: quotes_there_or_in_gaps(at, to_the_end=False), "all quotes, or their gaps")
        rows = await at.rows()
        assert_quotes_once(rows, emulator)
        assert "disconnected" in {gap["reason"] for gap in rows["gaps"]}


async def more_than(at: Live, count: int) -> bool:
    return len((await at.rows())["trades"]) > count


async def test_connections_are_handed_over_before_the_venue_cuts_them(
    settings: Settings, emulator: VenueEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue = VENUES[emulator.name]
    if not venue.allows_overlap:
        # It has rows without ids, that two connections would double.
        assert venue.connection_lifetime_s is None
        return
    monkeypatch.setattr(venue, "connection_lifetime_s", 0.3)
    recording = emulator.encode([trades(emulator), quotes(emulator)])
    async with live(settings, market(emulator, recording, speed=15), symbols_of(emulator), venue) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_quotes(at), "all quotes in the stream")
            await at.until(lambda: all_trades(at), "all trades in the stream")
        rows = await at.rows()
        assert_same_trades(rows, emulator)
        assert_quotes_once(rows, emulator)
        assert not rows["gaps"]


async def test_a_venue_that_falls_silent_is_connected_to_anew(
    settings: Settings, emulator: VenueEmulator
) -> None:
    recording = emulator.encode([trades(emulator)])
    quick = settings.model_copy(update={"feed": settings.feed.model_copy(update={"silence_s": 0.5})})
    async with live(quick, market(emulator, recording, {"stall": 1}), symbols_of(emulator)) as at:
        async with at.feeding():
            await at.until(at.market.done.is_set, "the end of the recording")
            await at.until(lambda: all_trades(at), "all trades in the stream")
        assert_same_trades(await at.rows(), emulator)
