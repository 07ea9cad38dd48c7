"""Captures of one market flat out from the replayed venue's socket to visible in QuestDB, beside a bare client.

Peer: the same socket read by aiohttp alone, each message decoded by orjson and let go. Turns alternate; the
replay runs in a process of its own and is started anew for each.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson

from bench.stand import DATA, Stand, cpu_s, peak_mb, stand
from ingest.replay.recordings import Recording, open_recordings
from ingest.venues.registry import VENUES
from ingest.venues.venue import VenueStream
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader

_FILES = ",".join(str(path) for path in sorted((DATA / "binance_raw_2024").glob("usdm_*.gz")))
_TURNS = 3
_PATIENCE_S = 300
_TAPEHOUSE = (sys.executable, "-m", "ops", "run")


@contextmanager
def _replay() -> Iterator[str]:
    """A replay that has not begun; its host and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "TAPEHOUSE_REPLAY__PORT": str(port), "TAPEHOUSE_REPLAY__SPEED": "max"}
    process = subprocess.Popen([*_TAPEHOUSE, f"replay:{_FILES}"], env=env, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _view(f"127.0.0.1:{port}") is not None)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _view(address: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://{address}/binance_usdm", timeout=5) as answer:
            return dict(json.load(answer))
    except OSError:
        return None


def _until(true: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            sys.exit(f"bench: waited {_PATIENCE_S} s in vain")
        time.sleep(0.02)


def _ours(platform: Stand, recording: Recording, venue: str) -> tuple[float, float, int]:
    """(messages a second until visible, CPU seconds of the feed, its peak MB)."""
    with _replay() as address, QuestReader(platform.settings.questdb) as reader:
        base = f"{address}/binance_usdm"
        at = {"protocol": "binance_usdm", "socket": f"ws://{base}", "rest": f"http://{base}", "pace": 0}
        env = {**os.environ, "TAPEHOUSE_VENUES": json.dumps({venue: at})}
        role = f"feed:{venue}:{','.join(recording.symbols)}"
        feed = subprocess.Popen(
            [*_TAPEHOUSE, role, "--home", str(platform.home)], env=env, stderr=subprocess.DEVNULL
        )
        try:
            _until(lambda: any((_view(address) or {})["sent"].values()))
            began, cpu = time.perf_counter(), cpu_s(feed.pid)
            total = _messages(recording)
            _until(lambda: _visible(reader, venue) >= total)
            seconds = time.perf_counter() - began
            return total / seconds, cpu_s(feed.pid) - cpu, peak_mb(feed.pid)
        finally:
            feed.terminate()
            feed.wait(30)


def _messages(recording: Recording) -> int:
    return sum(not item.snapshot for item in recording.read())


def _visible(reader: QuestReader, venue: str) -> int:
    counts = [
        reader.fetch(f"SELECT count() FROM {table} WHERE venue = %s {only}", [venue])[0][0]
        for table, only in (("trades", ""), ("quotes", ""), ("depth", "AND NOT snapshot"))
    ]
    return sum(counts)


async def _bare(recording: Recording) -> float:
    """Messages a second that a client alone takes from the socket and decodes."""
    venue = VENUES[recording.emulator.name]
    streams = [VenueStream(kind, symbol) for symbol in recording.symbols for kind in sorted(venue.kinds)]
    total = _messages(recording)
    with _replay() as address:
        async with aiohttp.ClientSession() as session:
            url = venue.websocket_url(f"ws://{address}/binance_usdm")
            async with session.ws_connect(url, decode_text=False) as at:
                for command in venue.commands(streams):
                    await at.send_str(command)
                await at.receive()  # the reply to the command
                began = time.perf_counter()
                for _ in range(total):
                    orjson.loads((await at.receive()).data)
                return total / (time.perf_counter() - began)


def measure() -> dict[str, Any]:
    """The figures."""
    if not _FILES:
        sys.exit(f"bench: no captures at {DATA}")
    (recording,) = open_recordings(_FILES, QuestDB())
    ours, bare, cpu, peak = [], [], 0.0, 0
    with stand() as platform:
        for turn in range(_TURNS):
            rate, cpu, peak = _ours(platform, recording, f"turn{turn}")
            ours.append(rate)
            bare.append(asyncio.run(_bare(recording)))
    ratios = [mine / peer for mine, peer in zip(ours, bare, strict=True)]
    return {
        "messages": _messages(recording),
        "messages_s": round(statistics.median(ours)),
        "feed_us_a_message": round(cpu / _messages(recording) * 1e6, 1),
        "feed_peak_mb": peak,
        "peer": "the same socket read by aiohttp, each message decoded by orjson",
        "peer_messages_s": round(statistics.median(bare)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }
