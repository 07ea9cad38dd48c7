"""The same trades by files of any order, overlap, precision, columns and format, into either store: the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tapehouse.client.database import Database
from tapehouse.clock import MILLISECOND, iso, parse_ns
from tests.system.files import Record, Trade, as_array, as_csv, as_lines, as_parquet, call, expect_stored
from tests.system.up import Up

_VENUE = "binance_spot"
"""Its clock counts milliseconds: files may give the same times more exactly."""
_UNITS = {"ms": MILLISECOND, "us": 1_000, "ns": 1}
_WRITERS = {"csv": as_csv, "jsonl": as_lines, "json": as_array, "parquet": as_parquet}
_DAYS = {"hot": parse_ns("2024-02-29"), "cold": parse_ns("1970-01-06")}
"""The cold one is before all that other tests of the platform have in QuestDB, so that it can be ClickHouse's."""
_FEW = settings(max_examples=4, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))


@pytest.fixture
def symbols(venue: str) -> Iterator[str]:
    """Names that no other test has: an example takes the next."""
    return (f"{venue}{number}" for number in range(1_000))


@pytest.fixture
def cold_day(up: Up, db: Database, tmp_path: Path, venue: str) -> None:
    """The cold day is ClickHouse's, and the gateway knows it: it looks every two seconds."""
    file = tmp_path / "first.csv"
    file.write_bytes(as_csv([{"ts": iso(_DAYS["cold"]), "symbol": "A", "price": 1, "size": 1}]))
    said = call(up, "ingest", str(file), "--venue", venue, "--cold")
    assert said.status == 0, said
    known = pl.col("venue") == venue
    up.until(lambda: db.catalog("trades").filter(known).height == 1, "the cold day in the catalog", 10)
    up.until(lambda: db.trades("A", iso(_DAYS["cold"]), venue=venue).height == 1, "the cold day", 10)


class Piece:
    """One file of some of the trades."""

    def __init__(self, draw: st.DrawFn, tape: list[Trade], ids: bool, first: int, last: int) -> None:
        # Cut where the time changes: how many equal trades of one time are meant would be open.
        self.places = [place for place, row in enumerate(tape) if first <= _step(row) <= last]
        self.side = draw(st.booleans())
        self.unit = draw(st.sampled_from(list(_UNITS)))
        self.format = draw(st.sampled_from(list(_WRITERS)))
        records: dict[int, list[Record]] = {}
        for place in self.places:
            ts, price, size, side = tape[place]
            finer = draw(st.integers(0, MILLISECOND - 1))
            record: dict[str, Any] = {"ts": (ts + finer) // _UNITS[self.unit], "price": price, "size": size}
            record |= {"side": side} if self.side else {}
            records.setdefault(ts, []).append(record | ({"id": 7 + place} if ids else {}))
        rising = sorted(records)
        times = draw(st.one_of(st.just(rising), st.just(rising[::-1]), st.permutations(rising)))
        # Where no time rises, the newest row comes first also among those of one time.
        step = -1 if len(times) > 1 and times == rising[::-1] else 1
        self.records = [record for ts in times for record in records[ts][::step]]

    def write(self, folder: Path, symbol: str) -> str:
        path = folder / f"piece.{self.format}"
        path.write_bytes(_WRITERS[self.format]([{"symbol": symbol, **record} for record in self.records]))
        return str(path)


def _step(trade: Trade) -> int:
    return trade[0] // MILLISECOND % 6


@st.composite
def _tapes(draw: st.DrawFn, day: int) -> tuple[list[Trade], list[Piece]]:
    """Trades in order, and files of them that have them all."""
    numbers = st.tuples(
        st.integers(0, 5), st.sampled_from((1.0, 2.5)), st.sampled_from((1.0, 3.0)), st.sampled_from((1, -1))
    )
    rows = sorted(draw(st.lists(numbers, min_size=3, max_size=12)), key=lambda row: row[0])
    # Six milliseconds apart by whole minutes: several bars.
    tape = [(day + step * (60_000 + 1) * MILLISECOND, price, size, side) for step, price, size, side in rows]
    ids = draw(st.booleans())
    # Two files that share the middle, in either order, and one of any span.
    middle, more = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    spans = draw(st.permutations([(0, middle), (middle, 5), (more, 4)]))
    pieces = [Piece(draw, tape, ids, *span) for span in spans]
    return tape, [piece for piece in pieces if piece.records]


def _check(
    up: Up, db: Database, folder: Path, symbol: str, tape: list[Trade], pieces: list[Piece], cold: bool
) -> None:
    accepted = rows = 0
    for number, piece in enumerate(pieces):
        options = ["--cold"] if cold and number == 0 else []
        file = piece.write(folder, symbol)
        said = call(
            up, "ingest", file, "--venue", _VENUE, "--time-unit", piece.unit, "--number-by", "id", *options
        )
        assert said.status == 0, said
        rows += said.total("rows")
        accepted += said.total("accepted")
        assert said.total("quarantined") == 0
    assert rows == sum(len(piece.records) for piece in pieces)
    assert accepted == len(tape)
    sided = {place for piece in pieces if piece.side for place in piece.places}
    expect_stored(
        db, _VENUE, symbol, [(*row[:3], row[3] if place in sided else 0) for place, row in enumerate(tape)]
    )


@pytest.mark.usefixtures("cold_day")
@_FEW
@given(_tapes(_DAYS["cold"]))
def test_in_clickhouse(
    up: Up, db: Database, tmp_path: Path, symbols: Iterator[str], drawn: tuple[list[Trade], list[Piece]]
) -> None:
    _check(up, db, tmp_path, next(symbols), *drawn, cold=True)


@settings(_FEW, max_examples=8)
@given(_tapes(_DAYS["hot"]))
def test_in_questdb(
    up: Up, db: Database, tmp_path: Path, symbols: Iterator[str], drawn: tuple[list[Trade], list[Piece]]
) -> None:
    _check(up, db, tmp_path, next(symbols), *drawn, cold=False)
