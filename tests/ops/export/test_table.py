"""Tables that fit a terminal."""

from __future__ import annotations

import polars as pl
import pytest

from ops.export.table import fitting, print_frame
from tapehouse.model import BARS, QUOTES, TRADES, Kind
from tapehouse.tabular import TIME


def _frame(kind: Kind) -> pl.DataFrame:
    types = {"time": TIME, "double": pl.Float64, "symbol": pl.String, "flag": pl.Boolean}
    values = {"time": 10**18, "double": 60_123.25, "symbol": "BTCUSDT", "flag": True}
    return pl.DataFrame(
        [
            pl.Series(column.name, [values.get(column.type, 1)] * 50).cast(types.get(column.type, pl.Int64))
            for column in kind.answer_columns
        ]
    )


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        (TRADES, {"price", "size"}),
        (QUOTES, {"bid", "ask"}),
        (BARS, {"open", "high", "low", "close", "final"}),
    ],
)
def test_at_80_columns_the_prices_are_shown_and_nothing_wraps(
    kind: Kind, needed: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_frame(_frame(kind))
    *lines, without = capsys.readouterr().out.splitlines()
    # A row that wraps would take two lines.
    assert len([line for line in lines if "2001-09-09" in line]) == 40
    assert max(map(len, lines)) <= 80
    assert {word for word in lines[1].split() if word.isalpha()} >= needed
    assert without.startswith("without room: ")


def test_a_narrow_terminal_has_two_columns_and_a_wide_one_all() -> None:
    frame = _frame(TRADES)
    assert fitting(frame, 10) == ["ts_event", "price"]
    both = pl.concat([frame, frame.with_columns(symbol=pl.lit("B"))])
    assert fitting(both, 10) == ["ts_event", "symbol"]
    assert sorted(fitting(frame, 1000)) == sorted(frame.columns)
