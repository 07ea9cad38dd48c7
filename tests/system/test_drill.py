"""Faults under load by `tapehouse drill`, in its short form; and kills while real ticks come in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.system.test_real_data import assert_same_bars, rebuilt
from tests.system.up import TAPEHOUSE, Up

SPAN = ("2013-10-01", "2013-11-01")
PARTS = ("nats", "questdb", "writer", "feed", "sim", "live")
SERVERS = ("nats", "questdb")
OF_SERVERS = ("--part", "nats", "--part", "questdb")
Drilled = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Drilled:
    """What came of a drill of some faults: by fault and part. Each drill is run once."""
    known: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}

    def drill(*words: str) -> dict[str, dict[str, Any]]:
        if words not in known:
            found = tmp_path_factory.mktemp("drill") / "found.json"
            done = subprocess.run(
                [TAPEHOUSE, "drill", "--moments", "1", "--rows", "60000", *words, "--json", str(found)],
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            told = json.loads(found.read_text())
            assert told["good"]
            known[words] = {f"{row['fault']} {row['part']}": row for row in told["alone"]}
        return known[words]

    return drill


def assert_harmless(row: dict[str, Any]) -> None:
    assert row["rows_in"] > 0
    assert (row["lost"], row["doubled"], row["bars"]) == (0, 0, 0)
    assert row["notes"] == []


@pytest.mark.parametrize("part", PARTS)
def test_kill_of_a_part_loses_and_doubles_nothing(drilled: Drilled, part: str) -> None:
    assert_harmless(drilled("--fault", "kill")[f"kill {part}"])


@pytest.mark.long
@pytest.mark.parametrize("part", SERVERS)
def test_pause_of_a_part_loses_and_doubles_nothing(drilled: Drilled, part: str) -> None:
    row = drilled("--fault", "pause", *OF_SERVERS)[f"pause {part}"]
    assert_harmless(row)
    assert row["outage_s"] >= row["seconds"]


@pytest.mark.long
@pytest.mark.parametrize("part", SERVERS)
def test_cut_of_the_connections_of_a_part_loses_and_doubles_nothing(drilled: Drilled, part: str) -> None:
    row = drilled("--fault", "cut", *OF_SERVERS)[f"cut {part}"]
    assert_harmless(row)
    assert row["outage_s"] >= row["seconds"]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform to break. Small commits: a kill finds one under way."""
    platform = Up(tmp_path_factory.mktemp("kills") / "home", TAPEHOUSE_WRITER__COMMIT_BYTES="300000")
    yield platform
    platform.stop()


@pytest.mark.long
def test_kill_of_the_ingest_of_real_ticks_and_then_of_questdb_under_it(
    data: Path, fragile: Up, venue: str
) -> None:
    file = data / "us_equities_2013" / "bac_trades.parquet"
    words = ("ingest", str(file), "--venue", venue, "--map", "exchange=venue")
    first = fragile.start(*words, "--speed", "20000x")
    fragile.until(lambda: fragile.query("bars", "BAC", venue, *SPAN, interval="1d").height > 0, "rows", 60)
    first.kill()
    first.communicate()
    second = fragile.start(*words)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(2)
    victim = fragile.pid("questdb")
    os.kill(victim, signal.SIGKILL)
    said, _ = second.communicate(timeout=180)
    assert second.returncode == 0, said.decode()
    assert "resumed after an interrupted run" in said.decode()
    assert fragile.pid("questdb") != victim
    source, rows = pl.read_parquet(file), fragile.query("trades", "BAC", venue, *SPAN)
    columns = ["ts_event", "price", "size", "conditions"]
    assert rows.select(columns).equals(source.select(columns))
    assert_same_bars(fragile.query("bars", "BAC", venue, *SPAN, interval="1m"), rebuilt(rows, "1m"))
