"""Keeps the topics of account candles current: reads candles again once their trades have been written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.live.account_candles import AccountCandlesTopic, CandleHistory
from gateway.live.tick_source import TickSource

_READ_AT_ONCE = 4
"""Topics whose candles are read side by side."""


class CandleRefresher:
    """The topics of account candles that are followed; current while `run` runs."""

    def __init__(self, history: CandleHistory, next_version: Callable[[], int]) -> None:
        """`next_version` raises the version of all topics by one, and returns it."""
        self._history = history
        self._next_version = next_version
        self._source: TickSource | None = None
        """Of account trades, as of the newest topic."""
        self._topics: set[AccountCandlesTopic] = set()
        self._looked = asyncio.Event()

    def on_written(self) -> None:
        """It was looked up anew which account trades are written."""
        self._looked.set()

    def create(
        self, number: int, epoch: int, n: int, key: tuple[str, str], source: TickSource
    ) -> AccountCandlesTopic:
        """A topic of an account and interval, to which trades are added that may not be written yet."""
        self._source = source
        source.wanted.add(("", key[0]))
        topic = AccountCandlesTopic(number, epoch, n, key, self._history)
        topic.touch([ts for (ts,) in source.recent("", topic.account)], source.received_seq)
        self._topics.add(topic)
        return topic

    def touch(self, account: str, times: Sequence[int]) -> None:
        """Trades of an account at some times, ns, came in the source's newest message."""
        assert self._source is not None
        for topic in self._topics:
            if topic.account == account:
                topic.touch(times, self._source.received_seq)

    def drop(self, topic: AccountCandlesTopic) -> None:
        """Keep a topic current no longer."""
        assert self._source is not None
        self._topics.discard(topic)
        if all(other.account != topic.account for other in self._topics):
            self._source.wanted.discard(("", topic.account))

    async def run(self) -> None:
        """Read what is due, until cancelled."""
        slots = asyncio.Semaphore(_READ_AT_ONCE)

        async def refresh(topic: AccountCandlesTopic, written_seq: int) -> None:
            async with slots:
                await topic.refresh(written_seq, self._next_version)

        while True:
            await self._looked.wait()
            self._looked.clear()
            if self._source is not None:
                seq = self._source.written_seq
                await asyncio.gather(*(refresh(topic, seq) for topic in list(self._topics)))
