"""TimescaleDB at 10,000 account trades a second, and how fast it is loaded against a bare COPY of the same rows.

Loads take turns with the peer: the loader of the role `timescale` with its floor, and COPY of the same rows, encoded
before, into a hypertable with the same key and indexes. Then a platform that loads the server is fed, and asked by
REST for the candles of accounts with store=timescale.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import psycopg
from pydantic import SecretStr

from bench.account_feed import Meter, feed, row_batch
from bench.stand import stand
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from tapehouse.settings import Timescale
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tapehouse.tabular import as_frame

_VARIABLE = "TAPEHOUSE_TEST_TIMESCALE_DSN"
_LOAD_ROWS, _TURNS = 50_000, 16
"""Rows of a load: about what the default of timescale.load_bytes holds."""
_COLUMNS = "id, total_done, trx_amount, amount, trans_type, account_id, timestamp, nanos, ts_recv"


def measure_timescale(seconds: float) -> dict[str, Any]:
    """Rows a second of both in the median of the turns, and percentiles in ms of `seconds` of asking.

    Says what was left out where no server is named.
    """
    if not os.environ.get(_VARIABLE):
        return {"timescale": f"left out: {_VARIABLE} names no server"}
    with _database() as settings:
        ours, peer = _measure_loads(settings)
    with _database() as settings:
        latencies = _measure_answers(settings, seconds)
    return {
        "timescale_rows_s": round(ours),
        "timescale_peer": "COPY of the same rows into a hypertable with the same key and indexes",
        "timescale_peer_rows_s": round(peer),
        "timescale_ratio": round(ours / peer, 2),
        "timescale_p50_ms": round(float(np.percentile(latencies, 50)), 1),
        "timescale_p99_ms": round(float(np.percentile(latencies, 99)), 1),
        "timescale_batches_measured": len(latencies),
    }


@contextlib.contextmanager
def _database() -> Iterator[Timescale]:
    """An empty database of the server, with the schema; dropped when the context ends."""
    dsn = os.environ[_VARIABLE]
    name = f"bench_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            settings = Timescale(dsn=SecretStr(urlsplit(dsn)._replace(path=f"/{name}").geturl()))
            ledger = TimescaleMigrations(settings)
            migrate(ledger, migrations("timescale"))
            ledger.close()
            yield settings
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _measure_loads(settings: Timescale) -> tuple[float, float]:
    client, loader = TimescaleClient(settings), TimescaleLoader(settings)
    client.execute("CREATE TABLE peer (LIKE trades INCLUDING ALL)")
    client.fetch(
        "SELECT create_hypertable('peer', 'timestamp', chunk_time_interval => INTERVAL '1 day', "
        "create_default_indexes => false)"
    )
    ours, peer = [], []
    floor = LoadedUpTo(0)
    # The first turn of both creates the chunk.
    for turn in range(_TURNS + 1):
        batch = row_batch(turn * _LOAD_ROWS, _LOAD_ROWS)
        body = _encoded(as_frame(batch))
        began = time.perf_counter()
        floor = loader.load([batch], 1, floor, turn + 1)
        between = time.perf_counter()
        client.copy(f"COPY peer ({_COLUMNS}) FROM STDIN (FORMAT csv)", body)
        ended = time.perf_counter()
        ours.append(_LOAD_ROWS / (between - began))
        peer.append(_LOAD_ROWS / (ended - between))
    client.close()
    loader.close()
    return statistics.median(ours[1:]), statistics.median(peer[1:])


def _encoded(rows: pl.DataFrame) -> bytes:
    """Rows as COPY takes them, in the order of `_COLUMNS`."""
    time_ns = pl.col("ts_event").cast(pl.Int64)
    return (
        rows.select(
            "id",
            "total_done",
            "trx_amount",
            "amount",
            "trans_type",
            "account_id",
            pl.col("ts_event")
            .dt.cast_time_unit("us")
            .dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
            .alias("timestamp"),
            (time_ns % 1_000).alias("nanos"),
            pl.col("ts_recv").cast(pl.Int64),
        )
        .write_csv(include_header=False)
        .encode()
    )


def _measure_answers(settings: Timescale, seconds: float) -> list[float]:
    with stand(TAPEHOUSE_TIMESCALE__DSN=settings.dsn.get_secret_value()) as platform:
        meter = Meter(platform, "timescale")
        try:
            asyncio.run(feed(platform, meter, seconds, lambda: None, 0))
        finally:
            meter.stop()
    return meter.ours_ms
