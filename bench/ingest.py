"""File -> JetStream -> writer -> applied in QuestDB, beside the bare QuestDB client with the same frames.

Peers: the same rows, already frames of 50,000, sent by the client in one transaction each until applied: to the same
table, whose views are refreshed now and then (`ratio`), and to a table like it without any view (`ratio_bare_table`).
The three take turns, each time under a venue of its own.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pandas as pd
import polars as pl
from questdb import Sender

from bench.stand import SPY, Stand, peak_mb, stand
from ingest.files.options import ReadOptions
from ingest.imports.file_feed import FileFeed
from ingest.imports.row_sources import open_row_source
from ingest.numbering import number_by_time
from ingest.writer.store import to_frame
from tapehouse.model import TRADES
from tapehouse.stores.migrations import migrations
from tapehouse.stores.questdb import QuestReader, as_owner
from tapehouse.stream.bus import Bus

_PAIRS = 5
_ROWS = 50_000
_BARE_TABLE = "bench_bare"


def measure() -> dict[str, Any]:
    """Rows a second of all three, and the medians of the ratios turn by turn."""
    if not SPY.exists():
        sys.exit(f"bench: ingest needs {SPY}")
    rows = pl.scan_parquet(SPY).select(pl.len()).collect().item()
    ours, bare, without_views, feed_mb = [], [], [], 0
    with stand() as platform:
        _make_bare_table(platform)
        for pair in range(_PAIRS + 1):
            frames = _frames(f"bare{pair}")
            bare.append(rows / _bare(platform, frames, "trades"))
            without_views.append(rows / _bare(platform, frames, _BARE_TABLE))
            del frames
            # A process of its own, as a feed has; its start is not counted.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                took, peak = process.submit(_ours, platform, f"ours{pair}").result()
            ours.append(rows / took)
            feed_mb = max(feed_mb, peak)
            print(
                f"turn {pair}: ours {ours[-1]:,.0f}, bare {bare[-1]:,.0f}, "
                f"without views {without_views[-1]:,.0f} rows/s",
                flush=True,
            )
        memory = {part: platform.peak_mb(part) for part in ("writer", "nats", "questdb")}
    # The first pair warms everything up.
    ratios = [a / b for a, b in zip(ours[1:], bare[1:], strict=True)]
    ratios_bare_table = [a / b for a, b in zip(ours[1:], without_views[1:], strict=True)]
    return {
        "rows": rows,
        "rows_s": round(statistics.median(ours[1:])),
        "peer": "bare QuestDB client, same frames, same table, same views",
        "peer_rows_s": round(statistics.median(bare[1:])),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bare_table_rows_s": round(statistics.median(without_views[1:])),
        "ratio_bare_table": round(statistics.median(ratios_bare_table), 3),
        "ratios_bare_table": [round(ratio, 3) for ratio in ratios_bare_table],
        "peak_mb": {"feed": feed_mb, **memory},
    }


def _ours(platform: Stand, venue: str) -> tuple[float, int]:
    """(seconds, peak MB) of one run of the feed."""

    async def bring() -> None:
        async with Bus.opened(platform.settings, "feed") as bus:
            with open_row_source(SPY, TRADES, venue, options=ReadOptions({"exchange": "venue"})) as source:
                await FileFeed(source, bus, platform.settings).run()

    began = time.perf_counter()
    asyncio.run(bring())
    return time.perf_counter() - began, peak_mb(os.getpid())


def _frames(venue: str) -> list[pd.DataFrame]:
    """The rows as the writer would frame them."""
    previous: dict[str, int] = {}
    frames = []
    with open_row_source(SPY, TRADES, venue, options=ReadOptions({"exchange": "venue"})) as source:
        for chunk in source.chunks():
            for batch in chunk.batches:
                numbered = number_by_time(batch, previous)
                starts = range(0, numbered.rows, _ROWS)
                frames += [to_frame([numbered.slice(start, start + _ROWS)]) for start in starts]
    return frames


def _make_bare_table(platform: Stand) -> None:
    made = next(file.statement for file in migrations("questdb") if file.name == "0001_trades.sql")
    with as_owner(platform.settings.questdb) as connection:
        connection.execute(made.replace("EXISTS trades", f"EXISTS {_BARE_TABLE}").encode())
        connection.execute(f"ALTER TABLE {_BARE_TABLE} ADD COLUMN trade_id VARCHAR".encode())


def _bare(platform: Stand, frames: list[pd.DataFrame], table: str) -> float:
    quest = platform.settings.questdb
    conf = (
        f"http::addr={quest.host}:{quest.http_port};username={quest.user};"
        f"password={quest.password.get_secret_value()};auto_flush=off;protocol_version=3;"
    )
    began = time.perf_counter()
    with Sender.from_conf(conf) as sender, QuestReader(quest) as reader:
        for frame in frames:
            with sender.transaction(table) as transaction:
                transaction.dataframe(frame, at="ts_event")
        reader.wait_applied(table)
    return time.perf_counter() - began
