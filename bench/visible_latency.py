"""10,000 rows a second over 200 symbols: from the feed to visible in QuestDB, beside the bare client.

Every 10 ms a batch of 100 rows goes to the intake, as a feed's does. Of one batch in 20 another thread asks QuestDB,
every 2 ms, whether it shows its last row: a meter that asked for every batch was most of QuestDB's load. A batch's
latency runs from when it is handed over to the answer that shows it. Peer: the same batches sent straight to QuestDB,
one transaction each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.stand import Stand, cpu_s, peak_mb, stand
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.clock import now_ns
from tapehouse.model import TRADES
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus

_RATE, _SYMBOLS, _STEP_S = 10_000, 200, 0.01
_OURS_S, _BARE_S, _WARM_S = 60, 20, 5
_ASK_S = 0.002
_WATCHED_EVERY = 20
"""Of so many batches the latency of one is measured."""
_GIVE_UP_S = 20
_PARTS = ("nats", "questdb", "writer")


class _Meter:
    """Measures the latency of the batches that it is given, one at a time; those given meanwhile are left out."""

    def __init__(self, platform: Stand) -> None:
        self.latencies_ms: list[float] = []
        self._given: queue.Queue[tuple[float, int] | None] = queue.Queue(1)
        self._reader = QuestReader(platform.settings.questdb)
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def watch(self, seq: int) -> None:
        """Measure from now until a row with this seq, or a later one, is visible."""
        with contextlib.suppress(queue.Full):
            self._given.put_nowait((time.perf_counter(), seq))

    def _look(self) -> None:
        with self._reader as reader:
            while (given := self._given.get()) is not None:
                handed_over, seq = given
                while time.perf_counter() < handed_over + _GIVE_UP_S:
                    rows = reader.fetch("SELECT seq FROM trades LIMIT -1")
                    if rows and rows[0][0] >= seq:
                        break
                    time.sleep(_ASK_S)
                self.latencies_ms.append((time.perf_counter() - handed_over) * 1000)

    def stop(self) -> None:
        self._given.put(None)
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


def _is_watched(step: int) -> bool:
    return step * _STEP_S >= _WARM_S and step % _WATCHED_EVERY == 0


async def _ours(platform: Stand, meter: _Meter) -> None:
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("trades", "ours", "bench", {"format": "row"})
        began = time.perf_counter()
        for step, due in enumerate(_paced(_WARM_S + _OURS_S)):
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            batch = row_batch("ours", step * 100, 100)
            if _is_watched(step):
                meter.watch(step * 100 + 99)
            await intake.put(batch, origin)
        await publisher.drain()


def _bare(platform: Stand, meter: _Meter) -> None:
    store = QuestDBWriter(platform.settings.questdb)
    began = time.perf_counter()
    first = 10**9
    for step, due in enumerate(_paced(_WARM_S + _BARE_S)):
        time.sleep(max(0.0, began + due - time.perf_counter()))
        batch = row_batch("bare", first + step * 100, 100)
        if _is_watched(step):
            meter.watch(first + step * 100 + 99)
        store.commit([batch])
    store.close()


def _latencies(platform: Stand, feed: Callable[[_Meter], Any]) -> np.ndarray[Any, Any]:
    """Of the watched batches, ms."""
    meter = _Meter(platform)
    try:
        feed(meter)
    finally:
        meter.stop()
    return np.array(meter.latencies_ms)


def measure() -> dict[str, Any]:
    """Percentiles of both in ms, and the share of a core of each part over our run."""
    with stand() as platform:
        before = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        began = time.perf_counter()
        ours = _latencies(platform, lambda meter: asyncio.run(_ours(platform, meter)))
        took = time.perf_counter() - began
        after = {part: platform.cpu_s(part) for part in _PARTS} | {"feed and asking": cpu_s(os.getpid())}
        memory = {part: platform.peak_mb(part) for part in _PARTS} | {"feed and asking": peak_mb(os.getpid())}
        bare = _latencies(platform, lambda meter: _bare(platform, meter))
    p50, p99 = (round(float(np.percentile(ours, p)), 1) for p in (50, 99))
    peer_p50, peer_p99 = (round(float(np.percentile(bare, p)), 1) for p in (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": round(float(ours.max()), 1),
        "rows_s": _RATE,
        "seconds": _OURS_S,
        "batches_measured": len(ours),
        "core_share": {part: round((after[part] - before[part]) / took, 3) for part in after},
        "peak_mb": memory,
        "peer": "bare QuestDB client, a transaction a batch",
        "peer_p50_ms": peer_p50,
        "peer_p99_ms": peer_p99,
        "ratio": round(p50 / peer_p50, 2),
    }
