"""What a run amounts to: frames of fills, equity, days and symbols, and its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from analytics.backtest import statistics
from analytics.backtest.engine import Outcome, Setup
from analytics.backtest.instrument import MONEY, money
from analytics.backtest.orders import Fill

_NS = pl.Datetime("ns", "UTC")


@dataclass(frozen=True)
class Report:
    """The result of a run. Frames have times as Datetime[ns, UTC] and money as Float64; `document` has it exactly."""

    outcome: Outcome
    setup: Setup
    document: dict[str, Any]
    """Everything that makes the run again, and its result, for JSON: the same run gives the same bytes."""

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole run by name."""
        return dict(self.document["figures"])

    @cached_property
    def fills(self) -> pl.DataFrame:
        """A row a fill, in the order in which they were booked."""
        return fills_frame(self.outcome, self.setup)

    @cached_property
    def equity(self) -> pl.DataFrame:
        """A row a moment at which bars ended: ts, equity, gross (value of all positions), drawdown (fraction)."""
        return equity_frame(self.outcome, self.setup)

    @cached_property
    def days(self) -> pl.DataFrame:
        """A row a UTC day: equity at its end, profit, return, fills, traded value, fees, slippage."""
        return days_frame(self.fills, self.equity, float(self.setup.capital))

    @cached_property
    def symbols(self) -> pl.DataFrame:
        """A row a venue and symbol: fills, traded value, realised profit before fees, hits, fees, slippage."""
        return symbols_frame(self.fills)

    def __repr__(self) -> str:
        rows = [f"{name:<22}{'-' if value is None else value}" for name, value in self.figures.items()]
        return "\n".join([*rows, *self.document["notes"]])


def exact(amount: int) -> str:
    """Money's units as a decimal number of the currency, all its digits."""
    whole, part = divmod(abs(amount), MONEY)
    digits = f"{part:018d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def figures(outcome: Outcome, setup: Setup) -> dict[str, Any]:
    """The figures of a run. Money is text with all digits, ratios are floats, None where they are undefined."""
    capital = money(setup.capital)
    final = outcome.curve[-1].equity if outcome.curve else capital
    fills = fills_frame(outcome, setup)
    equity = equity_frame(outcome, setup)
    days = days_frame(fills, equity, float(setup.capital))
    returns = days["return"].to_numpy()
    traded = sum(_notional(fill, setup) for fill in outcome.fills)
    closing = [fill for fill in outcome.fills if fill.reduces]
    worst = float(equity["drawdown"].to_numpy().max(initial=0))
    total = (final - capital) / capital
    mean_equity = float(equity["equity"].to_numpy().mean()) if equity.height else 0.0
    ratios = {
        "return": total,
        "max_drawdown": worst,
        "sharpe": statistics.sharpe(returns),
        "sortino": statistics.sortino(returns),
        "calmar": statistics.calmar(total, days.height, worst),
        "turnover": traded / MONEY / mean_equity if mean_equity > 0 else None,
        "hit_rate": sum(fill.realised > 0 for fill in closing) / len(closing) if closing else None,
        "exposure": float(equity["gross"].to_numpy().mean()) / mean_equity if mean_equity > 0 else None,
    }
    return {
        "final_equity": exact(final),
        "profit": exact(final - capital),
        **ratios,
        "traded": exact(traded),
        "fees": exact(sum(fill.fee for fill in outcome.fills)),
        "slippage": exact(sum(fill.slipped for fill in outcome.fills)),
        "fills": len(outcome.fills),
        "orders": len(outcome.orders),
        "refused": sum(order.status == "refused" for order in outcome.orders),
        "events": outcome.events,
        "days": days.height,
    }


def notes(outcome: Outcome, setup: Setup, clock: str, reads_ticks: bool) -> list[str]:
    """What a reader of the figures must know."""
    found = []
    if setup.conditions.rule == "same_close":
        found.append("Optimistic: market orders filled at the close of the bar that they were made from.")
    if reads_ticks and clock == "event":
        found.append(
            "Optimistic: trades and quotes were known at the venue's time, before they were received."
        )
    refused = Counter(order.reason.partition(":")[0] for order in outcome.orders if order.status == "refused")
    found += [f"Refused: {count} orders, {reason}" for reason, count in sorted(refused.items())]
    if left := sum(order.is_open for order in outcome.orders):
        found.append(f"Open at the end: {left} orders.")
    if outcome.fault is not None:
        found.append("The strategy ended the run; the figures are those up to there.")
    return found


