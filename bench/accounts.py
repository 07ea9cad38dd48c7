"""10,000 account trades a second of 1,000 accounts: from the publisher to the answer with the account's candles.

Every 10 ms a batch of 100 trades goes to the intake. Of one batch in 20 another thread asks until its last trade shows:
in turns the gateway by REST for the 30-minute candles of its account, and, as the peer, QuestDB itself for the newest
row of the table. A latency runs from when a batch is handed over to the answer that shows it.

Then, at the same load, the documented mix: of five queries one after another four are of the last 24 hours, and one is
of a day months ago, which ClickHouse has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import urllib3

from bench.stand import Stand, cpu_s, stand, tapehouse
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch
from tapehouse.clock import DAY, HOUR, now_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus

_RATE, _ACCOUNTS, _STEP_S, _ROWS = 10_000, 1_000, 0.01, 100
_SECONDS, _WARM_S, _MIX_S = 60, 5, 20
_OLD_DAY, _OLD_ROWS = "2024-11-05", 200_000
_ASK_S = 0.005
_WATCHED_EVERY = 20
_GIVE_UP_S = 20
_PARTS = ("nats", "questdb", "writer", "gateway")
_UNIT = 10**18


class _Meter:
    """Measures the latency of the batches that it is given, one at a time; those given meanwhile are left out."""

    def __init__(self, platform: Stand) -> None:
        self.ours_ms: list[float] = []
        self.peer_ms: list[float] = []
        self.answers_ms: list[float] = []
        """Of each answer by REST alone."""
        self._url = platform.settings.gateway.url
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
                is_peer = not is_peer

    def _close(self, account: int) -> int:
        """The close of an account's last candle, which is the id of its newest trade."""
        began = time.perf_counter()
        path = f"/v1/accounts/{account}/candles?interval=30m&start={now_ns() - HOUR}"
        answer = self._pool.request("GET", self._url + path)
        self.answers_ms.append((time.perf_counter() - began) * 1000)
        rows = answer.json()["rows"]
        return int(rows[-1]["close"].partition(".")[0]) if rows else -1


class _Mix:
    """Asks the documented mix by REST, one query after another, from `start` to `stop`."""

    def __init__(self, platform: Stand) -> None:
        self.recent_ms: list[float] = []
        self.historical_ms: list[float] = []
        self._url = platform.settings.gateway.url
        self._pool = urllib3.PoolManager()
        self._is_over = threading.Event()
        self._executor = ThreadPoolExecutor(1)
        self._asking: Future[None] | None = None

    def start(self) -> None:
        self._asking = self._executor.submit(self._ask)

    def stop(self) -> None:
        self._is_over.set()
        if self._asking is not None:
            self._asking.result()
        self._executor.shutdown()

    def _ask(self) -> None:
        chance = np.random.default_rng(1)
        for number in itertools.count():
            if self._is_over.is_set():
                return
            account = int(chance.integers(_ACCOUNTS))
            is_old = number % 5 == 4
            span = f"start={_OLD_DAY}&end={_OLD_DAY}T23:59:59Z" if is_old else f"start={now_ns() - DAY}"
            what = f"candles?interval=30m&{span}" if is_old or number % 2 else f"trades?last=100&{span}"
            began = time.perf_counter()
            answer = self._pool.request("GET", f"{self._url}/v1/accounts/{account}/{what}")
            took = (time.perf_counter() - began) * 1000
            if answer.status != 200 or not answer.json()["rows"]:
                sys.exit(f"bench: {what} gave {answer.status} {answer.data[:500]!r}")
            (self.historical_ms if is_old else self.recent_ms).append(took)


