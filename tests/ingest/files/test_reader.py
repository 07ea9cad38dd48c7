"""Files of real trades come through whole, and the same by every format."""

import gzip
import json
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ingest.files import lines as line_reader
from ingest.files import reader
from ingest.files.options import ReadOptions, TimeUnit
from ingest.files.reader import Chunk, TickFile, open_tick_file
from ingest.imports.row_sources import open_row_source
from ingest.rejected import Rejected
from tapehouse.batch import Batch
from tapehouse.clock import parse_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import BARS, TRADES, Kind

EQUITIES = {"exchange": "venue"}


def read(source: TickFile) -> Batch:
    """All rows, none of which may be rejected."""
    chunks = list(source.chunks())
    assert not [chunk.rejected for chunk in chunks if chunk.rejected]
    assert all(batch.rows <= 50_000 for chunk in chunks for batch in chunk.batches)
    return Batch.concat([batch for chunk in chunks for batch in chunk.batches])


def assert_same(batch: Batch, frame: pl.DataFrame) -> None:
    assert batch.rows == frame.height
    assert np.array_equal(batch.array("ts_event"), frame["ts_event"].to_physical().to_numpy())
    assert np.array_equal(batch.array("ts_recv"), batch.array("ts_event"))
    for name in ("price", "size"):
        assert np.array_equal(batch.array(name), frame[name].to_numpy())
    assert batch.strings("symbol").to_list() == frame["symbol"].to_list()


