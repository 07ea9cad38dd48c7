"""Real ticks by the command line: rows equal the files', bars equal the exchange's and the vendor's own."""

from __future__ import annotations

import gzip
import itertools
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tapehouse.clock import INTERVALS
from tapehouse.settings import load
from tapehouse.stores.questdb import QuestReader
from tests.system.up import Up

TIME = pl.Datetime("ns", "UTC")
OHLC = ("open", "high", "low", "close")
SPAN = ("2013-10-01", "2013-11-01")


def counts(said: str) -> dict[str, int]:
    return {
        what: int(n.replace(",", "")) for n, what in re.findall(r"(\d[\d,]*) (\w+)", said.split(":", 1)[1])
    }


def rebuilt(trades: pl.DataFrame, interval: str) -> pl.DataFrame:
    """Bars from rows in seq order, by polars: the design's bar, written a second time."""
    starts = INTERVALS[interval].bucket(trades["ts_event"].cast(pl.Int64).to_numpy())
    price, size = pl.col("price"), pl.col("size")
    return (
        trades.with_columns(ts=pl.Series(starts).cast(TIME))
        .sort("seq")
        .group_by("ts")
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=size.sum(),
            turnover=(price * size).sum(),
            trades=pl.len().cast(pl.Int64),
            buy_volume=size.filter(pl.col("side") == 1).sum(),
            seq_first=pl.col("seq").first(),
            seq_last=pl.col("seq").last(),
        )
        .sort("ts")
    )


def assert_same_bars(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    sums = ["volume", "turnover", "buy_volume"]
    found = found.select(expected.columns)
    assert found.drop(sums).equals(expected.drop(sums))
    for name in sums:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_binance_candles_equal_the_exchanges_own(up: Up, data: Path, tmp_path: Path, interval: str) -> None:
    folder = data / "binance_xrp_eth_2019"
    said = up.run("ingest", str(folder / "trades.parquet"), "--venue", "binance")
    assert counts(said)["rows"] == 12_477
    assert counts(said)["accepted"] + counts(said)["duplicate"] == 12_477
    oracle = pl.read_parquet(folder / f"bars_{interval}.parquet")
    out = tmp_path / "bars.parquet"
    up.run(
        "query", "bars", "XRP-ETH", "--venue", "binance", "--start", "2019-10-11T00:00:00Z", "--end",
        "2019-10-13T11:20:00Z", "--interval", interval, "--fill", "flat", "--out", str(out),
    )  # fmt: skip
    bars = pl.read_parquet(out)
    assert bars.select(oracle.columns).equals(oracle)


def test_gold_bars_equal_the_vendors_and_identical_fills_are_kept(up: Up, data: Path) -> None:
    folder = data / "comex_gold_2013"
    said = up.run("ingest", str(folder / "trades.parquet"), "--venue", "comex")
    assert counts(said) == {"rows": 156_452, "accepted": 156_452, "duplicate": 0, "quarantined": 0}
    oracle = pl.read_parquet(folder / "bars_1m.parquet")
    bars = up.query("bars", "GCZ3", "comex", *SPAN, interval="1m")
    assert bars.select("ts", *OHLC).equals(oracle.select("ts", *OHLC))
    other = bars.filter(bars["volume"] != oracle["volume"].cast(pl.Float64))
    assert other.height <= 3  # the vendor's last bar of each of the three days is cut short
    rows = up.query("trades", "GCZ3", "comex", *SPAN)
    source = pl.read_parquet(folder / "trades.parquet")
    assert rows.select("ts_event", "price", "size").equals(source.select("ts_event", "price", "size"))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("bac", 60_000),
        pytest.param("bac", 573_620, marks=pytest.mark.long),
        pytest.param("spy", 1_887_460, marks=pytest.mark.long),
    ],
)
def test_equities_keep_every_row_and_give_the_bars_of_a_rebuild(
    up: Up, data: Path, tmp_path: Path, venue: str, name: str, rows: int
) -> None:
    file = tmp_path / f"{name}.parquet"
    pl.read_parquet(data / "us_equities_2013" / f"{name}_trades.parquet")[:rows].write_parquet(file)
    said = up.run("ingest", str(file), "--venue", venue, "--map", "exchange=venue")
    assert counts(said) == {"rows": rows, "accepted": rows, "duplicate": 0, "quarantined": 0}
    again = up.run("ingest", str(file), "--venue", venue, "--map", "exchange=venue")
    assert counts(again) == {"rows": rows, "accepted": 0, "duplicate": rows, "quarantined": 0}
    symbol = name.upper()
    stored = up.query("trades", symbol, venue, *SPAN)
    source = pl.read_parquet(file)
    assert stored.select("ts_event", "price", "size", "conditions").equals(
        source.select("ts_event", "price", "size", "conditions")
    )
    assert stored["exchange"].equals(source["venue"].alias("exchange"))
    for interval in INTERVALS:
        bars = up.query("bars", symbol, venue, *SPAN, interval=interval)
        assert_same_bars(bars, rebuilt(stored, interval))


