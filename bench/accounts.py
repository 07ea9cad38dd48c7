"""10,000 account trades a second of 1,000 accounts: from the publisher to the answer with the account's candles.

Every 10 ms a batch of 100 trades goes to the intake. Of one batch in 20 another thread asks until its last trade shows:
in turns the gateway by REST for the 30-minute candles of its account, and, as the peer, QuestDB itself for the newest
row of the table. A latency runs from when a batch is handed over to the answer that shows it.

Then, at the same load, the documented mix: of five queries one after another four are of the last 24 hours, and one is
of a day months ago, which ClickHouse has.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import urllib3

from bench.account_feed import ACCOUNTS, RATE, WARM_S, Meter, feed
from bench.stand import Stand, cpu_s, stand, tapehouse
from bench.timescale_load import measure_timescale
from tapehouse.clock import DAY, now_ns

_SECONDS, _MIX_S = 60, 20
_OLD_DAY, _OLD_ROWS = "2024-11-05", 200_000
_PARTS = ("nats", "questdb", "writer", "gateway")


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
            account = int(chance.integers(ACCOUNTS))
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
                f'"Transtype": 1, "Accountid": {number % ACCOUNTS}, "Transtime": "{at}"}}\n'
            )
        file.flush()
        tapehouse(platform, "ingest", file.name, "--kind", "account_trades", "--cold")


def measure() -> dict[str, Any]:
    """Percentiles of both in ms, and the share of a core of each part."""
    with stand() as platform:
        _bring_old_day(platform)
        before = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        began = time.perf_counter()
        meter, mix = Meter(platform), _Mix(platform)
        try:
            asyncio.run(feed(platform, meter, _SECONDS, mix.start, _MIX_S))
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
        "trades_s": round(RATE * (WARM_S + _SECONDS + _MIX_S) / took),
        "seconds": _SECONDS,
        "accounts": ACCOUNTS,
        "batches_measured": len(ours),
        **_percentiles("mix_recent_", mix.recent_ms),
        **_percentiles("mix_historical_", mix.historical_ms),
        "mix_queries_s": round((len(mix.recent_ms) + len(mix.historical_ms)) / _MIX_S),
        "core_share": {part: round((after[part] - before[part]) / took, 3) for part in after},
        "peer": "the newest row asked of QuestDB itself",
        "peer_p50_ms": peer_p50,
        "peer_p99_ms": peer_p99,
        "ratio": round(p50 / peer_p50, 2),
        **measure_timescale(_SECONDS),
    }


def _percentiles(name: str, took_ms: list[float]) -> dict[str, float]:
    return {f"{name}p{share}_ms": round(float(np.percentile(took_ms, share)), 1) for share in (50, 99)}
