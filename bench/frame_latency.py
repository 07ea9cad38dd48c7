"""Latency from a published tick to the frame that shows it, at 10,000 ticks/s over 200 symbols.

Every 10 ms a batch of 100 rows is given to the publisher. Its latency ends when another process has received a frame
with the seq of its last row or a later one. Peer: a bare pull consumer that receives the same messages in a third
process, which shows the share of the broker and its disk. Measured with frames sent at once, with frames every 50 ms
(`window_50_`), and with the writer and QuestDB running too (`all_`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from numpy.typing import NDArray

from bench.stand import Stand, stand
from bench.visible_latency import row_batch
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import StreamConsumer
from tapehouse.stream.frame_reader import Frames
from tapehouse.stream.wire import unpack

_ROWS, _STEP_S, _WARM_S, _RUN_S = 100, 0.01, 5, 20
_LAST = round((_WARM_S + _RUN_S) / _STEP_S) * _ROWS - 1


async def _feed(platform: Stand, sent: dict[int, float]) -> None:
    """Publish the batches; `sent` gets the time of each batch by its last seq."""
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("trades", "bench", "bench", {"format": "row"})
        began = time.perf_counter()
        for step in range((_LAST + 1) // _ROWS):
            await asyncio.sleep(max(0.0, began + step * _STEP_S - time.perf_counter()))
            batch = row_batch("bench", step * _ROWS, _ROWS)
            sent[step * _ROWS + _ROWS - 1] = time.perf_counter()
            await intake.put(batch, origin)
        await publisher.drain()


async def _watch_frames(settings: Settings) -> list[tuple[float, int]]:
    """(time, highest seq) of each frame, until that of the last row."""
    received = []
    async with Bus.opened(settings, "gateway") as bus, Frames.listening(bus) as frames:
        while not received or received[-1][1] < _LAST:
            latest = (await frames.next(30)).frame.latest
            if len(latest):
                received.append((time.perf_counter(), int(latest["seq"].max())))
    return received


async def _first_frame(settings: Settings) -> None:
    """Wait until the bar maker publishes frames."""
    async with Bus.opened(settings, "gateway") as bus, Frames.listening(bus) as frames:
        await frames.next(30)


async def _watch_stream(settings: Settings) -> list[tuple[float, int]]:
    received = []
    async with Bus.opened(settings, "admin") as bus:
        await bus.js.add_consumer(
            TICKS,
            ConsumerConfig(
                name="bench",
                deliver_policy=DeliverPolicy.NEW,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=30,
                mem_storage=True,
            ),
        )
        pull = StreamConsumer(bus, TICKS, "bench")
        await pull.listen()
        while not received or received[-1][1] < _LAST:
            messages = await pull.take(2**20)
            now = time.perf_counter()
            received += [(now, int(unpack(message.data).array("seq")[-1])) for message in messages]
        await pull.stop()
    return received


def _watched(watch: Callable[[Settings], Any], settings: Settings) -> list[tuple[float, int]]:
    """Run `watch` in this process; perf_counter is the same clock in all processes."""
    return asyncio.run(watch(settings))


def _run(platform: Stand) -> list[NDArray[Any]]:
    """Latencies in ms of each batch after the warm-up, by the frames and by the bare consumer."""
    sent: dict[int, float] = {}
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        watching = [
            processes.submit(_watched, watch, platform.settings) for watch in (_watch_frames, _watch_stream)
        ]
        asyncio.run(_feed(platform, sent))
        watched = [one.result() for one in watching]
    seqs = np.array(sorted(sent))[round(_WARM_S / _STEP_S) :]
    began = np.array([sent[seq] for seq in seqs])
    latencies = []
    for received in watched:
        highest = np.maximum.accumulate([seq for _, seq in received])
        at = np.searchsorted(highest, seqs)
        latencies.append((np.array([clock for clock, _ in received])[at] - began) * 1000)
    return latencies


def _figures(platform: Stand, name: str, parts: tuple[str, ...]) -> dict[str, Any]:
    before = {part: platform.cpu_s(part) for part in parts}
    frames, stream = _run(platform)
    used = {part: round((platform.cpu_s(part) - before[part]) / (_WARM_S + _RUN_S), 2) for part in parts}
    figures: dict[str, Any] = {}
    for whose, latencies in (("", frames), ("peer_", stream)):
        for percentile in (50, 99):
            figures[f"{name}{whose}p{percentile}_ms"] = round(float(np.percentile(latencies, percentile)), 2)
    return {**figures, f"{name}cores": used}


@contextmanager
def _paused(platform: Stand, parts: tuple[str, ...]) -> Iterator[None]:
    """Suspend parts that frames do not need, for the length of the context."""
    asyncio.run(_first_frame(platform.settings))
    pids = [platform.pid(part) for part in parts]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def measure() -> dict[str, Any]:
    """Percentiles in ms, without QuestDB and its writer, since two cores are too few for all, and with them."""
    figures: dict[str, Any] = {}
    with stand(TAPEHOUSE_BARMAKER__FRAME_MS="0") as platform, _paused(platform, ("writer", "questdb")):
        figures |= _figures(platform, "", ("nats", "barmaker"))
    with stand(TAPEHOUSE_BARMAKER__FRAME_MS="50") as platform, _paused(platform, ("writer", "questdb")):
        figures |= _figures(platform, "window_50_", ("nats", "barmaker"))
    with stand(TAPEHOUSE_BARMAKER__FRAME_MS="0") as platform:
        figures |= _figures(platform, "all_", ("nats", "barmaker", "writer", "questdb"))
        figures["barmaker_peak_mb"] = platform.peak_mb("barmaker")
    return {
        "ticks_s": int(_ROWS / _STEP_S),
        **figures,
        "peer": "a bare pull consumer of the same messages",
        "ratio": round(figures["p50_ms"] / figures["peer_p50_ms"], 2),
    }
