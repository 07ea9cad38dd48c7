"""Real captures served as a venue, through the real feeds into QuestDB, with cuts on the way."""

from __future__ import annotations

import gzip
import json
import math
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tapehouse.book import Book
from tapehouse.settings import load
from tapehouse.stores.questdb import QuestReader
from tests.system.up import Up

pytestmark = pytest.mark.long
CAPTURED = {"trades": 73_957, "quotes": 290_900, "depth": 69_195}
MARKETS = ("binance_spot", "binance_usdm", "binance_cm")
CUTS = 10
_SEQ = {"trade": b'"t":', "bookTicker": b'"u":', "depth": b'"u":'}
_KIND = {"trade": "trades", "bookTicker": "quotes", "depth": "depth"}
_HEAD = re.compile(rb'(\d+) \{"stream":"([a-z_]+)@([a-zA-Z]+)')
Key = tuple[str, str, str]
"""Market, kind, symbol."""


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Up]:
    """All captures played flat out, all markets cut ten times; afterwards all that can be healed is."""
    platform = Up(
        tmp_path_factory.mktemp("replay") / "home",
        feed=f"replay:{data / 'binance_raw_2024'}",
        TAPEHOUSE_REPLAY__SPEED="max",
        TAPEHOUSE_REPLAY__FAULTS=f"cut={CUTS}",
        TAPEHOUSE_FEED__GAP_GRACE_S="1",
    )
    try:
        platform.until(lambda: all(played(platform, market)["done"] for market in MARKETS), "the end", 240)
        platform.until(lambda: settled(platform), "all that is on its way", 120)
        yield platform
    finally:
        platform.stop()


def played(up: Up, market: str) -> dict[str, Any]:
    """What the replay says of a market."""
    base = next(str(part["address"]) for part in up.parts() if part["name"] == "replay")
    with urllib.request.urlopen(f"{base.replace('ws://', 'http://')}/{market}", timeout=10) as answer:
        return dict(json.load(answer))


def settled(up: Up) -> bool:
    """All trades are there, and no gap of trades is open."""
    with QuestReader(load(up.home).questdb) as reader:
        open_gaps = reader.fetch("SELECT count() FROM gaps WHERE kind = 'trades' AND NOT closed")[0][0]
        return reader.fetch("SELECT count() FROM trades")[0][0] == CAPTURED["trades"] and open_gaps == 0


@pytest.fixture(scope="module")
def captured(data: Path) -> dict[Key, set[int]]:
    """The ids in the captures."""
    found: dict[Key, set[int]] = defaultdict(set)
    for file in sorted((data / "binance_raw_2024").glob("*.gz")):
        market = {"spot": "binance_spot", "usdm": "binance_usdm", "cm": "binance_cm"}[file.name.split("_")[0]]
        with gzip.open(file) as lines:
            for line in lines:
                if head := _HEAD.match(line):
                    event = head[3].decode()
                    at = line.index(_SEQ[event]) + 4
                    seq = int(line[at : line.index(b",", at)].rstrip(b"}\n"))
                    found[market, _KIND[event], head[2].decode().upper()].add(seq)
    return found


def stored(up: Up, kind: str) -> dict[Key, Counter[int]]:
    """How often each id is stored; updates of books without the snapshots."""
    only = " WHERE NOT snapshot" if kind == "depth" else ""
    found: dict[Key, Counter[int]] = defaultdict(Counter)
    with QuestReader(load(up.home).questdb) as reader:
        for venue, symbol, seq in reader.fetch(f"SELECT venue, symbol, seq FROM {kind}{only}"):
            found[venue.removeprefix("replay_"), kind, symbol][seq] += 1
    return found


def gaps(up: Up) -> dict[Key, list[tuple[int, int]]]:
    """The ids between which rows are missing, of the gaps that are open."""
    found: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    for line in up.run("gaps", "--limit", "0", "--open", "--json").splitlines():
        gap = json.loads(line)
        key = gap["venue"].removeprefix("replay_"), gap["kind"], gap["symbol"]
        found[key].append((gap["seq"], gap["seq_last"]))
    return found


