"""TradingView's resolutions and the intervals that they name."""

from __future__ import annotations

from tapehouse.clock import INTERVALS, Interval
from tapehouse.errors import UsageError

RESOLUTIONS = {
    "15S": "15s",
    "30S": "30s",
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "240": "4h",
    "1D": "1d",
    "1W": "1w",
    "1M": "1M",
}
"""The interval of each resolution, from the shortest to the longest."""
SECONDS = tuple(name[:-1] for name in RESOLUTIONS if name.endswith("S"))
MINUTES = tuple(name for name in RESOLUTIONS if name.isdigit())
_SHORT = {"D": "1D", "W": "1W", "M": "1M"}
"""Older versions of the library leave out the 1."""


def interval_of(resolution: str) -> Interval:
    """The interval of a resolution. Raises UsageError with the valid ones."""
    name = RESOLUTIONS.get(_SHORT.get(resolution, resolution))
    if name is None:
        raise UsageError(f"resolution: expected one of {' '.join(RESOLUTIONS)}, was {resolution[:80]!r}")
    return INTERVALS[name]
