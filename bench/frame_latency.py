"""10,000 ticks a second over 200 symbols: from published to the frame that tells of them, nothing batched.

Every 5 ms a batch of 50 rows is handed to the publisher. Its latency runs from there to when a frame with the last
price of its last row is received. Peer: the same messages taken from the stream by a bare pull consumer in the
same process at the same time: what the broker and its disk take. Then once more with frames every 50 ms.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bench.stand import Stand, stand
from bench.visible_latency import row_batch
from ingest import sharding
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.pull import Pull
from ingest.quarantine import Origin, Quarantine
from tapehouse.bus import TICKS, Bus
from tapehouse.live import Frames
from tapehouse.wire import unpack

_ROWS, _STEP_S, _WARM_S, _RUN_S = 50, 0.005, 5, 30
_LAST = round((_WARM_S + _RUN_S) / _STEP_S) * _ROWS - 1


async def _feed(platform: Stand, sent: dict[int, float]) -> None:
    """Keeps when each batch's last seq was handed over."""
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.state())
        intake = Intake(publisher, Quarantine(bus), shards)
        origin = Origin("trades", "bench", "bench", {"format": "row"})
        began = time.perf_counter()
        for step in range((_LAST + 1) // _ROWS):
            await asyncio.sleep(max(0.0, began + step * _STEP_S - time.perf_counter()))
            batch = row_batch("bench", step * _ROWS, _ROWS)
            sent[step * _ROWS + _ROWS - 1] = time.perf_counter()
            await intake.put(batch, origin)
        await publisher.drain()


async def _watch_frames(platform: Stand, heard: dict[int, float]) -> None:
    """Until the last row of all was told."""
    async with Bus.opened(platform.settings, "gateway") as bus, Frames.listening(bus) as frames:
        while _LAST not in heard:
            frame = (await frames.next(10)).frame
            now = time.perf_counter()
            for seq in frame.latest["seq"].tolist():
                heard.setdefault(seq, now)


async def _watch_stream(platform: Stand, heard: dict[int, float]) -> None:
    async with Bus.opened(platform.settings, "admin") as bus:
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
        pull = Pull(bus, TICKS, "bench")
        await pull.listen()
        while True:
            for message in await pull.take(2**20):
                heard.setdefault(int(unpack(message.data).array("seq")[-1]), time.perf_counter())


async def _run(platform: Stand) -> tuple[Any, Any]:
    sent: dict[int, float] = {}
    frames: dict[int, float] = {}
    stream: dict[int, float] = {}
    telling = asyncio.create_task(_watch_frames(platform, frames))
    storing = asyncio.create_task(_watch_stream(platform, stream))
    await _feed(platform, sent)
    await telling
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)
    after = [seq for seq in sent if seq >= int(_WARM_S / _STEP_S) * _ROWS]
    return tuple(
        np.array([(heard[seq] - sent[seq]) * 1000 for seq in after if seq in heard])
        for heard in (frames, stream)
    )


def measure() -> dict[str, Any]:
    """Percentiles in ms: batching off, the bare consumer, and with the usual window."""
    figures: dict[str, Any] = {}
    for name, window in (("", "0"), ("window_50_", "50")):
        with stand(TAPEHOUSE_BARMAKER__FRAME_MS=window) as platform:
            before = platform.cpu_s("barmaker")
            frames, stream = asyncio.run(_run(platform))
            figures |= {
                f"{name}p50_ms": round(float(np.percentile(frames, 50)), 2),
                f"{name}p99_ms": round(float(np.percentile(frames, 99)), 2),
                f"{name}batches": len(frames),
                f"{name}barmaker_cores": round((platform.cpu_s("barmaker") - before) / (_WARM_S + _RUN_S), 3),
                f"{name}barmaker_peak_mb": platform.peak_mb("barmaker"),
                f"{name}peer_p50_ms": round(float(np.percentile(stream, 50)), 2),
                f"{name}peer_p99_ms": round(float(np.percentile(stream, 99)), 2),
            }
    return {
        "ticks_s": int(_ROWS / _STEP_S),
        **figures,
        "peer": "a bare pull consumer of the same messages",
        "ratio": round(figures["p50_ms"] / figures["peer_p50_ms"], 2),
    }
