"""kill -9 in mid-ingest: afterwards exactly the file's rows are there, and the bars are theirs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.system.test_real_data import assert_same_bars, rebuilt
from tests.system.up import Up

SPAN = ("2013-10-01", "2013-11-01")


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform for the tests that break it. Small commits: a kill finds one under way."""
    platform = Up(tmp_path_factory.mktemp("kills") / "home", TAPEHOUSE_WRITER__COMMIT_BYTES="300000")
    yield platform
    platform.stop()


def assert_exactly(up: Up, venue: str, source: pl.DataFrame) -> None:
    rows = up.query("trades", "BAC", venue, *SPAN)
    columns = ["ts_event", "price", "size", "conditions"]
    assert rows.height == source.height
    assert rows.select(columns).equals(source.select(columns))
    assert_same_bars(up.query("bars", "BAC", venue, *SPAN, interval="1m"), rebuilt(rows, "1m"))


@pytest.mark.parametrize("part", ["writer", "questdb"])
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_of_a_part_in_mid_ingest_loses_and_doubles_nothing(
    fragile: Up, data: Path, venue: str, part: str, seed: int
) -> None:
    file = data / "us_equities_2013" / "bac_trades.parquet"
    ingest = fragile.start("ingest", str(file), "--venue", venue, "--map", "exchange=venue")
    with pytest.raises(subprocess.TimeoutExpired):
        ingest.wait(random.Random(seed).uniform(1, 3))
    victim = fragile.pid(part)
    os.kill(victim, signal.SIGKILL)
    said, _ = ingest.communicate(timeout=180)
    assert ingest.returncode == 0, said.decode()
    fragile.until(lambda: fragile.pid(part) != victim, f"a new {part}", 60)
    assert_exactly(fragile, venue, pl.read_parquet(file))


def test_kill_of_the_ingest_itself_is_gone_on_with_where_it_was(fragile: Up, data: Path, venue: str) -> None:
    file = data / "us_equities_2013" / "bac_trades.parquet"
    words = ("ingest", str(file), "--venue", venue, "--map", "exchange=venue")
    first = fragile.start(*words, "--speed", "20000x")
    fragile.until(lambda: fragile.query("bars", "BAC", venue, *SPAN, interval="1d").height > 0, "rows", 60)
    first.kill()
    first.communicate()
    said = fragile.run(*words)
    assert "gone on with" in said
    assert_exactly(fragile, venue, pl.read_parquet(file))
