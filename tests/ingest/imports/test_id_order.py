"""Files whose ids do not rise with their times are refused before a row of them is stored, wherever it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.files import lines
from ingest.files.options import NumberBy, ReadOptions
from ingest.imports import id_order
from ingest.imports.row_sources import open_row_source
from tapehouse.errors import UsageError
from tapehouse.model import TRADES

_START = 1_704_067_200
_ROWS = 400


def read(path: Path, id_of: Callable[[int], int], number_by: NumberBy | None = None) -> int:
    """How many rows come from a file of two symbols in turn, of such ids by row."""
    path.write_text(
        "ts,symbol,price,size,id\n"
        + "".join(f"{_START + row // 2},{'AB'[row % 2]},1,1,{id_of(row)}\n" for row in range(_ROWS))
    )
    found = 0
    with (
        pytest.MonkeyPatch.context() as small,
        open_row_source(path, TRADES, "v", options=ReadOptions(number_by=number_by)) as source,
    ):
        small.setattr(lines, "BLOCK_LINES", 50)
        small.setattr(id_order, "WINDOW_STEPS", 100)
        chunks = source.chunks()
        try:
            for chunk in chunks:
                found += sum(batch.rows for batch in chunk.batches)
        except UsageError as reason:
            assert not found
            raise reason from None
    return found


@pytest.mark.parametrize("first", [0, 190, 330, 390])
def test_ids_that_fall_in_any_part_refuse_the_file_before_its_first_row(tmp_path: Path, first: int) -> None:
    def id_of(row: int) -> int:
        return row if not first <= row < first + 8 else _ROWS - row

    with pytest.raises(UsageError, match="expected ids that rise with the times, but up to") as caught:
        read(tmp_path / "f.csv", id_of)
    assert "--number-by time" in caught.value.remedy
    assert read(tmp_path / "f.csv", id_of, "id") == read(tmp_path / "f.csv", id_of, "time") == _ROWS


def test_ids_that_rise_in_each_symbol_or_fall_once_are_taken(tmp_path: Path) -> None:
    assert read(tmp_path / "f.csv", lambda row: row + 1_000_000 * (row % 2)) == _ROWS
    assert read(tmp_path / "f.csv", lambda row: row - 9 * (row == 200)) == _ROWS
    assert read(tmp_path / "f.csv", lambda row: row + 9 * (row == 49)) == _ROWS
