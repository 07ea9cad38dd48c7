"""The descriptions of the server and of symbols: /udf/config, symbols, symbol_info, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.query import MAX_SYMBOLS
from gateway.rest.udf.names import Series, SeriesNames
from gateway.rest.udf.precision import Decimals, Precision
from gateway.rest.udf.resolutions import MINUTES, RESOLUTIONS, SECONDS
from tapehouse.errors import UsageError

# What is traded the venue's data do not tell; the library has this word for it.
TYPE = "undefined"
# Bars of all intervals are cut in UTC and on every day of the week, whatever hours a venue is open: a session of hours
# would make the library move the times of daily bars, and hide bars outside of them.
SESSION = "24x7"
TIMEZONE = "Etc/UTC"


def config(venues: Sequence[str]) -> dict[str, Any]:
    """What the server can do; each venue is an exchange."""
    everywhere = {"value": "", "name": "All venues", "desc": ""}
    return {
        "supports_search": True,
        "supports_group_request": False,
        "supports_marks": True,
        "supports_timescale_marks": True,
        "supports_time": True,
        "supported_resolutions": list(RESOLUTIONS),
        "exchanges": [everywhere, *({"value": name, "name": name, "desc": name} for name in venues)],
        "symbols_types": [{"name": "All types", "value": ""}],
    }


def symbol(series: Series, precision: Precision) -> dict[str, Any]:
    """All that the library must know of a symbol."""
    found = precision.of([series])[0]
    return {
        "name": series.symbol,
        "full_name": series.full_name,
        "ticker": series.full_name,
        "description": series.full_name,
        "type": TYPE,
        "session": SESSION,
        "timezone": TIMEZONE,
        "exchange": series.venue,
        "listed_exchange": series.venue,
        "minmov": 1,
        "pricescale": 10**found.price,
        "format": "price",
        "has_seconds": True,
        "seconds_multipliers": list(SECONDS),
        "has_intraday": True,
        "intraday_multipliers": list(MINUTES),
        "has_daily": True,
        "daily_multipliers": ["1"],
        "has_weekly_and_monthly": True,
        "weekly_multipliers": ["1"],
        "monthly_multipliers": ["1"],
        "has_empty_bars": False,
        "supported_resolutions": list(RESOLUTIONS),
        "visible_plots_set": "ohlcv",
        "volume_precision": found.size,
        "data_status": "streaming",
    }


def symbol_info(venue: str, names: SeriesNames, precision: Precision) -> dict[str, Any]:
    """The symbols of a venue as columns; what all have in common is written once. Raises UsageError for too many."""
    series = names.of_venue(venue)
    if len(series) > MAX_SYMBOLS:
        raise UsageError(
            f"group: expected at most {MAX_SYMBOLS} symbols, was {venue} with {len(series):,}: search"
        )
    found: Sequence[Decimals] = precision.of(series)
    return {
        "symbol": [one.symbol for one in series],
        "ticker": [one.full_name for one in series],
        "description": [one.full_name for one in series],
        "exchange-listed": venue,
        "exchange-traded": venue,
        "type": TYPE,
        "session-regular": SESSION,
        "timezone": TIMEZONE,
        "minmovement": 1,
        "pricescale": [10**one.price for one in found],
        "volume-precision": [one.size for one in found],
        "has-intraday": True,
        "has-daily": True,
        "has-weekly-and-monthly": True,
        "visible-plots-set": "ohlcv",
        # One list for each symbol: the client takes the list at the symbol's place.
        "intraday-multipliers": [list(MINUTES)] * len(series),
        "supported-resolutions": [list(RESOLUTIONS)] * len(series),
    }


def found(series: Sequence[Series]) -> list[dict[str, Any]]:
    """The results of a search."""
    return [
        {
            "symbol": one.symbol,
            "full_name": one.full_name,
            "ticker": one.full_name,
            "description": one.full_name,
            "exchange": one.venue,
            "type": TYPE,
        }
        for one in series
    ]
