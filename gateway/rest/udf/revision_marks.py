"""Bars that changed after they were final, as marks; known of live symbols as far back as a bar maker's ring."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from gateway.last_prices import LastPrices
from gateway.rest.udf.names import Series
from tapehouse.clock import SECOND, Interval
from tapehouse.errors import ConnectError, WireError


async def revisions(prices: LastPrices, series: Series, interval: Interval) -> dict[int, int]:
    """By the start of a bar, ns: how often it changed; empty where no bar maker has the symbol."""
    if series.symbol not in prices.live_symbols(series.venue):
        return {}
    with contextlib.suppress(ConnectError, WireError):
        bars = (await prices.snapshot(series.venue, series.symbol, [interval.name])).bars
        changed = bars[bars["revision"] > 0]
        return dict(zip(changed["ts"].tolist(), changed["revision"].tolist(), strict=True))
    return {}


def marks_of_revisions(revised: dict[int, int], starts: Collection[int]) -> list[dict[str, Any]]:
    """Marks on those of the bars that were revised."""
    return [
        {
            "id": f"revision-{start // SECOND}-{count}",
            "time": start // SECOND,
            "color": "blue",
            "text": f"changed {count:,} {'time' if count == 1 else 'times'} after it was final",
            "label": "R",
            "labelFontColor": "white",
            "minSize": 14,
        }
        for start, count in sorted(revised.items())
        if start in starts
    ]
