"""Strategies that say which position they want after each bar: as a polars expression, or as a function for numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.backtest.desk import Desk
from analytics.backtest.strategy import Bar, Strategy
from tapehouse.bars.state import BAR
from tapehouse.clock import Interval
from tapehouse.errors import UsageError
from tapehouse.features import candle

_FEATURES = {feature.name for feature in candle.FEATURES}


class Planned(Strategy):
    """A strategy whose targets are computed from the bars of a run before it; base of `Targets` and `Compiled`."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, str, int], float] = {}

    @property
    def code(self) -> Any:
        """What it computes: an expression or a function."""
        raise NotImplementedError

    def targets(self, bars: pl.DataFrame, interval: Interval) -> pl.Series:
        """The targets after the bars of one symbol, in order of time; null leaves the position."""
        raise NotImplementedError

    def prepare(self, bars: pl.DataFrame, interval: Interval) -> None:
        """Compute the targets of all bars. Raises UsageError where that cannot be done."""
        self._wanted = {}
        for rows in bars.sort("ts").partition_by("venue", "symbol", maintain_order=True):
            venue, symbol = rows.row(0, named=True)["venue"], rows.row(0, named=True)["symbol"]
            starts = rows["ts"].to_physical()
            for ts, wanted in zip(starts, self.targets(rows, interval), strict=True):
                if wanted is not None:
                    self._wanted[venue, symbol, ts] = wanted

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        """Move the position to the bar's target."""
        wanted = self._wanted.get((bar.venue, bar.symbol, bar.ts))
        if wanted is not None:
            desk.target(bar.symbol, wanted, venue=bar.venue)


class Targets(Planned):
    """A strategy that wants the position which an expression gives for each bar of a symbol, in units of it.

    The expression is computed for each symbol over its bars in order of time. It has the columns of bars, and those
    of `tapehouse.features.candle` that it names, which start with the run: null until there are enough bars. Null
    leaves the position as it is. It may look back but not ahead: `--causality` refuses one that does.

    >>> close = pl.col("close")
    >>> trend = Targets((close.rolling_mean(5) > close.rolling_mean(20)).cast(pl.Float64))
    """

    def __init__(self, expression: pl.Expr) -> None:
        super().__init__()
        self._expression = expression

    @property
    def code(self) -> pl.Expr:
        """The expression."""
        return self._expression

    def targets(self, bars: pl.DataFrame, interval: Interval) -> pl.Series:
        """As `Planned.targets`. Raises UsageError, with the columns, where the expression cannot be computed."""
        needed = {*self._expression.meta.root_names()} - {*bars.columns}
        if needed & _FEATURES:
            features = candle.features_frame(_rows(bars), interval)
            bars = bars.hstack(features.select(sorted(needed & _FEATURES)))
        try:
            return bars.with_columns(self._expression.cast(pl.Float64).alias("target"))["target"]
        except pl.exceptions.PolarsError as reason:
            raise UsageError(
                f"Targets: the expression cannot be computed: {str(reason).splitlines()[0]}",
                remedy=f"Columns are {' '.join(bars.columns)}.",
            ) from None


class Compiled(Planned):
    """A strategy as a function that numba compiles: the position wanted after a bar, from this bar and a state.

    `function(bar, state)` is called with each bar of a symbol in order of time, a record of `tapehouse.bars.state.BAR`,
    and with `state`, float64 [size], zeros before the first: it cannot see a bar that comes later. NaN leaves the
    position as it is.

    >>> def reverts(bar, state):
    ...     state[0] += (bar.close - state[0]) / 20 if state[0] else bar.close
    ...     return 1.0 if bar.close < state[0] else 0.0
    >>> strategy = Compiled(reverts, size=1)
    """

    def __init__(self, function: Callable[[Any, Any], float], size: int = 16) -> None:
        super().__init__()
        self._function = function
        self._size = size

    @property
    def code(self) -> Callable[[Any, Any], float]:
        """The function."""
        return self._function

    def targets(self, bars: pl.DataFrame, interval: Interval) -> pl.Series:
        """As `Planned.targets`. Raises UsageError where numba cannot compile the function."""
        rows = _rows(bars)
        function = self._function if hasattr(self._function, "py_func") else numba.njit(self._function)
        try:
            made = _each(function, rows, np.zeros(self._size))
        except (numba.core.errors.NumbaError, KeyError) as reason:  # KeyError: a bar has no such field
            raise UsageError(
                f"Compiled: numba cannot compile the function: {str(reason).strip()}",
                remedy="It takes a bar and a state and returns a float.",
            ) from None
        return pl.Series("target", made).fill_nan(None)


def _rows(bars: pl.DataFrame) -> NDArray[Any]:
    """BAR [n], with zeros for what the frame lacks."""
    rows = np.zeros(bars.height, BAR)
    for name in BAR.names or ():
        if name in bars.columns:
            rows[name] = bars[name].to_physical().to_numpy()
    return rows


@numba.njit(error_model="numpy")
def _each(function: Any, bars: NDArray[Any], state: NDArray[np.float64]) -> NDArray[np.float64]:
    """The targets after each bar."""
    made = np.empty(len(bars), np.float64)
    for row in range(len(bars)):
        made[row] = function(bars[row], state)
    return made
