"""Small files of trades in every format, the command line in this process, and what of it must be stored."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import zstandard

from ops.cli.main import main
from tapehouse.client.database import Database
from tapehouse.clock import MINUTE, SECOND, iso, parse_ns
from tests.system.up import Up

Record = dict[str, Any]
"""A row of a file, by its columns."""
Trade = tuple[int, float, float, int]
"""(ts_event in ns, price, size, side)."""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def counts(self) -> list[dict[str, int]]:
        """The counts of each file, in order; each adds up to its rows."""
        found = []
        for line in re.findall(r": (\d+ rows: .*)", self.out):
            one = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", line)}
            assert sum(one.values()) == 2 * one["rows"], line
            found.append(one)
        return found

    def total(self, what: str) -> int:
        """A count over all files."""
        return sum(one.get(what, 0) for one in self.counts)


S = parse_ns("2024-01-02T10:00:00Z") // SECOND
"""A time in seconds since 1970, from which those of the files count."""
MS = S * 1000
HEADER = "id,ts,symbol,price,size"


def at(seconds: float) -> int:
    """That many seconds after 10:00, ns."""
    return S * SECOND + round(seconds * 1e9)


def written(folder: Path, files: dict[str, bytes]) -> list[str]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in files]


def entries(up: Up, venue: str) -> list[list[str]]:
    """The quarantine of a venue: id, time, kind, venue, place, reason."""
    lines = call(up, "quarantine", "list", "--limit", "0").out.splitlines()
    return [fields for line in lines if (fields := line.split("\t"))[3] == venue]


def call(up: Up, *words: str) -> Said:
    """Run a command as `Up.run` does, in this process: a second less each time."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    environment = patch.dict(os.environ, {"TAPEHOUSE_HOME": str(up.home)})
    with environment, patch("sys.argv", ["tapehouse", *words]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    assert "Traceback" not in err.getvalue()
    return Said(status, out.getvalue(), err.getvalue())


def as_csv(records: Sequence[Record], delimiter: str = ",", end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_lines(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def as_array(records: Sequence[Record]) -> bytes:
    return json.dumps(records, indent=1).encode()


def as_parquet(records: Sequence[Record]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(records).write_parquet(file)
    return file.getvalue()


def as_zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


WRITERS: dict[str, Callable[[Sequence[Record]], bytes]] = {
    "a.csv": as_csv,
    "quoted.csv": lambda rows: re.sub(rb"[^,\n]+", rb'"\g<0>"', as_csv(rows)),
    "bom.csv": lambda rows: b"\xef\xbb\xbf\r\n" + as_csv(rows, end="\r\n"),
    "semicolons.csv": lambda rows: b"\n" + as_csv(rows, ";"),
    "tabs.txt": lambda rows: as_csv(rows, "\t").rstrip(),
    "trailing.csv": lambda rows: as_csv(rows).replace(b"\n", b",\n"),
    "comment.csv": lambda rows: b"# made up\n#" + as_csv(rows),
    "members.csv.gz": lambda rows: gzip.compress(as_csv(rows)[:9]) + gzip.compress(as_csv(rows)[9:]),
    "a.csv.zst": lambda rows: zstandard.compress(as_csv(rows)),
    "a.zip": lambda rows: as_zip({"__MACOSX/._a.csv": b"x", "d/": b"", "d/a.csv": as_csv(rows)}),
    "gz.zip": lambda rows: as_zip({"a.csv.gz": gzip.compress(as_csv(rows))}),
    "a.jsonl": lambda rows: b"\xef\xbb\xbf" + as_lines(rows).replace(b"\n", b"\r\n\r\n"),
    "text.jsonl": lambda rows: as_lines([{name: str(row[name]) for name in row} for row in rows]),
    "a.json": as_array,
    "pages.json.gz": lambda rows: gzip.compress(b"\n".join(as_array([row]) for row in rows)),
    "a.parquet": as_parquet,
    "a.parquet.gz": lambda rows: gzip.compress(as_parquet(rows)),
}
"""File name -> writes records in that format."""


TWO = [f"1,{MS},A,10,1", f"2,{MS + 500},A,11,2"]
"""Lines for HEADER."""
PLAIN: list[Trade] = [(at(0), 10.0, 1.0, 0), (at(0.5), 11.0, 2.0, 0)]
"""The trades of TWO."""


def bars_of(trades: Iterable[Trade]) -> list[tuple[int, float, float, float, float, float, int]]:
    """(ts, open, high, low, close, volume, trades) of each minute; the trades in order."""
    minutes: dict[int, list[Trade]] = {}
    for trade in trades:
        minutes.setdefault(trade[0] // MINUTE * MINUTE, []).append(trade)
    return [
        (
            ts,
            rows[0][1],
            max(row[1] for row in rows),
            min(row[1] for row in rows),
            rows[-1][1],
            sum(row[2] for row in rows),
            len(rows),
        )
        for ts, rows in sorted(minutes.items())
    ]


def expect_stored(db: Database, venue: str, symbol: str, trades: Sequence[Trade]) -> None:
    """Exactly these trades are stored, in this order, and the bars are theirs."""
    span = (iso(trades[0][0]), iso(trades[-1][0] + MINUTE))
    rows = db.trades(symbol, *span, venue=venue).sort("seq")
    assert rows.select(pl.col("ts_event").cast(pl.Int64), "price", "size", "side").rows() == list(trades)
    bars = db.bars(symbol, "1m", iso(trades[0][0] // MINUTE * MINUTE), span[1], venue=venue)
    found = bars.select(pl.col("ts").cast(pl.Int64), "open", "high", "low", "close", "volume", "trades")
    assert found.rows() == bars_of(trades)
