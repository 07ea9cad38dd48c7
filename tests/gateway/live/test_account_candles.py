"""Live candles of accounts: whatever is written, late or again, a follower ends with those that are stored."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.live import account_candles
from gateway.live.account_candles import AccountCandlesTopic, CandleRow, Candles
from tapehouse.client.live_candles import AccountCandleFollower
from tapehouse.client.live_records import Revised
from tapehouse.clock import HOUR, MINUTE, now_ns
from tapehouse.errors import ConnectError, TapehouseError
from tests.gateway.live.receiving import Receiver

_EPOCH = 7
_FIRST = now_ns() // HOUR * HOUR - 5 * HOUR


class _Stored:
    """A stream of trades, of which a store shows those that are written: (time, id, amount) by message."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.seq = self.written_seq = 0
        self.n = 1
        self.unwritten: list[tuple[int, int, int, int]] = []
        self.trades: dict[tuple[int, int], int] = {}
        self.failing: type[TapehouseError] | None = None
        self.topic = AccountCandlesTopic(3, _EPOCH, self.n, ("9", "1m"), self)
        self.asked: list[tuple[int, int]] = []

    def next_version(self) -> int:
        self.n += 1
        return self.n

    def add(self, count: int) -> None:
        """A message of trades, some late, some corrections."""
        self.seq += 1
        for _ in range(count):
            ts = _FIRST + self.chance.randrange(6) * MINUTE + self.chance.randrange(3)
            self.unwritten.append((self.seq, ts, self.chance.randrange(3), self.chance.randrange(1000)))
        self.topic.touch([ts for seq, ts, *_ in self.unwritten if seq == self.seq], self.seq)

    def write(self) -> None:
        """The writer writes some messages more."""
        self._write_to(self.chance.randrange(self.written_seq, self.seq + 1))

    def write_all(self) -> None:
        """The writer writes all messages."""
        self._write_to(self.seq)

    def _write_to(self, seq: int) -> None:
        self.written_seq = seq
        for at, ts, number, amount in self.unwritten:
            if at <= seq:
                self.trades[ts, number] = amount
        self.unwritten = [row for row in self.unwritten if row[0] > seq]

    async def refresh(self) -> None:
        await self.topic.refresh(self.written_seq, self.next_version)

    def now(self) -> dict[int, CandleRow]:
        """The stored candles."""
        buckets: dict[int, list[int]] = {}
        for key in sorted(self.trades):
            buckets.setdefault(key[0] // MINUTE * MINUTE, []).append(self.trades[key])
        return {
            ts: (*map(str, (found[0], max(found), min(found), found[-1], sum(found))), len(found))
            for ts, found in buckets.items()
        }

    async def candles(self, account: str, interval: str, start_ns: int, end_ns: int) -> Candles:
        self.asked.append((start_ns, end_ns))
        if self.failing is not None:
            raise self.failing("no answer")
        return [(ts, row) for ts, row in sorted(self.now().items()) if start_ns <= ts < end_ns]

    async def last_candles(self, account: str, interval: str, count: int) -> Candles:
        return sorted(self.now().items())[-count:]


def _follower() -> AccountCandleFollower:
    return AccountCandleFollower("9", "1m", 2_000)


def _known(receiver: Receiver) -> dict[int, CandleRow]:
    """The newest of each."""
    return {
        round(one.ts.timestamp()) * 1_000_000_000: (*map(str, one[2:7]), one.trades)
        for one in receiver.records
    }


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_candles_are_those_stored_through_late_trades_corrections_slowness_and_reconnects(seed: int) -> None:
    async def run() -> None:
        stored = _Stored(seed)
        stored.add(4)
        stored.write()
        receiver, is_connected = Receiver(_follower()), True
        await _subscribed(stored, receiver)
        names = ("add", "add", "write", "refresh", "slow", "taken", "lost", "back")
        for name in [*stored.chance.choices(names, k=25), "back", "taken"]:
            if name == "add":
                stored.add(stored.chance.randrange(1, 4))
            elif name == "write":
                stored.write()
            elif name == "refresh":
                await stored.refresh()
            elif name == "slow":
                receiver.is_slow = is_connected
            elif name == "taken" and is_connected:
                receiver.catch_up()
            elif name == "lost" and is_connected:
                stored.topic.unsubscribe(receiver, 0.0)
                receiver.is_slow = is_connected = False
                receiver.behind.clear()
            elif name == "back" and not is_connected:
                await _subscribed(stored, receiver)
                is_connected = True
        stored.write_all()
        await stored.refresh()
        assert _known(receiver) == stored.now()

    asyncio.run(run())


async def _subscribed(stored: _Stored, receiver: Receiver) -> None:
    """As a connection does it: a history that is out of date is read again."""
    request = receiver.follower.options().get("last", 2_000)
    history = (stored.topic.n, await stored.last_candles("9", "1m", request))
    assert stored.topic.is_current(history)
    receiver.subscribe(stored.topic, history)


def test_what_is_not_written_is_not_read() -> None:
    stored = _Stored(1)
    stored.add(3)
    asyncio.run(stored.refresh())
    assert stored.asked == []
    stored.written_seq = stored.seq
    asyncio.run(stored.refresh())
    asyncio.run(stored.refresh())
    assert len(stored.asked) == 1


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    stored = _Stored(2)
    receiver = Receiver(_follower())
    asyncio.run(_subscribed(stored, receiver))
    stored.add(3)
    stored.write_all()
    stored.failing = ConnectError
    asyncio.run(stored.refresh())
    assert receiver.records == []
    stored.failing = None
    asyncio.run(stored.refresh())
    assert _known(receiver) == stored.now()
    assert receiver.notices == []


def test_candles_that_a_store_refuses_are_announced_as_revised() -> None:
    stored = _Stored(3)
    receiver = Receiver(_follower())
    stored.add(2)
    stored.write_all()
    asyncio.run(_subscribed(stored, receiver))
    version = stored.topic.n
    stored.failing = TapehouseError
    asyncio.run(stored.refresh())
    (notice,) = receiver.notices
    assert isinstance(notice, Revised)
    assert notice.start.timestamp() * 1e9 == min(stored.now())
    assert notice.end.timestamp() * 1e9 == max(stored.now())
    # The client asks for the candles anew, and one that comes back cannot go on from before.
    assert receiver.follower.requests()
    assert stored.topic.known_after > version


def test_more_candles_than_are_read_at_once_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_candles, "_MOST_TOUCHED", 2)
    stored = _Stored(4)
    receiver = Receiver(_follower())
    asyncio.run(_subscribed(stored, receiver))
    for minute in range(5):
        stored.trades[_FIRST + minute * MINUTE, 0] = minute
        stored.topic.touch([_FIRST + minute * MINUTE], 1)
    stored.written_seq = 1
    asyncio.run(stored.refresh())
    (notice,) = receiver.notices
    assert isinstance(notice, Revised)
    assert (notice.end - notice.start).total_seconds() == 120
    assert sorted(_known(receiver)) == [_FIRST + 3 * MINUTE, _FIRST + 4 * MINUTE]


