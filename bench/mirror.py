"""A whole run of the mirror over SPY and BAC, compared with a bare copy of the same bytes without a proof.

Peer: each day's Parquet from QuestDB's export streamed into a ClickHouse table like that of trades, nothing else. The
two alternate. Also measured: bytes a row on the disk, peak memory of each process, and the duration of a run with
nothing to do, with few days and with many.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

from analytics.mirror.clickhouse_sql import input_source, insert_target, select_stored
from analytics.mirror.cold_store import ColdStore
from analytics.mirror.jobs import run_once
from analytics.mirror.ledger import Ledger
from bench.stand import DATA, Stand, ingested, peak_mb, stand, tapehouse
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.model import DEPTH, KINDS, QUOTES, TRADES
from tapehouse.stream.bus import Bus

_EQUITIES = (("spy", "SPY"), ("bac", "BAC"))
_CAPTURES = ("spot_btcusdt_20240808.gz", "usdm_btcusdt_20240808.gz", "cm_btcusd_perp_20240808.gz")
_PAIRS = 5
_FEW, _MANY = 5, 500
_ROWS_A_DAY = 20
_CHUNK = 2**18


def measure() -> dict[str, Any]:
    """Rows a second of both and the median of their ratios; bytes a row; MB; seconds of an idle run."""
    if not DATA.exists():
        sys.exit(f"bench: mirror needs {DATA}")
    never = {
        "TAPEHOUSE_MIRROR__EVERY_S": "1000000",
        "TAPEHOUSE_MIRROR__AT": "",
        "TAPEHOUSE_MIRROR__VERIFY_AT": "",
    }
    with stand(**never) as platform:
        for name, symbol in _EQUITIES:
            file = DATA / "us_equities_2013" / f"{name}_trades.parquet"
            ingested(platform, file, symbol)
        ours, bare, peak = [], [], 0
        for pair in range(_PAIRS + 1):
            rows, took = _bare(platform)
            bare.append(rows / took)
            # In a process of its own, like the mirror; its start is not measured.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                copied, took, held = process.submit(_ours, platform).result()
            assert copied == rows, f"expected {rows} rows copied, was {copied}"
            ours.append(copied / took)
            peak = max(peak, held)
            print(f"pair {pair}: ours {ours[-1]:,.0f}, bare {bare[-1]:,.0f} rows/s", flush=True)
        memory = {part: platform.peak_mb(part) for part in ("clickhouse", "questdb")}
        few = _idle(platform)
        for capture in _CAPTURES:
            venue = capture.partition("_")[0]
            tapehouse(platform, "ingest", str(DATA / "binance_raw_2024" / capture), "--venue", venue)
        asyncio.run(_mirrored(platform))
        size = {kind.name: _bytes_a_row(platform, kind.name) for kind in (TRADES, QUOTES, DEPTH)}
        _add_days(platform, _MANY)
        asyncio.run(_mirrored(platform))
        many = _idle(platform)
    # The first pair is a warm-up.
    ratios = [a / b for a, b in zip(ours[1:], bare[1:], strict=True)]
    return {
        "rows": rows,
        "rows_s": round(statistics.median(ours[1:])),
        "peer": "bare pipe of each day's Parquet into a table like that of trades",
        "peer_rows_s": round(statistics.median(bare[1:])),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bytes_a_row": size,
        "peak_mb": {"mirror": peak, **memory},
        f"idle_s_{_FEW}_days": few,
        f"idle_s_{_MANY}_days": many,
    }


def _ours(platform: Stand) -> tuple[int, float, int]:
    """(rows, seconds, peak MB) of a run that copies every day of trades."""
    cold = ColdStore(platform.settings.clickhouse)
    ledger = Ledger(cold.client)
    for entry in ledger.read().values():
        ledger.put(replace(entry, fault="bench: copy again"))
    cold.close()
    rows, took = asyncio.run(_mirrored(platform))
    return rows, took, peak_mb(os.getpid())


async def _mirrored(platform: Stand) -> tuple[int, float]:
    """(rows copied, seconds) of one run, once no day is being written."""
    async with Bus.opened(platform.settings, "mirror") as bus:
        while True:
            began = time.perf_counter()
            done = await run_once(platform.settings, bus)
            took = time.perf_counter() - began
            assert not done.failed, done.failed
            if not done.copies.waiting:
                return sum(entry.rows for entry in done.copies.copied), took
            await asyncio.sleep(1)


def _idle(platform: Stand) -> float:
    """Seconds of a run that finds nothing to do: the median of five."""
    return round(statistics.median(asyncio.run(_mirrored(platform))[1] for _ in range(5)), 3)


def _bare(platform: Stand) -> tuple[int, float]:
    """(rows, seconds) of the peer."""
    cold = ColdStore(platform.settings.clickhouse)
    try:
        cold.client.command("DROP TABLE IF EXISTS bare SYNC")
        cold.client.command("CREATE TABLE bare AS trades")
        target = f"{insert_target(TRADES, 'bare')} {select_stored(TRADES, input_source(TRADES))}"
        began = time.perf_counter()
        for day in range(7, 12):
            cold.client.insert(target, _exported(platform, f"2013-10-{day:02}"))
        took = time.perf_counter() - began
        return int(cold.client.fetch("SELECT count() FROM bare")[0][0]), took
    finally:
        cold.close()


def _exported(platform: Stand, day: str) -> Generator[bytes, None, None]:
    quest = platform.settings.questdb
    parameters = {
        "fmt": "parquet", "compression_codec": "zstd", "compression_level": "1",
        "query": f"SELECT {', '.join(TRADES.names)} FROM trades WHERE ts_event IN '{day}'",
    }  # fmt: skip
    account = base64.b64encode(f"{quest.user}:{quest.password.get_secret_value()}".encode()).decode()
    request = urllib.request.Request(
        f"http://{quest.host}:{quest.http_port}/exp?{urllib.parse.urlencode(parameters)}",
        headers={"Authorization": f"Basic {account}"},
    )
    with urllib.request.urlopen(request) as answer:
        while chunk := answer.read1(_CHUNK):
            yield chunk


def _bytes_a_row(platform: Stand, kind: str) -> float:
    cold = ColdStore(platform.settings.clickhouse)
    try:
        # The state after ClickHouse's own merges.
        cold.client.command(f"OPTIMIZE TABLE {kind} FINAL")
        days = cold.days(KINDS[kind])
        return round(sum(size for _, size in days.values()) / sum(rows for rows, _ in days.values()), 2)
    finally:
        cold.close()


def _add_days(platform: Stand, count: int) -> None:
    """Add days of a few rows each, the last of them at the end of 2023."""
    last = parse_ns("2023-12-31")
    lines = [
        f"{last - day * DAY + second * SECOND},10.5,1"
        for day in range(count, 0, -1)
        for second in range(_ROWS_A_DAY)
    ]
    file = platform.home.parent / "days.csv"
    file.write_text("\n".join(["ts_event,price,size", *lines]))
    tapehouse(platform, "ingest", str(file), "--venue", "days", "--symbol", "D")
