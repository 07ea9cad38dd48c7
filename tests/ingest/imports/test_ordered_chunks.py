"""Files without ids come in order of time, whatever their order."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import lines
from ingest.files.options import ReadOptions
from ingest.imports import ordered_chunks, time_order
from ingest.imports.row_sources import open_row_source
from tapehouse.batch import Batch
from tapehouse.errors import SourceError
from tapehouse.model import TRADES

_START = 1_704_067_200


def written(path: Path, seconds: list[int]) -> Path:
    """A file of trades whose price is the row's place."""
    rows = "".join(f"{_START + second},{place},1\n" for place, second in enumerate(seconds))
    path.write_text("ts,price,size\n" + rows)
    return path


def read(path: Path) -> tuple[list[float], tuple[str, ...]]:
    """(places of the rows in the order in which they come, what is said of it)."""
    with open_row_source(
        path, TRADES, "v", "S", ReadOptions(time_unit="s"), sort_folder=path.parent
    ) as source:
        batches = [batch for chunk in source.chunks() for batch in chunk.batches]
        return Batch.concat(batches).array("price").tolist(), source.reading_notes


def test_a_file_in_order_is_read_as_it_is(tmp_path: Path) -> None:
    assert read(written(tmp_path / "f.csv", [1, 2, 2, 3])) == ([0, 1, 2, 3], ())


def test_a_file_with_the_newest_row_first_is_reversed_and_that_is_said(tmp_path: Path) -> None:
    places, (note,) = read(written(tmp_path / "f.csv", [3, 2, 2, 1]))
    assert places == [3, 2, 1, 0]
    assert "the newest row comes first" in note


def test_a_file_out_of_order_is_sorted_and_that_is_said_with_how_many(tmp_path: Path) -> None:
    places, (note,) = read(written(tmp_path / "f.csv", [1, 3, 2, 3, 1]))
    assert places == [0, 4, 2, 1, 3]
    assert "2 rows come after later ones" in note
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.lists(st.integers(0, 5), min_size=1, max_size=40), data=st.data())
def test_a_sorted_file_goes_on_from_any_of_its_positions(
    seconds: list[int], data: st.DataObject, tmp_path: Path
) -> None:
    path = written(tmp_path / "f.csv", seconds)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(lines, "BLOCK_BYTES", 64)
        small.setattr(time_order, "_RUN_ROWS", 7)
        small.setattr(ordered_chunks, "_CHUNK_ROWS", 3)
        with open_row_source(path, TRADES, "v", "S", ReadOptions(time_unit="s")) as source:
            chunks = [chunk for chunk in source.chunks() if chunk.position is not None]
            rows = [
                row for chunk in chunks for batch in chunk.batches for row in batch.array("price").tolist()
            ]
            taken = data.draw(st.integers(1, len(chunks)))
            before = sum(batch.rows for chunk in chunks[:taken] for batch in chunk.batches)
            rest = source.chunks(chunks[taken - 1].position)
            assert [
                row for chunk in rest for batch in chunk.batches for row in batch.array("price").tolist()
            ] == rows[before:]


def test_rejected_rows_of_a_file_that_is_sorted_come_once(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"ts,price,size\n{_START + 2},1,1\n{_START + 1},nothing,1\n{_START},3,1\n")
    with open_row_source(path, TRADES, "v", "S", ReadOptions(time_unit="s")) as source:
        chunks = list(source.chunks())
        assert [rejected.where for chunk in chunks for rejected in chunk.rejected] == ["f.csv line 3"]
        resumed = list(source.chunks(chunks[-1].position))
        assert not any(chunk.rejected or chunk.batches for chunk in resumed)


def test_a_damaged_file_gives_the_rows_before_the_damage_sorted(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    rows = 60_000
    frame = pl.DataFrame({"ts": [_START + rows - row for row in range(rows)], "price": 1.0, "size": 1.0})
    path = path.with_suffix(".csv.gz")
    whole = gzip.compress(frame.write_csv().encode())
    path.write_bytes(whole[: len(whole) // 2])
    found: list[int] = []

    def read_all() -> None:
        for chunk in source.chunks():
            found.extend(ts for batch in chunk.batches for ts in batch.array("ts_event").tolist())

    with (
        open_row_source(path, TRADES, "v", "S", ReadOptions(time_unit="s")) as source,
        pytest.raises(SourceError),
    ):
        read_all()
    assert found
    assert found == sorted(found)
