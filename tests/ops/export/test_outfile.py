"""Rows to files as they come: whole or not there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ops.export.outfile import SUFFIXES, write_file, write_out
from tapehouse.errors import ConnectError, TapehouseError

_FRAME = pl.DataFrame(
    {
        "ts_event": [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 1, 5, tzinfo=UTC)],
        "symbol": ['A,"B', None],
        "price": [0.1, -2.5],
        "amount": [Decimal("1.000000000000000001"), Decimal(0)],
        "levels": [[1.5, 2.0], []],
    },
    schema_overrides={"ts_event": pl.Datetime("ns", "UTC"), "amount": pl.Decimal(38, 18)},
)
_CSV = (
    "ts_event,symbol,price,amount,levels\n"
    '2024-01-01T00:00:00.000000000Z,"A,""B",0.1,1.000000000000000001,"[1.5,2.0]"\n'
    "2024-01-01T00:00:01.000005000Z,,-2.5,0.000000000000000000,[]\n"
)


class _Rows:
    """An answer of some frames, that breaks off behind them where told to."""

    def __init__(self, frames: list[pl.DataFrame], broken: Exception | None = None) -> None:
        self._frames = frames
        self._broken = broken
        self.empty = _FRAME.clear()
        self.segments: list[dict[str, Any]] = []

    def frames(self, piece: int = 0) -> Iterator[pl.DataFrame]:
        yield from self._frames
        if self._broken is not None:
            raise self._broken


def _read(file: Path) -> pl.DataFrame:
    if file.suffix == ".csv":
        with contextlib.closing(io.StringIO(file.read_text())) as text:
            return pl.read_csv(text, infer_schema=False)
    return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_ipc(file)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_become_one_file_in_their_order(tmp_path: Path, suffix: str) -> None:
    frames = [_FRAME.with_columns(price=pl.lit(float(number))) for number in range(300)]
    out = tmp_path / f"a{suffix}"
    assert write_file(_Rows(frames), out) == 600
    found = _read(out)
    assert found["price"].cast(pl.Float64).to_list() == [
        float(number) for number in range(300) for _ in range(2)
    ]
    if suffix != ".csv":
        assert found.equals(pl.concat(frames))
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_are_a_file_with_the_columns(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    assert write_file(_Rows([]), out) == 0
    assert _read(out).columns == _FRAME.columns


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_answer_that_breaks_off_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    for before in (None, "before"):
        if before:
            out.write_text(before)
        with pytest.raises(ConnectError, match="cut"):
            write_file(_Rows([_FRAME] * 100, ConnectError("cut", remedy="Ask again.")), out)
        assert [path.read_text() for path in tmp_path.iterdir()] == ([before] if before else [])


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TapehouseError, match="cannot be written"):
        write_file(_Rows([_FRAME]), tmp_path / "none" / "a.csv")


def test_csv_has_times_with_their_zone_exact_decimals_and_lists_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(_Rows([_FRAME]), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == _CSV
    write_out(_Rows([_FRAME[:1], _FRAME[1:]]))
    assert capsys.readouterr().out == _CSV
    write_out(_Rows([]))
    assert capsys.readouterr().out == _CSV.splitlines()[0] + "\n"


def test_no_text_is_a_formula_to_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["=1+2", "+A", "-A", "@A", "\tA", "A=1", "", None]
    frame = pl.concat([_FRAME.head(1).with_columns(symbol=pl.lit(text, pl.String)) for text in texts])
    expected = ["'=1+2", "'+A", "'-A", "'@A", "'\tA", "A=1", "", None]
    write_file(_Rows([frame]), tmp_path / "rows.csv", spreadsheet=True)
    write_out(_Rows([frame]), spreadsheet=True)
    for written in (tmp_path / "rows.csv").read_bytes(), capsys.readouterr().out.encode():
        assert pl.read_csv(written, schema_overrides={"symbol": pl.String})["symbol"].to_list() == expected
    write_file(_Rows([frame]), tmp_path / "rows.csv")
    assert pl.read_csv(tmp_path / "rows.csv")["symbol"].to_list() == texts
