"""Account trades published at a rate, and how long each takes until an answer with its account's candles has it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable

import numpy as np
import urllib3

from bench.stand import Stand
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch
from tapehouse.clock import HOUR, now_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus

RATE, ACCOUNTS, ROWS = 10_000, 1_000, 100
WARM_S = 5
_STEP_S = ROWS / RATE
_ASK_S = 0.005
_WATCHED_EVERY = 20
_GIVE_UP_S = 20
_UNIT = 10**18


class Meter:
    """Measures the latency of the batches that it is given, one at a time; those given meanwhile are left out."""

    def __init__(self, platform: Stand, store: str = "") -> None:
        """`store` is the one that queries name; without it QuestDB itself is asked in turns, as the peer."""
        self.ours_ms: list[float] = []
        self.peer_ms: list[float] = []
        self.answers_ms: list[float] = []
        """Of each answer by REST alone."""
        self._url = platform.settings.gateway.url
        self._store = store
        self._given: queue.Queue[tuple[float, int, int] | None] = queue.Queue(1)
        self._pool = urllib3.PoolManager()
        self._reader = QuestReader(platform.settings.questdb)
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def watch(self, number: int, account: int) -> None:
        """Measure from now until the trade with this id, the account's newest, shows."""
        with contextlib.suppress(queue.Full):
            self._given.put_nowait((time.perf_counter(), number, account))

    def stop(self) -> None:
        """Measure what was given, then no more."""
        self._given.put(None)
        self._thread.join()

    def _look(self) -> None:
        with self._reader as reader:
            is_peer = False
            while (given := self._given.get()) is not None:
                handed_over, number, account = given
                while time.perf_counter() < handed_over + _GIVE_UP_S:
                    newest = _newest_row(reader) if is_peer else self._close(account)
                    if newest >= number:
                        break
                    time.sleep(_ASK_S)
                latency = (time.perf_counter() - handed_over) * 1000
                (self.peer_ms if is_peer else self.ours_ms).append(latency)
                is_peer = not is_peer and not self._store

    def _close(self, account: int) -> int:
        """The close of an account's last candle, which is the id of its newest trade."""
        began = time.perf_counter()
        path = f"/v1/accounts/{account}/candles?interval=30m&start={now_ns() - HOUR}"
        path += f"&store={self._store}" if self._store else ""
        answer = self._pool.request("GET", self._url + path)
        self.answers_ms.append((time.perf_counter() - began) * 1000)
        rows = answer.json()["rows"]
        return int(rows[-1]["close"].partition(".")[0]) if rows else -1


def _newest_row(reader: QuestReader) -> int:
    rows = reader.fetch("SELECT id FROM account_trades LIMIT -1")
    return int(rows[0][0]) if rows else -1


def row_batch(first: int, rows: int = ROWS) -> Batch:
    """Trades as of now with ids from `first` on; the amount of each is its id."""
    ids = np.arange(first, first + rows)
    # Times rise by the row, so that the last row of the table is the last one sent.
    times = now_ns() + np.arange(rows)
    amounts = np.frombuffer(
        b"".join((number * _UNIT).to_bytes(16, "little") for number in ids.tolist()), "V16"
    )
    return Batch(
        ACCOUNT_TRADES,
        "accounts",
        rows,
        {
            "ts_event": times,
            "ts_recv": times,
            "account_id": ids % ACCOUNTS,
            "id": ids,
            "total_done": amounts,
            "trx_amount": amounts,
            "amount": amounts,
            "trans_type": np.ones(rows, np.int16),
        },
    )


async def feed(
    platform: Stand, meter: Meter, seconds: float, then: Callable[[], None], more_s: float
) -> None:
    """Publish for `seconds` after the warm-up, of which batches are measured; then call `then`, and go on `more_s`."""
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("account_trades", "accounts", "bench", {"format": "row"})
        began = time.perf_counter()
        measured = int((WARM_S + seconds) / _STEP_S)
        for step in range(measured + int(more_s / _STEP_S)):
            await asyncio.sleep(max(0.0, began + step * _STEP_S - time.perf_counter()))
            batch = row_batch(step * ROWS)
            if step == measured:
                then()
            if step * _STEP_S >= WARM_S and step < measured and step % _WATCHED_EVERY == 0:
                last = step * ROWS + ROWS - 1
                meter.watch(last, last % ACCOUNTS)
            await intake.put(batch, origin)
        await publisher.drain()
