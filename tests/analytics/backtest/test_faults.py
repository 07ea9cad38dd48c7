"""Bad strategies: the run ends with the event and the line that caused it, and the report up to there."""

from __future__ import annotations

import contextlib
import inspect
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analytics.backtest.desk import Desk
from analytics.backtest.loading import load
from analytics.backtest.report import Report
from analytics.backtest.strategy import Bar, Strategy
from analytics.backtest.targets import Compiled, Targets
from tapehouse.clock import DAY, MINUTE
from tapehouse.errors import SourceError, UsageError
from tests.analytics.backtest.rows import START, bars, flat, ran

_BARS = {"bars": bars(flat(100, 101, 102, 103, 104))}


class _Buys(Strategy):
    """Buys at the first bar and fails at the fourth."""

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        at = (bar.ts - START) // MINUTE
        if at == 0:
            desk.buy("A", 1)
        if at == 3:
            self.fail(desk)

    def fail(self, desk: Desk) -> None:
        raise NotImplementedError


class _Raises(_Buys):
    def fail(self, desk: Desk) -> None:
        _ = 1 // 0


class _OrdersNan(_Buys):
    def fail(self, desk: Desk) -> None:
        desk.buy("A", math.nan)


class _NeverEnds(_Buys):
    def fail(self, desk: Desk) -> None:
        while True:
            with contextlib.suppress(Exception):
                desk.now += 0


class _AsksTomorrow(_Buys):
    def fail(self, desk: Desk) -> None:
        desk.bar("A", START + DAY)


class _TakesAnOddLot(_Buys):
    def fail(self, desk: Desk) -> None:
        desk.buy("A", 1e-9)


@pytest.mark.parametrize(
    ("strategy", "error", "line"),
    [
        (_Raises, "ZeroDivisionError", "_ = 1 // 0"),
        (_OrdersNan, "UsageError: size: expected a finite number, was nan", 'desk.buy("A", math.nan)'),
        (_NeverEnds, "EndlessError: the call took more than 0.2 s of CPU time", ""),
        (_AsksTomorrow, "UsageError: bar: the one of 2024-01-03T00:00:00Z is not known at 2024-01-02T00:04:00Z",
         'desk.bar("A", START + DAY)'),
        (_TakesAnOddLot, "UsageError: size: expected a multiple of the lot", 'desk.buy("A", 1e-9)'),
    ],
)  # fmt: skip
def test_a_bad_strategy_ends_the_run_with_its_line(strategy: type[Strategy], error: str, line: str) -> None:
    report = ran(strategy, frames=_BARS, call_s=0.2)
    fault = report.outcome.fault
    assert fault is not None
    assert fault.error.startswith(error)
    assert fault.event == "bar of A of V known at 2024-01-02T00:04:00Z"
    lines, first = inspect.getsourcelines(strategy)
    assert fault.file == __file__
    assert first <= fault.line < first + len(lines)
    assert line in fault.code
    _up_to_there(report)


def _up_to_there(report: Report, file: str = Path(__file__).name) -> None:
    assert report.fills["price"].to_list() == [101]
    assert report.equity.height == 3
    assert report.document["fault"]["file"] == file
    assert "ended the run" in report.document["notes"][-1]


def test_an_error_of_ours_is_no_fault_of_the_strategy() -> None:
    missing = bars(flat(100, 101)).drop("turnover")
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        ran(_Buys, frames={"bars": missing})


def test_a_bar_that_is_known_is_given() -> None:
    class Looks(Strategy):
        seen: tuple[float, ...] = ()

        def on_bar(self, bar: Bar, desk: Desk) -> None:
            before = desk.bar("A", bar.ts - MINUTE)
            self.seen += (before.close if before else -1.0, *desk.closes("A", 2))

    looks = Looks()
    ran(looks, frames={"bars": bars(flat(100, 101))})
    assert looks.seen == (-1, 100, 100, 100, 101)


def test_an_expression_that_cannot_be_computed_is_an_error_with_the_columns() -> None:
    with pytest.raises(UsageError, match="prices"):
        ran(Targets(pl.col("prices")), frames=_BARS)


def test_a_function_that_numba_cannot_compile_is_an_error() -> None:
    with pytest.raises(UsageError, match="numba cannot compile the function"):
        ran(Compiled(lambda bar, state: bar.nothing), frames=_BARS)


def _fails(bar: Any, state: Any) -> float:
    if bar.close == 103:
        raise ValueError("this close")
    return 1.0


def test_an_exception_in_a_compiled_function_has_its_line() -> None:
    fault = ran(Compiled(_fails), frames=_BARS).outcome.fault
    assert fault is not None
    assert fault.error == "ValueError: this close"
    assert fault.event == "the computation of targets"
    # The line is that of the function, or of the condition that led to it.
    lines, first = inspect.getsourcelines(_fails)
    assert first <= fault.line < first + len(lines)


def test_a_target_that_is_infinite_ends_the_run_with_its_bar() -> None:
    endless = pl.when(pl.col("close") == 103).then(float("inf")).otherwise(1.0)
    report = ran(Targets(endless), frames=_BARS)
    assert report.outcome.fault is not None
    assert report.outcome.fault.error == "UsageError: target: expected a finite number, was inf"
    _up_to_there(report, "targets.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "from analytics.backtest import Strategy\nclass A(Strategy):\n    x = 1 / 0\n",
            "line 3: ZeroDivisionError",
        ),
        ("class A(:\n", "invalid syntax"),
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_run_says_where(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(SourceError, match=said):
        load(file)


def test_a_file_has_one_strategy_or_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(
        "from analytics.backtest import Strategy, Targets\nimport polars as pl\n"
        "class A(Strategy): pass\nb = Targets(pl.lit(1.0))\n"
    )
    with pytest.raises(UsageError, match="A b"):
        load(file)
    assert load(file, "A").name == "A"
    assert isinstance(load(file, "b").strategy, Targets)
    file.write_text("")
    with pytest.raises(UsageError, match="Derive a class"):
        load(file)
