"""Old history straight to the cold store by the command line: once, whole, and only where the cold store may."""

from __future__ import annotations

import asyncio
import gzip
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tapehouse.clock import DAY, MILLISECOND, iso, now_ns, parse_ns
from tapehouse.model import TRADES
from tapehouse.stream.bus import Bus
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, closed
from tests.system.struck import RECORD, REPLACE, struck
from tests.system.test_real_data import counts
from tests.waiting import until

_FIRST = "2010-03-01"


def _file(path: Path, venue_seed: int, rows: int, days: int, first: str = _FIRST) -> pl.DataFrame:
    """A gzipped CSV of trades with ids of their own; its rows."""
    chance = np.random.default_rng(venue_seed)
    times = parse_ns(first) + np.sort(chance.integers(0, days * DAY // MILLISECOND, rows)) * MILLISECOND
    frame = pl.DataFrame(
        {
            "ts": times,
            "symbol": pl.Series(["X", "Y"]).gather(chance.integers(0, 2, rows)),
            "trade_id": np.arange(1, rows + 1),
            "price": np.round(chance.uniform(1, 9, rows), 3),
            "size": np.round(chance.uniform(1, 9, rows), 3),
            "side": pl.Series(["buy", "sell"]).gather(chance.integers(0, 2, rows)),
        }
    )
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(frame.write_csv().encode())
    return frame


def _stored(platform: Mirrored, venue: str, days: int, first: str = _FIRST) -> pl.DataFrame:
    """The trades of a venue, by what the file says of them."""
    names = [iso(parse_ns(first) + day * DAY)[:10] for day in range(days)]
    rows = pl.concat([platform.cold(TRADES, day) for day in names]).filter(pl.col("venue") == venue)
    return rows.select(
        ts=pl.col("ts_event").cast(pl.Int64),
        symbol="symbol",
        trade_id="seq",
        price="price",
        size="size",
        side=pl.when(pl.col("side") == 1).then(pl.lit("buy")).otherwise(pl.lit("sell")),
    ).sort("trade_id")


def _bring(file: Path, venue: str) -> tuple[str, ...]:
    return ("ingest", str(file), "--venue", venue, "--time-unit", "ns", "--cold")


def test_a_file_comes_in_once_and_its_repeat_is_all_duplicate(
    mirrored: Mirrored, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "old.csv.gz"
    rows = _file(file, 1, 5_000, 3)
    said = mirrored.run(*_bring(file, venue))
    assert counts(said) == {"rows": 5_000, "accepted": 5_000, "duplicate": 0, "quarantined": 0}
    assert_frame_equal(_stored(mirrored, venue, 3), rows, check_exact=True)
    assert counts(mirrored.run(*_bring(file, venue)))["duplicate"] == 5_000
    parquet = tmp_path / "old.parquet"
    rows.with_columns(price=pl.when(pl.col("trade_id") == 77).then(99.5).otherwise("price")).write_parquet(
        parquet
    )
    said = mirrored.run(*_bring(parquet, venue))
    assert "0 accepted, 4,999 duplicate, 0 quarantined, 1 corrected" in said
    assert _stored(mirrored, venue, 3).filter(pl.col("trade_id") == 77)["price"].to_list() == [99.5]
    assert mirrored.staging() == []
    mirrored.verified()


def test_bad_rows_are_in_quarantine_and_the_others_in(mirrored: Mirrored, tmp_path: Path, venue: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(
        "ts,symbol,price,size,trade_id\n2010-04-01T00:00:00Z,A,1,1,1\n2010-04-01T00:00:01Z,A,nan,1,2\n"
        "2010-04-01T00:00:02Z,A,x,1,3\n2010-04-01T00:00:03Z,A,4,1,4\n"
    )
    said = mirrored.run("ingest", str(file), "--venue", venue, "--cold")
    assert "4 rows: 2 accepted, 0 duplicate, 2 quarantined" in said
    assert venue in mirrored.run("quarantine", "list")
    assert mirrored.cold(TRADES, "2010-04-01").filter(pl.col("venue") == venue)["seq"].to_list() == [1, 4]


def test_days_that_are_open_or_the_hot_stores_are_refused(
    mirrored: Mirrored, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "today.csv"
    file.write_text(f"ts,symbol,price,size,trade_id\n{iso(now_ns())},A,1,1,1\n")
    said = mirrored.run("ingest", str(file), "--venue", venue, "--cold", status=2)
    assert "expected closed days" in said
    assert "without --cold" in said

    async def hot() -> None:
        async with Pouring(mirrored.settings, 61) as feed:
            await feed.some("2012-01-05", 20, (TRADES,))
            await feed.written()
        async with Bus.opened(mirrored.settings, "mirror") as bus:
            await closed(bus, (TRADES,))

    asyncio.run(hot())
    file = tmp_path / "hot.csv.gz"
    _file(file, 2, 100, 3, "2012-01-04")
    said = mirrored.run(*_bring(file, venue), status=2)
    assert "trades of 2012-01-05 are owned by QuestDB" in said
    assert mirrored.cold(TRADES, "2012-01-04").is_empty()
    assert mirrored.staging() == []


def test_a_kill_at_any_write_and_a_repeat_double_nothing(
    mirrored: Mirrored, tmp_path: Path, venue: str
) -> None:
    first = "2010-06-01"
    file = tmp_path / "old.csv.gz"
    rows = _file(file, 3, 2_000, 2, first)
    for place, turn, before in (
        (REPLACE, 1, True),
        (REPLACE, 1, False),
        (RECORD, 2, False),
        (REPLACE, 2, False),
        (RECORD, 4, True),
    ):
        killed = struck(mirrored, place, turn, *_bring(file, venue), before=before)
        said, _ = killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL, said
    said = mirrored.run(*_bring(file, venue))
    assert counts(said) == {"rows": 2_000, "accepted": 0, "duplicate": 2_000, "quarantined": 0}
    assert_frame_equal(_stored(mirrored, venue, 2, first), rows, check_exact=True)
    mirrored.verified()
    assert mirrored.staging() == []


@pytest.mark.long
async def test_a_kill_in_the_middle_and_a_repeat_double_nothing(
    mirrored: Mirrored, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "long.csv.gz"
    rows = await asyncio.to_thread(_file, file, 4, 300_000, 10, "2010-09-01")
    with mirrored.started(*_bring(file, venue)) as process:
        await until(lambda: not mirrored.cold(TRADES, "2010-09-02").is_empty(), "two days to be in")
        process.kill()
    said = await asyncio.to_thread(mirrored.run, *_bring(file, venue))
    assert counts(said)["duplicate"] >= 30_000 - 1_000
    assert counts(said)["accepted"] + counts(said)["duplicate"] == 300_000
    assert_frame_equal(_stored(mirrored, venue, 10, "2010-09-01"), rows, check_exact=True)


def test_a_file_for_days_of_the_cold_store_meets_its_rows_there_and_is_merged_at_once(
    mirrored: Mirrored, tmp_path: Path, venue: str
) -> None:
    header, rows = (
        "ts,symbol,price,size,side",
        [f"2010-05-03T00:00:0{place}Z,A,{place},1,buy" for place in range(5)],
    )
    first, more = tmp_path / "first.csv", tmp_path / "more.csv"
    first.write_text("\n".join([header, *rows[:3]]) + "\n")
    mirrored.run("ingest", str(first), "--venue", venue, "--cold")
    # Newest first, without sides, and two rows more.
    poorer = [row.removesuffix(",buy") for row in rows[::-1]]
    more.write_text("\n".join(["ts,symbol,price,size", *poorer]) + "\n")
    said = mirrored.run("ingest", str(more), "--venue", venue)
    assert counts(said) == {"rows": 5, "accepted": 2, "duplicate": 3, "quarantined": 0}
    stored = mirrored.cold(TRADES, "2010-05-03").filter(pl.col("venue") == venue).sort("seq")
    assert stored["price"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert stored["side"].to_list() == [1, 1, 1, 0, 0]
