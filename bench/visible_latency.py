"""10,000 rows a second over 200 symbols: from the feed to visible in QuestDB, beside the bare client.

Every 10 ms a batch of 100 rows goes to the intake, as a feed's does; another thread asks QuestDB for the last
row it shows. A batch's latency runs from when it is handed over to when an answer shows its last row, so the
asking (every 2 ms) is in it. Peer: the same batches sent straight to QuestDB, one transaction each.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.stand import Stand, cpu_s, peak_mb, stand
from ingest.hotstore import HotStore
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse import sharding
from tapehouse.batch import Batch, Strings
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.model import TRADES
from tapehouse.questdb import QuestReader

_RATE, _SYMBOLS, _STEP_S = 10_000, 200, 0.01
_OURS_S, _BARE_S, _WARM_S = 60, 20, 5
_ASK_S = 0.002
_PARTS = ("nats", "questdb", "writer")


class _Eye:
    """Asks for the last visible row until stopped; `seen` holds (clock, its seq) each time that moved."""

    def __init__(self, platform: Stand) -> None:
        self.seen: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._reader = QuestReader(platform.settings.questdb)
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        last = -1
        with self._reader as reader:
            while not self._stop.wait(_ASK_S):
                rows = reader.fetch("SELECT seq FROM trades LIMIT -1")
                if rows and rows[0][0] != last:
                    last = rows[0][0]
                    self.seen.append((time.perf_counter(), last))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def row_batch(venue: str, first: int, rows: int) -> Batch:
    """`rows` trades of 200 symbols as of now, seqs from `first` on."""
    places = np.arange(first, first + rows)
    # Times rise by the row, so that the last row of the table is the last one sent.
    times = now_ns() + np.arange(rows)
    return Batch(
        TRADES,
        venue,
        rows,
        {
            "ts_event": times,
            "ts_recv": times,
            "symbol": Strings(tuple(f"S{n}" for n in range(_SYMBOLS)), places % _SYMBOLS),
            "seq": places,
            "price": 100 + (places % 997) / 100,
            "size": np.ones(rows),
            "side": np.ones(rows, np.int8),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings.constant(None, rows),
            "conditions": Strings.constant(None, rows),
        },
    )


def _paced(seconds: float) -> list[float]:
    return [step * _STEP_S for step in range(int(seconds / _STEP_S))]


async def _ours(platform: Stand, sent: list[tuple[float, int]]) -> None:
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("trades", "ours", "bench", {"format": "row"})
        began = time.perf_counter()
        for step, due in enumerate(_paced(_WARM_S + _OURS_S)):
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            batch = row_batch("ours", step * 100, 100)
            sent.append((time.perf_counter(), step * 100 + 99))
            await intake.put(batch, origin)
        await publisher.drain()


def _bare(platform: Stand, sent: list[tuple[float, int]]) -> None:
    store = HotStore(platform.settings.questdb)
    began = time.perf_counter()
    first = 10**9
    for step, due in enumerate(_paced(_WARM_S + _BARE_S)):
        time.sleep(max(0.0, began + due - time.perf_counter()))
        batch = row_batch("bare", first + step * 100, 100)
        sent.append((time.perf_counter(), first + step * 100 + 99))
        store.commit([batch])
    store.close()


def _latencies(platform: Stand, feed: Callable[[list[tuple[float, int]]], Any]) -> np.ndarray[Any, Any]:
    """Of each batch after the warm-up, ms."""
    eye, sent = _Eye(platform), []
    try:
        feed(sent)
        deadline = time.perf_counter() + 20
        while (not eye.seen or eye.seen[-1][1] < sent[-1][1]) and time.perf_counter() < deadline:
            time.sleep(_ASK_S)
    finally:
        eye.stop()
    clocks = np.array([clock for clock, _ in eye.seen])
    seqs = np.maximum.accumulate([seq for _, seq in eye.seen])
    at = np.searchsorted(seqs, [seq for _, seq in sent])
    assert at.max() < len(clocks), "some batches were never seen"
    latency = (clocks[at] - np.array([clock for clock, _ in sent])) * 1000
    return latency[int(_WARM_S / _STEP_S) :]


def measure() -> dict[str, Any]:
    """Percentiles of both in ms, and the share of a core of each part over our run."""
    with stand() as platform:
        before = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        began = time.perf_counter()
        ours = _latencies(platform, lambda sent: asyncio.run(_ours(platform, sent)))
        took = time.perf_counter() - began
        after = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        memory = {part: platform.peak_mb(part) for part in _PARTS} | {"feed and asking": peak_mb(os.getpid())}
        bare = _latencies(platform, lambda sent: _bare(platform, sent))
    p50, p99 = (round(float(np.percentile(ours, p)), 1) for p in (50, 99))
    peer_p50, peer_p99 = (round(float(np.percentile(bare, p)), 1) for p in (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": round(float(ours.max()), 1),
        "rows_s": _RATE,
        "seconds": _OURS_S,
        "core_share": {part: round((after[part] - before[part]) / took, 3) for part in after},
        "peak_mb": memory,
        "peer": "bare QuestDB client, a transaction a batch",
        "peer_p50_ms": peer_p50,
        "peer_p99_ms": peer_p99,
        "ratio": round(p50 / peer_p50, 2),
    }
