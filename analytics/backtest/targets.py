"""`Targets`: a strategy as a polars expression that gives the position wanted after each bar."""

from __future__ import annotations

import polars as pl

from analytics.backtest.desk import Desk
from analytics.backtest.strategy import Bar, Strategy
from tapehouse.errors import UsageError


class Targets(Strategy):
    """A strategy that wants the position which an expression gives for each bar of a symbol, in units of it.

    The expression is computed for each symbol over its bars so far in order of time, with the columns of bars. Null
    leaves the position as it is. It may look back but not ahead: `--causality` refuses one that does.

    >>> trend = Targets(
    ...     (pl.col("close").rolling_mean(5) > pl.col("close").rolling_mean(20)).cast(pl.Float64)
    ... )
    """

    def __init__(self, expression: pl.Expr) -> None:
        self.expression = expression
        self._wanted: dict[tuple[str, str, int], float] = {}

    def prepare(self, bars: pl.DataFrame) -> None:
        """Compute the targets of all bars of a run. Raises UsageError where the expression cannot be computed."""
        try:
            made = bars.sort("ts", "venue", "symbol").with_columns(
                self.expression.over("venue", "symbol", order_by="ts").cast(pl.Float64).alias("target")
            )
        except pl.exceptions.PolarsError as reason:
            raise UsageError(
                f"Targets: the expression cannot be computed: {str(reason).splitlines()[0]}",
                remedy=f"Columns are {' '.join(bars.columns)}.",
            ) from None
        rows = made.select("venue", "symbol", pl.col("ts").to_physical(), "target").drop_nulls("target")
        self._wanted = {(venue, symbol, ts): wanted for venue, symbol, ts, wanted in rows.iter_rows()}

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        """Move the position to the bar's target."""
        wanted = self._wanted.get((bar.venue, bar.symbol, bar.ts))
        if wanted is not None:
            desk.target(bar.symbol, wanted, venue=bar.venue)