def test_candles_that_wait_for_a_writer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_candles, "_MOST_TOUCHED", 2)
    monkeypatch.setattr(account_candles, "_MOST_WAITING", 4)
    stored = _Stored(6)
    receiver = Receiver(_follower())
    asyncio.run(_subscribed(stored, receiver))
    for minute in range(12):
        stored.trades[_FIRST + minute * MINUTE, 0] = minute
        stored.topic.touch([_FIRST + minute * MINUTE], minute)
    asyncio.run(stored.refresh())
    assert receiver.notices == []
    stored.written_seq = 11
    asyncio.run(stored.refresh())
    told = [notice for notice in receiver.notices if isinstance(notice, Revised)]
    assert told[-1].start.timestamp() * 1e9 == _FIRST
    assert told[-1].end.timestamp() * 1e9 == _FIRST + 9 * MINUTE
    assert sorted(_known(receiver)) == [_FIRST + 10 * MINUTE, _FIRST + 11 * MINUTE]


def test_candles_far_apart_are_read_one_by_one_and_near_ones_together() -> None:
    stored = _Stored(5)
    for hour in (0, 1, 2, 100, 101):
        stored.topic.touch([_FIRST + hour * HOUR + 1], 1)
    stored.written_seq = 1
    asyncio.run(stored.refresh())
    hours = [((start - _FIRST) // HOUR, (end - _FIRST) // MINUTE) for start, end in stored.asked]
    assert hours == [(0, 2 * 60 + 1), (100, 101 * 60 + 1)]