@pytest.mark.parametrize("kind", CAPTURED)
def test_every_captured_row_is_stored_once_or_its_id_is_in_a_gap(
    replayed: Up, captured: dict[Key, set[int]], kind: str
) -> None:
    assert sum(len(ids) for key, ids in captured.items() if key[1] == kind) == CAPTURED[kind]
    found, recorded = stored(replayed, kind), gaps(replayed)
    for key, ids in captured.items():
        if key[1] != kind:
            continue
        assert set(found[key]) <= ids
        assert set(found[key].values()) == {1}
        missing = ids - set(found[key])
        assert all(any(low <= seq <= high for low, high in recorded[key]) for seq in missing), key
        if kind == "trades":
            assert not missing


def test_ten_cuts_of_each_market_cost_something_that_was_healed_or_recorded(replayed: Up) -> None:
    for market in MARKETS:
        faults = played(replayed, market)["faults"]
        assert [fault["kind"] for fault in faults] == ["cut"] * CUTS
    closed = replayed.run("gaps", "--kind", "trades", "--limit", "0")
    assert "closed" in closed
    assert gaps(replayed)


def test_books_rebuilt_from_depth_show_the_captured_best_quotes(replayed: Up) -> None:
    """At each id at which an update ends and a quote stands: inside an update the book cannot be told."""
    equal = compared = 0
    with QuestReader(load(replayed.home).questdb) as reader:
        for venue, symbol in reader.fetch("SELECT DISTINCT venue, symbol FROM depth"):
            same, of = books_against_quotes(reader, venue, symbol)
            equal, compared = equal + same, compared + of
    assert compared > 300
    assert equal == compared


def books_against_quotes(reader: QuestReader, venue: str, symbol: str) -> tuple[int, int]:
    """(quotes equal to the book at the same update id, quotes for whose id there is a book)."""
    quotes = {
        seq: (bid, bid_size, ask, ask_size)
        for seq, bid, bid_size, ask, ask_size in reader.fetch(
            "SELECT seq, bid, bid_size, ask, ask_size FROM quotes WHERE venue = %s AND symbol = %s",
            [venue, symbol],
        )
    }
    rows = reader.fetch(
        "SELECT snapshot, seq, seq_first, seq_previous, bid_prices, bid_sizes, ask_prices, ask_sizes "
        "FROM depth WHERE venue = %s AND symbol = %s ORDER BY seq, snapshot",
        [venue, symbol],
    )
    book: Book | None = None
    equal = compared = 0
    for snapshot, seq, first, previous, *levels in rows:
        if snapshot:
            book = book if book and book.seq >= seq else Book(seq, 0, *levels)
            continue
        if book is None or not book.apply(first - 1 if previous is None else previous, seq, 0, *levels):
            book = None
            continue
        if seq == book.seq and seq in quotes:
            compared += 1
            equal += all(
                math.isclose(ours, theirs) for ours, theirs in zip(book.best(), quotes[seq], strict=True)
            )
    return equal, compared


def test_the_clock_of_each_venue_is_measured(replayed: Up) -> None:
    feeds = [report for report in replayed.status()["roles"] if report["role"] == "feed"]
    assert len(feeds) == len(MARKETS)
    # Captures of 2024 are received today.
    assert all(report["skew_ms"] > 1e9 for report in feeds)


def test_bars_of_replayed_trades_are_there(replayed: Up) -> None:
    bars = replayed.query("bars", "BTCUSDT", "replay_binance_spot", "2024-08-08", "2024-08-10", interval="1m")
    trades = replayed.query("trades", "BTCUSDT", "replay_binance_spot", "2024-08-08", "2024-08-10")
    assert bars["trades"].sum() == trades.height
    assert isinstance(bars, pl.DataFrame)
