"""Files of real trades come through whole, and the same by every format."""

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ingest.feeds.files import Source, open_source
from tapehouse.batch import Batch
from tapehouse.model import TRADES

EQUITIES = {"exchange": "venue"}


def read(source: Source) -> Batch:
    """All rows, none of which may be rejected."""
    pieces = list(source.pieces())
    assert not [piece.rejected for piece in pieces if piece.rejected]
    assert all(batch.rows <= 50_000 for piece in pieces for batch in piece.batches)
    return Batch.concat([batch for piece in pieces for batch in piece.batches])


def assert_same(batch: Batch, frame: pl.DataFrame) -> None:
    assert batch.rows == frame.height
    assert np.array_equal(batch.array("ts_event"), frame["ts_event"].to_physical().to_numpy())
    assert np.array_equal(batch.array("ts_recv"), batch.array("ts_event"))
    for name in ("price", "size"):
        assert np.array_equal(batch.array(name), frame[name].to_numpy())
    assert batch.strings("symbol").to_list() == frame["symbol"].to_list()


@pytest.fixture(params=["parquet", "csv", "jsonl", "parquet.gz", "csv.gz"])
def written(request: pytest.FixtureRequest, market_data: Path, tmp_path: Path) -> tuple[Path, pl.DataFrame]:
    """Real gold trades as a file of each format; 28,829 of the rows are identical to another."""
    frame = pl.read_parquet(market_data / "comex_gold_2013" / "trades.parquet")
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
    with open_source(path, TRADES, "comex") as source:
        batch = read(source)
        assert_same(batch, frame)
        assert not source.has_seq
        assert "column venue ignored: venue is comex" in source.notes
        assert not batch.array("seq").any()


def test_real_trades_read_on_from_any_piece_as_if_never_left(written: tuple[Path, pl.DataFrame]) -> None:
    path, _ = written
    with open_source(path, TRADES, "comex") as source:
        pieces = list(source.pieces())
        assert len(pieces) > 2
        assert pieces[-1].fraction == 1
        for before, piece in enumerate(pieces, 1):
            position = json.loads(json.dumps(piece.position))
            rest = list(source.pieces(position))
            assert [one.position for one in rest] == [one.position for one in pieces[before:]]
            for again, first in zip(rest, pieces[before:], strict=True):
                assert np.array_equal(again.batches[0].array("price"), first.batches[0].array("price"))


def test_a_consolidated_tape_keeps_its_exchanges_and_conditions(market_data: Path) -> None:
    path = market_data / "us_equities_2013" / "bac_trades.parquet"
    frame = pl.read_parquet(path)
    with open_source(path, TRADES, "utp", mapping=EQUITIES) as source:
        batch = read(source)
        assert_same(batch, frame)
        assert batch.strings("exchange").to_list() == frame["venue"].to_list()
        assert batch.strings("conditions").to_list() == frame["conditions"].to_list()
        assert "columns ignored: suspicious" in source.notes


def test_trade_ids_become_seq_and_words_become_sides(market_data: Path) -> None:
    path = market_data / "binance_xrp_eth_2019" / "trades.parquet"
    frame = pl.read_parquet(path)
    with open_source(path, TRADES, "binance") as source:
        batch = read(source)
        assert_same(batch, frame)
        assert source.has_seq
        assert np.array_equal(batch.array("seq"), frame["trade_id"].to_numpy())
        assert np.array_equal(batch.array("side"), np.where(frame["side"].to_numpy() == "buy", 1, -1))
