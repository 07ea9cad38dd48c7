"""How far a packed file is, is shown while it is unpacked: on a terminal only."""

from __future__ import annotations

import gzip
import os
import pty
import random
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard

from ingest.imports.row_sources import open_row_source
from tapehouse.model import TRADES
from tests.ingest.files.test_archives import zipped

_ROWS = 150_000
_NAME = "trades.json.gz"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gzipped array of JSON, which takes a second or more to unpack."""
    numbers = random.Random(1)
    rows = (
        f'{{"ts":{1_704_067_200_000_000_000 + row},"price":{numbers.random():.12f},"size":{numbers.random():.12f}}}'
        for row in range(_ROWS)
    )
    path = tmp_path_factory.mktemp("packed") / _NAME
    path.write_bytes(gzip.compress(f"[{','.join(rows)}]".encode(), 1))
    return path


def _words(path: Path) -> list[str]:
    script = "from ops.cli.main import main; main()"
    words = ["ingest", str(path), "--venue", "v", "--symbol", "S", "--dry-run"]
    return [sys.executable, "-c", script, *words, "--home", str(path.parent / "home")]


def test_on_a_terminal_the_part_of_the_file_that_was_read_is_shown(packed: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(_words(packed), stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 1000):
                said += piece
        except OSError:  # the far side is closed
            pass
        assert process.wait(30) == 0, said
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    shown = [int(part) for part in re.findall(rf"unpacking {_NAME}\D*(\d+)%", text)]
    assert shown == sorted(shown)
    assert any(0 < part < 100 for part in shown), text


def test_when_piped_nothing_is_shown(packed: Path) -> None:
    done = subprocess.run(_words(packed), capture_output=True, text=True, check=True)
    assert "unpacking" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a.zip", "a.csv.zst", "a.json.gz", "a.parquet.gz"])
def test_every_packed_file_tells_how_far_it_is_and_ends_at_its_end(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    csv = "ts,price,size\n" + "".join(f"2024-01-01T00:00:00Z,1.{row * 7919},2\n" for row in range(1000))
    if name.endswith("zip"):
        zipped(path, trades=csv)
    elif name.endswith("zst"):
        path.write_bytes(zstandard.ZstdCompressor().compress(csv.encode()))
    elif name.endswith("json.gz"):
        path.write_bytes(gzip.compress(b'[{"ts":"2024-01-01T00:00:00Z","price":1.5,"size":2}]'))
    else:
        plain = tmp_path / "a.parquet"
        pl.read_csv(csv.encode(), try_parse_dates=True).write_parquet(plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    told: list[float] = []
    with open_row_source(path, TRADES, "v", "S", unpacking=told.append) as source:
        assert sum(batch.rows for chunk in source.chunks() for batch in chunk.batches)
    assert told == sorted(told)
    assert 0.5 < told[-1] <= 1


def test_a_plain_file_and_lines_that_are_read_while_they_are_unpacked_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"ts,price,size\n2024-01-01T00:00:00Z,1.5,2\n"))
    told: list[float] = []
    with open_row_source(path, TRADES, "v", "S", unpacking=told.append):
        assert not told