@pytest.fixture
def halves(data: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A day of gold whole, and cut in two where its time has moved on."""
    gold = pl.read_parquet(data / "comex_gold_2013" / "trades.parquet")[:20_000]
    cut = 10_000 + int(np.flatnonzero(np.diff(gold["ts_event"][9_999:].cast(pl.Int64).to_numpy()) > 0)[0])
    paths = tuple(tmp_path / f"{name}.parquet" for name in ("whole", "first", "second"))
    for path, rows in zip(paths, (gold, gold[:cut], gold[cut:]), strict=True):
        rows.write_parquet(path)
    return paths  # type: ignore[return-value]


def test_halves_in_either_order_give_the_rows_and_bars_of_the_whole(
    up: Up, halves: tuple[Path, Path, Path], venue: str
) -> None:
    whole, first, second = halves
    answers = []
    for name, files in (("whole", [whole]), ("forward", [first, second]), ("backward", [second, first])):
        place = f"{venue}-{name}"
        for file in files:
            up.run("ingest", str(file), "--venue", place)
        rows = up.query("trades", "GCZ3", place, *SPAN).drop("venue")
        bars = up.query("bars", "GCZ3", place, *SPAN, interval="1m").drop("venue")
        answers.append((rows, bars))
    for rows, bars in answers[1:]:
        assert rows.equals(answers[0][0])
        assert bars.equals(answers[0][1])


def test_a_file_that_starts_inside_a_stored_timestamp_goes_on_after_its_rows(
    up: Up, data: Path, tmp_path: Path, venue: str
) -> None:
    gold = pl.read_parquet(data / "comex_gold_2013" / "trades.parquet")[:3_000]
    # A cut inside a tie, whose rows differ.
    ties = (gold["ts_event"].cast(pl.Int64).diff() == 0) & (gold["price"].diff() != 0)
    cut = int(np.flatnonzero(ties.fill_null(False).to_numpy())[0])
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    gold[:cut].write_parquet(first)
    gold[cut:].write_parquet(second)
    up.run("ingest", str(first), "--venue", venue)
    assert counts(up.run("ingest", str(second), "--venue", venue))["accepted"] == gold.height - cut
    rows = up.query("trades", "GCZ3", venue, *SPAN)
    assert rows.select("ts_event", "price", "size").equals(gold.select("ts_event", "price", "size"))
    # The same again is a repeat.
    assert counts(up.run("ingest", str(second), "--venue", venue))["duplicate"] == gold.height - cut


def test_another_numbering_for_a_stored_symbol_is_refused(up: Up, tmp_path: Path, venue: str) -> None:
    by_time, by_id = tmp_path / "time.csv", tmp_path / "id.csv"
    by_time.write_text("ts,symbol,price,size\n2024-01-01T00:00:00Z,A,1,1\n")
    by_id.write_text("ts,symbol,price,size,trade_id\n2024-01-01T00:00:01Z,A,1,1,17\n")
    up.run("ingest", str(by_time), "--venue", venue)
    refused = up.run("ingest", str(by_id), "--venue", venue, status=1)
    assert "expected rows numbered by time" in refused


def test_captured_lines_of_three_markets_are_rows_each(
    up: Up, data: Path, tmp_path: Path, venue: str
) -> None:
    lines = 2_000
    found = _ingested(up, venue, [_head(file, lines, tmp_path) for file in _captures(data)])
    assert sum(found.values()) == lines * len(_captures(data))
    assert all(found.values())


@pytest.mark.long
def test_whole_captures_of_three_markets_are_rows_each(up: Up, data: Path, venue: str) -> None:
    found = _ingested(up, venue, _captures(data))
    assert found["trades"] == 73_957
    assert found["quotes"] == 290_900
    assert found["depth"] == 434_057 - 73_957 - 290_900  # 69,195 updates, the rest are snapshots


def _captures(data: Path) -> list[Path]:
    return sorted((data / "binance_raw_2024").glob("*.gz"))


def _head(capture: Path, lines: int, folder: Path) -> Path:
    """The first lines of a capture as a file of their own."""
    head = folder / capture.name
    with gzip.open(capture) as whole, gzip.open(head, "wb") as part:
        part.writelines(itertools.islice(whole, lines))
    return head


def _ingested(up: Up, venue: str, files: list[Path]) -> dict[str, int]:
    """The stored rows by kind; every line of the files is accepted."""
    for file in files:
        said = up.run("ingest", str(file), "--venue", f"{venue}-{file.name.split('_')[0]}")
        assert counts(said)["rows"] == counts(said)["accepted"]
    with QuestReader(load(up.home).questdb) as reader:
        return {
            kind: reader.fetch(f"SELECT count() FROM {kind} WHERE venue LIKE %s", [f"{venue}-%"])[0][0]
            for kind in ("trades", "quotes", "depth")
        }
