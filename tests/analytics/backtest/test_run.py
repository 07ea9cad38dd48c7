"""A run is written down so that it can be made again, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from analytics.backtest import run
from analytics.backtest.loading import load
from analytics.backtest.report import Report
from analytics.backtest.request import Request
from analytics.backtest.source import FrameRows, Source
from tapehouse.clock import DAY
from tapehouse.errors import ProofError, SourceError, UsageError
from tests.analytics.backtest.rows import START, VENUE, bars, flat, quotes, trades

_STRATEGY = """
from analytics.backtest import Strategy

class Buys(Strategy):
    size = 1.0
    every = 2

    def on_bar(self, bar, desk):
        if len(desk.bars(bar.symbol, 100)) % self.every == 0:
            desk.buy(bar.symbol, self.size)
"""
_QUOTES = quotes([(at * 10 + 1, 99, 5, 100 + at % 3, 5) for at in range(60)])
_TRADES = trades([(at * 10 + 2, 100, 1, 1) for at in range(60)])
_BARS = bars(flat(*range(100, 110)))


def _source(_: Request | None = None, prices: pl.DataFrame = _BARS) -> Source:
    return FrameRows(bars=prices, trades=_TRADES, quotes=_QUOTES)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Report]:
    """The strategy's file, the JSON of its run and the report."""
    file, out = tmp_path / "buys.py", tmp_path / "run.json"
    file.write_text(_STRATEGY)
    request = Request(
        ("A",), (VENUE,), START, START + DAY, fills="latency", latency="1ms..20s", taker="0.00075",
        parameters={"size": "0.5"}, seed=3,
    )  # fmt: skip
    report = run.run(request, _source(), lambda: load(file), check_causality=True)
    out.write_text(run.text(report))
    return file, out, report


def test_again_gives_the_same_bytes(made: tuple[Path, Path, Report]) -> None:
    _, out, report = made
    assert run.text(run.again(out, _source)) == out.read_text()
    document = json.loads(out.read_text())
    assert document["figures"]["fills"] == report.fills.height == 4
    assert document["strategy"]["parameters"] == {"size": 0.5, "every": 2}
    assert [(row["kind"], row["rows"]) for row in document["data"]] == [
        ("bars", 10),
        ("trades", 60),
        ("quotes", 60),
    ]


def test_another_seed_is_another_run(made: tuple[Path, Path, Report]) -> None:
    file, out, _ = made
    document = json.loads(out.read_text())
    other = Request.from_document({**document["request"], "seed": 4})
    assert run.run(other, _source(), lambda: load(file)).document["fills"] != document["fills"]


def _change_code(file: Path, _: Path) -> None:
    file.write_text(_STRATEGY + "# changed\n")


def _change_result(_: Path, out: Path) -> None:
    out.write_text(out.read_text().replace('"orders": 5', '"orders": 6'))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change_code, "is not that of the run"),
        (_change_result, "the result is not that of the run: figures"),
    ],
)
def test_again_says_what_is_another(
    made: tuple[Path, Path, Report], change: Callable[[Path, Path], None], said: str
) -> None:
    file, out, _ = made
    change(file, out)
    with pytest.raises(ProofError, match=said):
        run.again(out, _source)


def test_again_says_which_day_has_other_rows(made: tuple[Path, Path, Report]) -> None:
    _, out, _ = made
    other = _BARS.with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 9).then(1.0).otherwise(pl.col("volume"))
    )
    with pytest.raises(ProofError, match="the data is not that of the run: bars of 2024-01-02"):
        run.again(out, lambda _: _source(None, other))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"strategy": {}, "request": 3}'])
def test_a_file_that_is_no_run_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises((SourceError, UsageError), match="expected"):
        run.again(file, _source)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"capital": "much"}, "capital: expected a number, was 'much'"),
        ({"capital": "-1"}, "capital: expected more than 0"),
        ({"interval": "7x"}, "interval: expected one of"),
        ({"latency": "5"}, "latency: expected such as 50ms"),
        ({"latency": "recorded"}, "latency: recorded is that of trades and quotes, which next_open"),
        ({"latency": "5ms..1ms"}, "latency: expected a range that rises"),
        ({"participation": "0"}, "participation: expected a fraction"),
        ({"slippage": "1"}, "slippage: expected a fraction"),
        ({"tick": "0"}, "tick: expected a number above 0"),
        ({"tick": "1e-12"}, "tick and lot: expected"),
        ({"limits": {"leverage": 1}}, "limits: expected size position"),
        ({"limits": {"rate": 0.5}}, "limits: rate: expected a whole number, 0 or more"),
        ({"max_age_s": -1}, "max_age_s: expected 0 s or more"),
        ({"limits": {"loss": -1}}, "limits: loss: expected 0 or more"),
        ({"parameters": {"slow": "1"}}, "no parameter 'slow'"),
        ({"parameters": {"every": "1.5"}}, "every: expected int, was '1.5'"),
        ({"clock": "wall"}, "clock: expected one of event recv"),
        ({"call_s": 0}, "call_s: expected more than 0"),
    ],
)
def test_a_request_out_of_bounds_names_the_value(
    tmp_path: Path, options: dict[str, object], said: str
) -> None:
    file = tmp_path / "buys.py"
    file.write_text(_STRATEGY)
    request = {"symbols": ["A"], "venues": [VENUE], "start": START, "end": START + DAY, **options}
    with pytest.raises(UsageError, match=said):
        run.run(Request.from_document(request), _source(), lambda: load(file))