def _bring_old_day(platform: Stand) -> None:
    """Trades of all accounts on a day months ago, stored in ClickHouse."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number in range(_OLD_ROWS):
            second = number * 86_400 // _OLD_ROWS
            at = f"{_OLD_DAY}T{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
            file.write(
                f'{{"ID": {number}, "Totaldone": 500000.0, "Trx Amount": 4.5115767058272E-4, "Amount": 1.10826E9, '
                f'"Transtype": 1, "Accountid": {number % _ACCOUNTS}, "Transtime": "{at}"}}\n'
            )
        file.flush()
        tapehouse(platform, "ingest", file.name, "--kind", "account_trades", "--cold")


def _newest_row(reader: QuestReader) -> int:
    rows = reader.fetch("SELECT id FROM account_trades LIMIT -1")
    return int(rows[0][0]) if rows else -1


def _row_batch(first: int) -> Batch:
    """Trades as of now with ids from `first` on; the amount of each is its id."""
    ids = np.arange(first, first + _ROWS)
    # Times rise by the row, so that the last row of the table is the last one sent.
    times = now_ns() + np.arange(_ROWS)
    amounts = np.frombuffer(
        b"".join((number * _UNIT).to_bytes(16, "little") for number in ids.tolist()), "V16"
    )
    return Batch(
        ACCOUNT_TRADES,
        "accounts",
        _ROWS,
        {
            "ts_event": times,
            "ts_recv": times,
            "account_id": ids % _ACCOUNTS,
            "id": ids,
            "total_done": amounts,
            "trx_amount": amounts,
            "amount": amounts,
            "trans_type": np.ones(_ROWS, np.int16),
        },
    )


async def _feed(platform: Stand, meter: _Meter, mix: _Mix) -> None:
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("account_trades", "accounts", "bench", {"format": "row"})
        began = time.perf_counter()
        measured = int((_WARM_S + _SECONDS) / _STEP_S)
        for step in range(measured + int(_MIX_S / _STEP_S)):
            await asyncio.sleep(max(0.0, began + step * _STEP_S - time.perf_counter()))
            batch = _row_batch(step * _ROWS)
            if step == measured:
                mix.start()
            if step * _STEP_S >= _WARM_S and step < measured and step % _WATCHED_EVERY == 0:
                last = step * _ROWS + _ROWS - 1
                meter.watch(last, last % _ACCOUNTS)
            await intake.put(batch, origin)
        await publisher.drain()


def measure() -> dict[str, Any]:
    """Percentiles of both in ms, and the share of a core of each part."""
    with stand() as platform:
        _bring_old_day(platform)
        before = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        began = time.perf_counter()
        meter, mix = _Meter(platform), _Mix(platform)
        try:
            asyncio.run(_feed(platform, meter, mix))
            mix.stop()
        finally:
            meter.stop()
        took = time.perf_counter() - began
        after = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        ours, peer, answers = (np.array(found) for found in (meter.ours_ms, meter.peer_ms, meter.answers_ms))
    p50, p99 = (round(float(np.percentile(ours, p)), 1) for p in (50, 99))
    peer_p50, peer_p99 = (round(float(np.percentile(peer, p)), 1) for p in (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "answer_p50_ms": round(float(np.percentile(answers, 50)), 1),
        "answer_p99_ms": round(float(np.percentile(answers, 99)), 1),
        "trades_s": round(_RATE * (_WARM_S + _SECONDS + _MIX_S) / took),
        "seconds": _SECONDS,
        "accounts": _ACCOUNTS,
        "batches_measured": len(ours),
        **_percentiles("mix_recent_", mix.recent_ms),
        **_percentiles("mix_historical_", mix.historical_ms),
        "mix_queries_s": round((len(mix.recent_ms) + len(mix.historical_ms)) / _MIX_S),
        "core_share": {part: round((after[part] - before[part]) / took, 3) for part in after},
        "peer": "the newest row asked of QuestDB itself",
        "peer_p50_ms": peer_p50,
        "peer_p99_ms": peer_p99,
        "ratio": round(p50 / peer_p50, 2),
    }


def _percentiles(name: str, took_ms: list[float]) -> dict[str, float]:
    return {f"{name}p{share}_ms": round(float(np.percentile(took_ms, share)), 1) for share in (50, 99)}
