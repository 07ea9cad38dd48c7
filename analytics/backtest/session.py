"""Backtests in a session: of a class or object that is defined there. `Database.backtest` comes here."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from typing import Any

import polars as pl

from analytics.backtest.loading import Loaded
from analytics.backtest.report import Report
from analytics.backtest.request import Request
from analytics.backtest.run import run, stored
from analytics.backtest.strategy import Strategy
from analytics.backtest.targets import Planned
from tapehouse.client.database import Database
from tapehouse.clock import now_ns
from tapehouse.errors import UsageError
from tapehouse.query_times import Time, query_ns


def backtest(
    db: Database,
    strategy: type[Strategy] | Planned,
    symbols: Sequence[str],
    interval: str,
    start: Time,
    end: Time,
    *,
    venue: str | None = None,
    causality: bool = False,
    parameters: dict[str, Any] | None = None,
    **options: Any,
) -> Report:
    """Run a strategy on the stored rows of [start, end).

    venue: one, or several with commas. causality: refuse a strategy that looks ahead. parameters: by name. options:
    capital, fills, latency, slippage, participation, max_age_s, maker, taker, tick, lot, clock, grace_s, limits, seed,
    call_s, as `Request` has them; numbers may be given for texts. Raises UsageError for what is none of these.
    """
    if not (isinstance(strategy, Planned) or (isinstance(strategy, type) and issubclass(strategy, Strategy))):
        raise UsageError(
            f"strategy: expected a class derived from Strategy or an object of Targets or Compiled, was {strategy!r}",
            remedy="from analytics.backtest import Compiled, Strategy, Targets",
        )
    if not venue:
        raise UsageError("venue: expected one", remedy='Give venue="sim", or connect with it.')
    now = now_ns()
    texts = {
        name: str(value) if isinstance(value, int | float) and _is_text(name) else value
        for name, value in options.items()
    }
    request = Request.from_document(
        {
            "symbols": tuple(symbols),
            "venues": tuple(venue.split(",")),
            "start": query_ns(start, "start", now),
            "end": query_ns(end, "end", now),
            "interval": interval,
            "parameters": {name: str(value) for name, value in (parameters or {}).items()},
            **texts,
        }
    )
    code = _code(strategy)

    def fresh() -> Loaded:
        one = strategy() if isinstance(strategy, type) else strategy
        return Loaded(one, type(one).__name__, "", code)

    return run(request, stored(db, request), fresh, check_causality=causality)


def _is_text(name: str) -> bool:
    return name in ("capital", "slippage", "participation", "maker", "taker", "tick", "lot")


def _code(strategy: type[Strategy] | Planned) -> str:
    """SHA-256 of the code; empty where a session does not keep it."""
    code = strategy.code if isinstance(strategy, Planned) else strategy
    if isinstance(code, pl.Expr):
        return hashlib.sha256(str(code).encode()).hexdigest()
    try:
        return hashlib.sha256(inspect.getsource(getattr(code, "py_func", code)).encode()).hexdigest()
    except (OSError, TypeError):
        return ""