def fills_frame(outcome: Outcome, setup: Setup) -> pl.DataFrame:
    """As `Report.fills`."""
    grid = setup.grid
    rows = [
        (fill.ts, fill.order, fill.series.venue, fill.series.symbol, fill.side, grid.price(fill.ticks),
         grid.size(fill.lots), "maker" if fill.maker else "taker", fill.fee / MONEY, fill.slipped / MONEY,
         fill.realised / MONEY, fill.reduces)
        for fill in outcome.fills
    ]  # fmt: skip
    schema = {
        "ts": pl.Int64, "order": pl.Int64, "venue": pl.String, "symbol": pl.String, "side": pl.Int8,
        "price": pl.Float64, "size": pl.Float64, "liquidity": pl.String, "fee": pl.Float64,
        "slippage": pl.Float64, "realised": pl.Float64, "reduces": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(rows, schema, orient="row").with_columns(pl.col("ts").cast(_NS))


def equity_frame(outcome: Outcome, setup: Setup) -> pl.DataFrame:
    """As `Report.equity`."""
    values = np.array([point.equity / MONEY for point in outcome.curve], np.float64)
    below = statistics.drawdown(np.concatenate([[float(setup.capital)], values]))[1:]
    return pl.DataFrame(
        {
            "ts": pl.Series([point.ts for point in outcome.curve], dtype=pl.Int64).cast(_NS),
            "equity": values,
            "gross": np.array([point.gross / MONEY for point in outcome.curve], np.float64),
            "drawdown": below,
        }
    )


def days_frame(fills: pl.DataFrame, equity: pl.DataFrame, capital: float) -> pl.DataFrame:
    """As `Report.days`."""
    # The bar that ends at midnight is of the day before.
    day_of_bar = (pl.col("ts") - pl.duration(nanoseconds=1)).dt.date().alias("day")
    last = equity.group_by(day_of_bar, maintain_order=True).agg(pl.col("equity").last())
    before = pl.col("equity").shift(1, fill_value=capital)
    # In order: sums of floats are the same each time.
    made = fills.group_by(pl.col("ts").dt.date().alias("day"), maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("fills"), _traded(), pl.col("fee").sum(), pl.col("slippage").sum()
    )
    return (
        last.join(made, on="day", how="full", coalesce=True)
        .sort("day")
        .with_columns(
            pl.col("equity").forward_fill().fill_null(capital),
            pl.col("fills", "traded", "fee", "slippage").fill_null(0),
        )
        .with_columns(
            (pl.col("equity") - before).alias("profit"), (pl.col("equity") / before - 1).alias("return")
        )
        .select("day", "equity", "profit", "return", "fills", "traded", "fee", "slippage")
    )


def symbols_frame(fills: pl.DataFrame) -> pl.DataFrame:
    """As `Report.symbols`."""
    closing = pl.col("realised").filter(pl.col("reduces"))
    return (
        fills.group_by("venue", "symbol", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("fills"),
            _traded(),
            pl.col("realised").sum(),
            (closing > 0).mean().alias("hit_rate"),
            pl.col("fee").sum(),
            pl.col("slippage").sum(),
        )
        .sort("venue", "symbol")
    )


def _traded() -> pl.Expr:
    return (pl.col("price").abs() * pl.col("size")).sum().alias("traded")


def _notional(fill: Fill, setup: Setup) -> int:
    return abs(fill.ticks) * fill.lots * setup.grid.unit


def listed(outcome: Outcome, setup: Setup) -> list[dict[str, Any]]:
    """The fills for JSON, numbers as texts with all digits."""
    grid = setup.grid
    return [
        {
            "ts": fill.ts, "order": fill.order, **fill.series._asdict(), "side": fill.side,
            "price": plain(fill.ticks * grid.tick), "size": plain(fill.lots * grid.lot),
            "maker": fill.maker, "fee": exact(fill.fee), "slippage": exact(fill.slipped),
        }
        for fill in outcome.fills
    ]  # fmt: skip


def plain(number: Decimal) -> str:
    """A number without an exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
