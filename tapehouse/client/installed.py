"""What the client offers and another package does, found by its entry point: the client imports none."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tapehouse.client.parameters import Names, as_names
from tapehouse.errors import UsageError
from tapehouse.query_times import Time

if TYPE_CHECKING:
    from tapehouse.client.database import Database


def backtest(
    self: Database,
    strategy: Any,
    symbols: Names,
    interval: str,
    start: Time,
    end: Time,
    *,
    venue: str | None = None,
    **options: Any,
) -> Any:
    """Run a strategy of `analytics.backtest`; the report has frames `fills`, `equity`, `days` and `symbols`.

    venue: one, or several with commas. options: those of `analytics.backtest.session.backtest`. Raises UsageError
    where backtests are not installed, and what the run raises.

    >>> db.backtest(Cross, "BTCUSDT", "1m", "-2d", "today", taker="0.001").days
    """
    run = part_of_client("backtest")
    return run(
        self, strategy, as_names(symbols), interval, start, end, venue=venue or self.default_venue, **options
    )


def part_of_client(name: str) -> Any:
    """The function that the entry point `name` of the group tapehouse.client names.

    Raises UsageError where no installed package has it.
    """
    for found in entry_points(group="tapehouse.client", name=name):
        return found.load()
    raise UsageError(
        f"{name}: no installed package offers it",
        remedy="It comes with Tapehouse; an installation that is older has to be made again, as by `make setup`.",
    )
