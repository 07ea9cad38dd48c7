"""A live feed and its books, and more than one connection."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.replay import binance
from ingest.replay.emulator import RecordedMessage
from ingest.venues.binance.venue import Binance
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.book import Book
from tapehouse.clock import MINUTE, SECOND, parse_ns
from tapehouse.model import DEPTH, NULL_LONG
from tapehouse.settings import Feed, Settings
from tests.broker import Broker
from tests.ingest.venues.live import Live, live, market

START = parse_ns("2024-08-08T23:55:00Z")
UPDATES = 600
LOST = range(200, 206)
FRESH = 260
"""The update at which the venue's REST interface has a newer book."""


@pytest.fixture
def settings(broker: Broker) -> Settings:
    feed = Feed(gap_grace_s=0.1, kinds=("depth",), snapshot_every_s=60)
    return broker.settings.model_copy(update={"feed": feed})


def depth(rows: list[dict[str, Any]]) -> Batch:
    def column(name: str) -> list[Any]:
        return [row[name] for row in rows]

    return Batch(
        DEPTH,
        "any",
        len(rows),
        {
            "ts_event": np.array(column("ts"), np.int64),
            "ts_recv": np.array(column("ts"), np.int64) + SECOND,
            "symbol": Strings.constant("BTCUSDT", len(rows)),
            "seq": np.array(column("seq"), np.int64),
            "snapshot": np.array(column("snapshot")),
            "seq_first": np.array(column("first"), np.int64),
            "seq_previous": np.array(column("previous"), np.int64),
            **{
                name: Lists.of(column(name))
                for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
            },
            "flags": np.zeros(len(rows), np.int16),
        },
    )


def update(number: int) -> dict[str, Any]:
    """One a second; ids jump by ten, as futures' do. Levels come and go."""
    seq = 1_000 + 10 * number
    return {
        "ts": START + number * SECOND, "seq": seq, "snapshot": False, "first": seq - 3, "previous": seq - 10,
        "bid_prices": [100.0 - number % 7, 90.0 - number % 5], "bid_sizes": [float(number % 4), 1.0],
        "ask_prices": [101.0 + number % 11], "ask_sizes": [float(number % 3)],
    }  # fmt: skip


def book_at(last: int) -> Book:
    """The true book after update `last`."""
    book = Book(990, START, [99.5], [5.0], [102.5], [5.0])
    for number in range(last + 1):
        row = update(number)
        assert book.apply(row["previous"], row["seq"], row["ts"], *_levels(row))
    return book


def _levels(row: dict[str, Any]) -> tuple[list[float], list[float], list[float], list[float]]:
    return row["bid_prices"], row["bid_sizes"], row["ask_prices"], row["ask_sizes"]


def snapshot(book: Book, ts: int) -> dict[str, Any]:
    bids, bid_sizes, asks, ask_sizes = book.levels()
    return {
        "ts": ts, "seq": book.seq, "snapshot": True, "first": NULL_LONG, "previous": NULL_LONG,
        "bid_prices": bids, "bid_sizes": bid_sizes, "ask_prices": asks, "ask_sizes": ask_sizes,
    }  # fmt: skip


def recorded() -> list[RecordedMessage]:
    first = Book(990, START, [99.5], [5.0], [102.5], [5.0])
    rows = [snapshot(first, START - SECOND)]
    for number in range(UPDATES):
        if number not in LOST:
            rows.append(update(number))
        if number == FRESH:
            rows.append(snapshot(book_at(number), START + number * SECOND))
    return list(binance.USDM.encode([depth(rows)]))


async def test_a_book_that_breaks_is_recorded_rebuilt_and_written_out_as_it_is(settings: Settings) -> None:
    at_venue = market(binance.USDM, recorded(), speed=200)
    async with live(settings, at_venue, ["BTCUSDT"]) as at:
        async with at.feeding():
            await at.until(
                lambda: at.seen("depth", {("BTCUSDT", update(UPDATES - 1)["seq"])}), "the last update"
            )
        rows = await at.rows()
    (gap,) = rows["gaps"]
    assert (gap["kind"], gap["seq"], gap["seq_last"]) == ("depth", update(199)["seq"] + 1, update(205)["seq"])
    assert (gap["missing"], gap["closed"]) == (NULL_LONG, False)
    written = [row for row in rows["depth"] if row["snapshot"] and row["ts_event"] % MINUTE == 0]
    # Midnight, at update 300, is among them, behind the break.
    assert START + 300 * SECOND in {row["ts_event"] for row in written}
    for row in written:
        number = (row["seq"] - 1_000) // 10
        assert row["ts_event"] == START + (number + 1) * SECOND
        true = book_at(number).levels()
        assert (row["bid_prices"], row["bid_sizes"], row["ask_prices"], row["ask_sizes"]) == true


async def test_streams_are_spread_over_connections_within_the_venues_limit(settings: Settings) -> None:
    symbols = [f"S{number}USDT" for number in range(5)]
    rows = [update(number) for number in range(50)]
    batches = [
        replace(batch, columns={**batch.columns, "symbol": Strings.constant(symbol, batch.rows)})
        for batch in [depth(rows)]
        for symbol in symbols
    ]
    at_venue = market(binance.USDM, binance.USDM.encode(batches))
    venue = _of_two_streams()
    async with live(settings, at_venue, symbols, venue) as at, at.feeding() as feed:
        await at.until(lambda: all_there(at, symbols), "the last update of each symbol")
        assert feed.connections == 3


async def test_rows_that_come_while_the_broker_does_not_acknowledge_are_sent_together(
    settings: Settings, broker: Broker
) -> None:
    assert broker.process is not None
    rows = [update(number) for number in range(6_000)]
    at_venue = market(binance.USDM, binance.USDM.encode([depth(rows)]), speed=1_500)
    async with live(settings, at_venue, ["BTCUSDT"]) as at, at.feeding():
        await at.until(lambda: at.seen("depth", {("BTCUSDT", update(9)["seq"])}), "the first updates")
        before = len(await at.batches())
        broker.process.send_signal(signal.SIGSTOP)
        try:
            await at.until(at.market.done.is_set, "the end of the recording")
        finally:
            broker.process.send_signal(signal.SIGCONT)
        await at.until(lambda: at.seen("depth", {("BTCUSDT", rows[-1]["seq"])}), "the last update")
        # Else as many as the publisher sends without an acknowledgement.
        assert len(await at.batches()) - before < 32


async def all_there(at: Live, symbols: list[str]) -> bool:
    return await at.seen("depth", {(symbol, update(49)["seq"]) for symbol in symbols})


def _of_two_streams() -> Binance:
    return Binance(
        "binance_usdm", "", "", root="/fapi/v1", levels=10, max_streams_per_connection=2, commands_per_s=100,
        needs_key=True, trades_pause_s=0, book_pause_s=0,
    )  # fmt: skip
