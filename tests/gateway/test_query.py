"""The query object refuses what cannot be asked."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from gateway.query import SERVED, Query
from tapehouse.clock import INTERVALS, MAX_TS
from tapehouse.errors import UsageError
from tapehouse.model import KINDS

_GOOD: dict[str, Any] = {"kind": "trades", "venue": "V", "symbol": "S", "start_ns": 0, "end_ns": 1}


def test_every_served_kind_can_be_asked_for() -> None:
    for kind in SERVED:
        more: dict[str, str | None] = {"venue": "", "symbol": "7"} if kind == "account_trades" else {}
        more["interval"] = "1m" if kind == "bars" else None
        assert Query(**{**_GOOD, "kind": kind, **more}).kind == kind
    for interval in INTERVALS:
        Query(**{**_GOOD, "kind": "bars", "interval": interval, "fill": "flat"})
    Query(**{**_GOOD, "start_ns": MAX_TS - 1, "end_ns": MAX_TS})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "trade"}, "kind: expected one of trades quotes bars account_trades, was 'trade'$"),
        ({"kind": "gaps"}, "was 'gaps', which cannot be queried yet"),
        ({"venue": ""}, "venue: expected a name, was nothing"),
        ({"symbol": ""}, "symbol: expected a name, was nothing"),
        ({"kind": "account_trades"}, "venue: account trades have none, was 'V'"),
        (
            {"kind": "account_trades", "venue": ""},
            "account: expected its id, 0 to 9223372036854775806, was 'S'",
        ),
        ({"kind": "account_trades", "venue": "", "symbol": "-1"}, "account: expected its id"),
        ({"kind": "account_trades", "venue": "", "symbol": str(2**63 - 1)}, "account: expected its id"),
        ({"end_ns": 0}, "end: expected a time after 1970-01-01T00:00:00Z, was 1970-01-01T00:00:00Z"),
        ({"start_ns": 5, "end_ns": 4}, "end: expected a time after"),
        ({"start_ns": -1}, "start: expected 1970 to 2261"),
        ({"end_ns": MAX_TS + 1}, "end: expected 1970 to 2261"),
        ({"end_ns": 10**30}, "end: expected 1970 to 2261"),
        ({"start_ns": -(10**30)}, "start: expected 1970 to 2261"),
        ({"interval": "1m"}, "interval: trades have none, was '1m'"),
        ({"fill": "flat"}, "fill: only bars can be filled, was 'flat' for trades"),
        ({"fill": "zero"}, "fill: expected none or flat, was 'zero'"),
        ({"kind": "bars"}, "interval: bars need one, such as 1m"),
        ({"kind": "bars", "interval": "2m"}, "interval: expected one of 15s .* 1M, was '2m'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Query(**{**_GOOD, **change})


def test_a_query_cannot_be_changed() -> None:
    query = Query(**_GOOD)
    with pytest.raises(FrozenInstanceError):
        query.venue = "W"  # type: ignore[misc]
    assert query == Query(**_GOOD)
    assert set(SERVED) <= set(KINDS)