@pytest.fixture(params=["parquet", "csv", "jsonl", "parquet.gz", "csv.gz"])
def written(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> tuple[Path, pl.DataFrame]:
    """Real gold trades as a file of each format; 28,829 of the rows are identical to another."""
    frame = pl.read_parquet(data / "comex_gold_2013" / "trades.parquet")
    path = tmp_path / f"gold.{request.param}"
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if "parquet" in request.param:
        frame.write_parquet(plain, row_group_size=70_000)
    elif "csv" in request.param:
        frame.write_csv(plain)
    else:
        iso = pl.col("ts_event").dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        frame.with_columns(iso).write_ndjson(plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    return path, frame


def test_real_trades_are_the_same_by_every_format_and_identical_rows_stay(
    written: tuple[Path, pl.DataFrame],
) -> None:
    path, frame = written
    with open_tick_file(path, TRADES, "comex") as source:
        batch = read(source)
        assert_same(batch, frame)
        assert not source.has_seq
        assert "column venue ignored: venue is comex" in source.notes
        assert not batch.array("seq").any()


def test_real_trades_read_on_from_any_piece_as_if_never_left(written: tuple[Path, pl.DataFrame]) -> None:
    path, _ = written
    with open_tick_file(path, TRADES, "comex") as source:
        chunks = list(source.chunks())
        assert len(chunks) > 2
        assert chunks[-1].fraction == 1
        for before, chunk in enumerate(chunks, 1):
            position = json.loads(json.dumps(chunk.position))
            rest = list(source.chunks(position))
            assert [one.position for one in rest] == [one.position for one in chunks[before:]]
            for again, first in zip(rest, chunks[before:], strict=True):
                assert np.array_equal(again.batches[0].array("price"), first.batches[0].array("price"))


def test_a_consolidated_tape_keeps_its_exchanges_and_conditions(data: Path) -> None:
    path = data / "us_equities_2013" / "bac_trades.parquet"
    frame = pl.read_parquet(path)
    with open_tick_file(path, TRADES, "utp", options=ReadOptions(EQUITIES)) as source:
        batch = read(source)
        assert_same(batch, frame)
        assert batch.strings("exchange").to_list() == frame["venue"].to_list()
        assert batch.strings("conditions").to_list() == frame["conditions"].to_list()
        assert "columns ignored: suspicious" in source.notes


def test_trade_ids_become_seq_and_words_become_sides(data: Path) -> None:
    path = data / "binance_xrp_eth_2019" / "trades.parquet"
    frame = pl.read_parquet(path)
    with open_tick_file(path, TRADES, "binance") as source:
        batch = read(source)
        assert_same(batch, frame)
        assert source.has_seq
        assert np.array_equal(batch.array("seq"), frame["trade_id"].to_numpy())
        assert np.array_equal(batch.array("side"), np.where(frame["side"].to_numpy() == "buy", 1, -1))


CSV = "time,price,size\n1723161256172,1.5,1\n1723161256173,x,1\n1723161256174,2.5,1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ticks.csv"
    path.write_text(CSV)
    return path


def test_what_was_guessed_is_said(path: Path) -> None:
    with open_tick_file(path, TRADES, "utp", "SPY") as source:
        assert source.notes == (
            "ts_event: read from column time",
            "ts_event: column time read as milliseconds since 1970 (guessed): "
            "2024-08-08T23:54:16Z to 2024-08-08T23:54:16Z",
            "ts_recv: none, equal to ts_event",
            "seq: none, made from time",
        )


def test_a_rejected_row_says_where_it_was(path: Path) -> None:
    with open_tick_file(path, TRADES, "utp", "SPY") as source:
        (chunk,) = source.chunks()
    (rejected,) = chunk.rejected
    assert rejected == Rejected(b"1723161256173,x,1", "price: expected a number, was 'x'", "ticks.csv line 3")
    assert chunk.rows_read == 3
    assert chunk.batches[0].array("price").tolist() == [1.5, 2.5]
    assert chunk.batches[0].venue == "utp"


def test_values_out_of_the_models_bounds_are_rejected_with_their_line(path: Path) -> None:
    path.write_text("ts,price,size\n1723161256,1.5,-1\n32503680000,1.5,1\n1723161256,1.5,2\n")
    with open_tick_file(path, TRADES, "utp", "SPY", ReadOptions(time_unit="s")) as source:
        (chunk,) = source.chunks()
    assert [one.where for one in chunk.rejected] == ["ticks.csv line 2", "ticks.csv line 3"]
    assert chunk.batches[0].array("size").tolist() == [2]


def test_the_identity_is_that_of_the_content_and_of_how_it_is_read(path: Path) -> None:
    def identity(kind: Kind = TRADES, venue: str = "utp", symbol: str = "SPY", **how: Any) -> str:
        with open_tick_file(path, kind, venue, symbol, ReadOptions(**how)) as source:
            return source.identity

    first = identity()
    moved = path.with_name("moved")
    path.rename(moved)
    path.write_bytes(moved.read_bytes())
    assert identity() == first
    assert identity(mapping={"ts": "time"}) == first
    others = [
        identity(venue="other"),
        identity(symbol="BAC"),
        identity(time_unit="ms"),
        identity(timezone="UTC"),
        identity(mapping={"price": "size", "size": "price"}),
    ]
    path.write_text(CSV + "1723161256175,2.5,1\n")
    others.append(identity())
    path.write_text(CSV.replace("2.5", "2.6"))
    others.append(identity())
    assert len({first, *others}) == len(others) + 1


def test_a_change_at_either_end_of_a_large_file_gives_another_identity(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WHOLE", 100)
    monkeypatch.setattr(reader, "_ENDS", 40)
    monkeypatch.setattr(reader, "_SAMPLE", 1)
    identities = set()
    text = "time,price,size\n" + "1723161256172,1.5,1\n" * 50
    for content in (text, text.replace("172,1", "171,1", 1), text[:-2] + "2\n", text + "\n"):
        path.write_text(content)
        with open_tick_file(path, TRADES, "utp", "SPY") as source:
            identities.add(source.identity)
    assert len(identities) == 4


def test_a_cut_gzip_gives_its_good_rows_before_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv.gz"
    rows = "".join(f"{1723161256172 + row},{row}.5,1\n" for row in range(200_000))
    whole = gzip.compress(f"time,price,size\n{rows}".encode())
    path.write_bytes(whole[: len(whole) * 2 // 3])
    chunks: list[Chunk] = []
    with (
        open_tick_file(path, TRADES, "utp", "SPY") as source,
        pytest.raises(SourceError, match="is cut") as caught,
    ):
        chunks.extend(source.chunks())
    prices = [price for chunk in chunks for price in chunk.batches[0].array("price").tolist()]
    assert caught.value.fields["line"] == chunks[-1].rows_read + 1
    assert 100_000 < len(prices) < 150_000
    assert prices == [row + 0.5 for row in range(len(prices))]


def test_files_hold_four_kinds(path: Path) -> None:
    with pytest.raises(UsageError, match="trades quotes depth account_trades in a file, was bars"):
        open_tick_file(path, BARS, "utp", "SPY")


def test_a_capture_is_no_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_text('1723161255342172216 {"stream":"btcusdt@trade"}\n')
    with pytest.raises(SourceError, match="was a capture"):
        open_tick_file(path, TRADES, "binance")


def test_the_rows_of_a_file_whose_first_block_is_all_bad_are_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "BLOCK_LINES", 2)
    path.write_text("time,price,size\n" + "bad\n" * 5 + "1723161256172,1.5,1\n")
    with open_tick_file(path, TRADES, "utp", "SPY") as source:
        chunks = list(source.chunks())
    assert sum(len(chunk.rejected) for chunk in chunks) == 5
    assert sum(batch.rows for chunk in chunks for batch in chunk.batches) == 1


_DAYS = ("2024-01-03T14:30:00.5Z", "2024-01-02T14:30:00Z", "2024-01-02T14:30:01Z")


@pytest.mark.parametrize(
    "dates", [("2024-01-03", "2024-01-02"), ("20240103", "20240102"), ("2024/01/03", "2024/01/02")]
)
@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (("09:30:00.5", "9:30:00", "09:30:01"), None),
        (("34200.5", "34200", "34201"), "s"),
        ((34200500, 34200000, 34201000), "ms"),
    ],
)
def test_times_of_day_are_joined_with_the_dates_of_another_column(
    tmp_path: Path, dates: tuple[str, str], times: tuple[Any, ...], unit: TimeUnit | None
) -> None:
    path = tmp_path / "ticks.csv"
    first, second = dates
    rows = [
        (first, times[0], 3),
        (second, times[1], 1),
        (second, times[2], 2),
        ("", times[0], 4),
        ("2024-13-01", times[0], 5),
    ]
    path.write_text(
        "Date,Time,price,size\n" + "".join(f"{date},{time},{price},1\n" for date, time, price in rows)
    )
    how = ReadOptions({"date": "Date"}, unit, "America/New_York")
    with open_row_source(path, TRADES, "v", "S", how, sort_folder=tmp_path) as source:
        chunks = list(source.chunks())
        batch = Batch.concat([batch for chunk in chunks for batch in chunk.batches])
    # Without ids they come in order of time.
    assert batch.array("price").tolist() == [1, 2, 3]
    assert sorted(map(parse_ns, _DAYS)) == batch.array("ts_event").tolist()
    rejected = [one for chunk in chunks for one in chunk.rejected]
    assert [one.where for one in rejected] == ["ticks.csv line 5", "ticks.csv line 6"]
    assert "ts_event: expected a time" in rejected[0].reason


def test_dates_of_a_typed_column_are_joined_with_its_times(tmp_path: Path) -> None:
    path = tmp_path / "ticks.parquet"
    day = date(2024, 1, 2)
    pl.DataFrame(
        {"day": [day, None], "time": [time(14, 30), time(14, 31)], "price": 1.0, "size": 1.0}
    ).write_parquet(path)
    with open_tick_file(path, TRADES, "v", "S", ReadOptions({"date": "day"}, timezone="UTC")) as source:
        (chunk,) = source.chunks()
    assert chunk.batches[0].array("ts_event").tolist() == [parse_ns(_DAYS[1])]
    assert [one.where for one in chunk.rejected] == ["ticks.parquet row 2"]
    with pytest.raises(UsageError, match="--map date=DAY: column 'DAY' is not there"):
        open_tick_file(path, TRADES, "v", "S", ReadOptions({"date": "DAY"}))
