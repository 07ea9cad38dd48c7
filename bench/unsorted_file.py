"""Rows a second read from a file without ids whose rows are in no order, beside the same file in order of time.

20 million trades of 200 symbols in Parquet. Peer: the same rows sorted, which are read as they are. Asserted: the
unsorted file needs less than 500 MB.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from bench.stand import peak_mb
from ingest.imports.row_sources import open_row_source
from tapehouse.clock import DAY, MICROSECOND, parse_ns
from tapehouse.model import TRADES

_ROWS = 20_000_000
_PART = 1_000_000
_SYMBOLS = 200
_MOST_MB = 500


def measure() -> dict[str, Any]:
    """Rows a second of both, the peak memory of each, and their ratio."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            name: _write(folder / f"{name}.parquet", name == "unsorted") for name in ("sorted", "unsorted")
        }
        found = {}
        for name, file in files.items():
            # A process of its own, for its memory.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found[name] = process.submit(_read, file, folder).result()
    assert found["unsorted"][1] < _MOST_MB, f"expected less than {_MOST_MB} MB, was {found['unsorted'][1]}"
    rates = {name: _ROWS / seconds for name, (seconds, _) in found.items()}
    return {
        "rows": _ROWS,
        "rows_s": round(rates["unsorted"]),
        "peak_mb": found["unsorted"][1],
        "peer": "the same rows in order of time",
        "peer_rows_s": round(rates["sorted"]),
        "peer_peak_mb": found["sorted"][1],
        "ratio": round(rates["unsorted"] / rates["sorted"], 3),
    }


def _write(path: Path, shuffled: bool) -> Path:
    """Rows whose times rise, or are anywhere within the day."""
    rng = np.random.default_rng(1)
    start = parse_ns("2024-01-02")
    writer = None
    for part in range(_ROWS // _PART):
        if shuffled:
            times = rng.integers(0, DAY // MICROSECOND, _PART) * MICROSECOND
        else:
            span = DAY // (_ROWS // _PART) // MICROSECOND
            times = (part * span + np.sort(rng.integers(0, span, _PART))) * MICROSECOND
        table = pl.DataFrame(
            {
                "ts": pl.Series(start + times).cast(pl.Datetime("ns", "UTC")),
                "symbol": pl.Series([f"S{number}" for number in range(_SYMBOLS)]).gather(
                    rng.integers(0, _SYMBOLS, _PART)
                ),
                "price": rng.integers(1, 10_000, _PART) / 100,
                "size": rng.integers(1, 1_000, _PART) / 10,
            }
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return path


def _read(path: Path, folder: Path) -> tuple[float, int]:
    """(seconds, peak MB) of reading all rows in order."""
    began, rows, last = time.perf_counter(), 0, 0
    with open_row_source(path, TRADES, "bench", sort_folder=folder) as source:
        for chunk in source.chunks():
            for batch in chunk.batches:
                times = batch.array("ts_event")
                assert times[0] >= last
                last = int(times[-1])
                rows += batch.rows
    assert rows == _ROWS
    return time.perf_counter() - began, peak_mb(os.getpid())
