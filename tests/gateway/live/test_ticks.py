"""Live trades and quotes as the hub sends them are the rows that came: decimals, empty sides, skips."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.live.ticks import QuotesTopic, Row, TradesTopic
from tapehouse.client.live_following import QuoteFollower
from tapehouse.client.live_records import Skipped
from tapehouse.client.live_trades import TradeFollower
from tapehouse.stream.live_messages import QUOTES
from tests.gateway.live.receiving import Receiver

_VALUES = [0.1, 1e-9, 5.0, -37.63, 7.0, 7.25, 1 / 3, 1e15, 123456789.12345678]
_EPOCH = 7


async def _nothing(count: int) -> list[Row]:
    return []


class _Trades:
    """A topic of trades that come in any order, again and corrected."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.n = 1
        self.seq = 0
        self.rows: dict[int, Row] = {}
        self.topic = TradesTopic(3, _EPOCH, self.n, ("V", "A"), [], _nothing)

    def add(self, count: int) -> None:
        rows = []
        for _ in range(count):
            if self.rows and self.chance.random() < 0.1:
                seq = self.chance.choice(list(self.rows))
            else:
                self.seq += 1
                seq = self.seq
            price, size = self.chance.choice(_VALUES), self.chance.choice(_VALUES)
            self.rows[seq] = (seq * 1_000, seq, price, size, self.chance.choice([-1, 0, 1]), 0)
            rows.append(self.rows[seq])
        if rows:
            self.n += 1
            self.topic.add(rows, self.n)


def _follower(last: int = 50) -> TradeFollower:
    return TradeFollower("V", "A", last)


def _received(receiver: Receiver) -> dict[int, Row]:
    return {
        trade.seq: (trade.ts_event_ns, trade.seq, *trade[4:8]) for trade in receiver.records
    }  # the newest of each


@given(st.integers(0, 2**32))
def test_trades_come_as_they_are_through_slowness_and_reconnects(seed: int) -> None:
    trades = _Trades(seed)
    trades.add(3)
    receiver, is_connected = Receiver(_follower(1000)), True
    receiver.subscribe(trades.topic, [])
    for name in [
        *trades.chance.choices(("add", "add", "slow", "taken", "lost", "back"), k=15),
        "back",
        "taken",
    ]:
        if name == "add":
            trades.add(trades.chance.randrange(4))
        elif name == "slow":
            receiver.is_slow = is_connected
        elif name == "taken" and is_connected:
            receiver.catch_up()
        elif name == "lost" and is_connected:
            trades.topic.unsubscribe(receiver, 0.0)
            is_connected, receiver.is_slow, receiver.behind = False, False, []
        elif name == "back" and not is_connected:
            receiver.subscribe(trades.topic, [])
            is_connected = True
    assert _received(receiver) == trades.rows


def test_what_is_no_longer_in_memory_is_told_to_a_slow_client_by_its_number() -> None:
    trades = _Trades(1)
    trades.add(10)
    receiver = Receiver(_follower())
    receiver.subscribe(trades.topic, [])
    before = set(_received(receiver))
    receiver.is_slow = True
    for seq in range(1_000, 4_500):
        trades.n += 1
        trades.topic.add([(seq, seq, 1.0, 2.0, 1, 0)], trades.n)
    receiver.catch_up()
    (skipped,) = receiver.notices
    assert isinstance(skipped, Skipped)
    received = set(_received(receiver)) - before
    assert received == set(range(2_500, 4_500))
    assert skipped.trades == 1_500
    assert skipped.seq_from <= 1_000
    assert skipped.seq_to == 2_499


def test_quotes_that_begin_without_a_row_have_the_decimals_that_were_announced() -> None:
    topic = QuotesTopic(3, _EPOCH, 1, ("V", "A"), _nothing)
    receiver = Receiver(QuoteFollower("quotes", QUOTES, {"venue": "V", "symbol": "A"}))
    receiver.subscribe(topic, [])
    assert receiver.records == []
    topic.add([(5, 1, 7.25, 3.0, 7.123456789, 1.0)], 2)
    (quote,) = receiver.records
    assert quote[4:8] == (7.25, 3.0, 7.123456789, 1.0)


def test_an_empty_side_of_the_book_is_none_from_the_store_and_from_the_stream() -> None:
    for empty in (None, math.nan):
        row: Any = (5, 1, empty, empty, 7.5, 1.0)
        stored = Receiver(QuoteFollower("quotes", QUOTES, {"venue": "V", "symbol": "A"}))
        stored.subscribe(QuotesTopic(3, _EPOCH, 1, ("V", "A"), _nothing), [row])
        streamed = Receiver(QuoteFollower("quotes", QUOTES, {"venue": "V", "symbol": "A"}))
        topic = QuotesTopic(3, _EPOCH, 1, ("V", "A"), _nothing)
        streamed.subscribe(topic, [])
        topic.add([row], 2)
        assert [one.records[0][4:8] for one in (stored, streamed)] == [(None, None, 7.5, 1.0)] * 2
