"""The query object refuses what cannot be asked, and reads what people write."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from gateway.query import MAX_LAST, MAX_SYMBOLS, QUERY_KINDS, Query
from tapehouse.clock import DAY, INTERVALS, MAX_TS, parse_ns
from tapehouse.errors import NaiveTimeError, UsageError
from tapehouse.model import ACCOUNT_TRADES, BARS, KINDS, OF_ACCOUNTS, TRADES

_GOOD: dict[str, Any] = {"kind": "trades", "venue": "V", "symbols": ("S",), "start_ns": 0, "end_ns": 1}
_ASKED: dict[str, Any] = {"venue": "V", "symbols": "S", "start": 0, "end": 1}


def test_every_served_kind_can_be_asked_for() -> None:
    for kind in QUERY_KINDS:
        more: dict[str, Any] = {"venue": "", "symbols": ("7", "8")} if kind in OF_ACCOUNTS else {}
        more["interval"] = "1m" if kind in ("bars", "account_candles") else None
        assert Query(**{**_GOOD, "kind": kind, **more}).kind == kind
    for interval in INTERVALS:
        Query(**{**_GOOD, "kind": "bars", "interval": interval, "fill": "flat"})
    Query(**{**_GOOD, "start_ns": MAX_TS - 1, "end_ns": MAX_TS})
    Query(**{**_GOOD, "kind": "gaps", "venue": "", "symbols": ()})
    Query(**{**_GOOD, "symbols": tuple(map(str, range(MAX_SYMBOLS)))})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"kind": "trade"},
            "kind: expected one of trades quotes depth bars account_trades account_candles gaps, was 'trade'$",
        ),
        (
            {"kind": "bars", "interval": "A", "symbols": ("1m",)},
            "interval: expected one of .*, was 'A'\nThe symbol comes before",
        ),
        ({"symbols": ("",)}, "symbol: expected a name, was nothing"),
        ({"symbols": ()}, "symbol: expected a name, was nothing"),
        ({"symbols": ("A", "")}, "symbol: expected a name, was nothing"),
        ({"symbols": ("A", "B", "A")}, "symbol: expected each once"),
        ({"symbols": tuple(map(str, range(MAX_SYMBOLS + 1)))}, "symbol: expected at most 500, was 501"),
        ({"symbols": ("A\0",)}, "symbol: expected at most 256 characters of text"),
        ({"symbols": ("\ud800",)}, "symbol: expected at most 256 characters of text"),
        ({"venue": "v" * 257}, "venue: expected at most 256 characters of text"),
        ({"kind": "account_trades"}, "venue: account trades have none, was 'V'"),
        ({"kind": "account_trades", "venue": "", "symbols": ()}, "account: expected an id, was nothing"),
        (
            {"kind": "account_trades", "venue": ""},
            "account: expected its id, 0 to 9223372036854775806, was 'S'",
        ),
        ({"kind": "account_trades", "venue": "", "symbols": ("-1",)}, "account: expected its id"),
        ({"kind": "account_trades", "venue": "", "symbols": ("1", "٣")}, "account: expected its id"),
        ({"kind": "account_trades", "venue": "", "symbols": (str(2**63 - 1),)}, "account: expected its id"),
        (
            {"kind": "account_candles", "interval": "1h"},
            "venue: account candles have none, was 'V'",
        ),
        (
            {"kind": "account_candles", "venue": "", "symbols": ("1",)},
            "interval: account_candles need one, such as 1m",
        ),
        (
            {"kind": "account_candles", "venue": "", "symbols": ("1",), "interval": "1h", "fill": "flat"},
            "fill: only bars can be filled, was 'flat' for account_candles",
        ),
        (
            {"kind": "account_candles", "venue": "", "symbols": ("1",), "interval": "1h", "open": False},
            "open: only bars can be open, was false for account_candles",
        ),
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
        (
            {"kind": "bars", "interval": "10s"},
            "interval: expected one of 15s .* 1M, or a whole .*, was '10s'",
        ),
        ({"columns": ("price", "bid")}, "columns: trades have ts_event .* trade_id, was 'bid'"),
        ({"limit": 0}, "limit: expected 1 to 1,000,000,000, was 0"),
        ({"flags": 8}, "flags: expected 0 to 7, was 8"),
        ({"kind": "bars", "interval": "1m", "flags": 1}, "flags: bars have none, was 1"),
        ({"kind": "gaps", "flags": 1}, "flags: gaps have none, was 1"),
        ({"limit": 1, "last": True, "after": (0, "V", "S", 1)}, "after: expected none beside last"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Query(**{**_GOOD, **change})


def test_times_are_taken_as_people_write_them() -> None:
    day = parse_ns("2024-02-29")
    for start in ("2024-02-29", day, date(2024, 2, 29), datetime(2024, 2, 29, tzinfo=UTC)):
        query = Query.from_user(
            "trades", venue="V", symbols=["A", "B"], start=start, end="2024-03-01T00:00:00Z"
        )
        assert (query.start_ns, query.end_ns) == (day, day + DAY)
        assert query.symbols == ("A", "B")
    with pytest.raises(NaiveTimeError, match="has no zone"):
        Query.from_user("trades", venue="V", symbols="S", start="2024-02-29T00:00:00")


def test_without_an_end_up_to_the_newest_and_last_may_be_without_a_start() -> None:
    query = Query.from_user("trades", venue="V", symbols="S", last=5)
    assert (query.start_ns, query.end_ns, query.limit, query.last) == (0, MAX_TS, 5, True)
    query = Query.from_user("trades", venue="V", symbols="S", start=7, limit=5)
    assert (query.start_ns, query.end_ns, query.limit, query.last) == (7, MAX_TS, 5, False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": None}, "start: expected a time, or last with how many rows"),
        ({"last": 1, "limit": 1}, "limit: expected none beside last, was 1"),
        ({"last": 0}, "last: expected 1 to 100,000, was 0"),
        ({"last": MAX_LAST + 1}, "last: expected 1 to 100,000, was 100001"),
    ],
)
def test_how_many_rows_is_said_once(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Query.from_user("trades", **{**_ASKED, **change})


def test_times_may_be_relative_to_now() -> None:
    query = Query.from_user("trades", venue="V", symbols="S", start="-5d", end="now")
    assert query.end_ns - query.start_ns == 5 * DAY


def test_columns_come_in_the_order_of_the_model() -> None:
    assert Query(**_GOOD).result_columns == TRADES.names
    assert Query(**{**_GOOD, "columns": ("price", "ts_event", "seq")}).result_columns == (
        "ts_event",
        "seq",
        "price",
    )
    bars = Query(**{**_GOOD, "kind": "bars", "interval": "1m", "columns": ("close",)})
    assert bars.stored is bars
    assert Query(**{**_GOOD, "kind": "bars", "interval": "90m"}).stored.interval == "30m"
    assert Query(**_GOOD).stored.kind == "trades"
    assert bars.result_columns == ("close",)
    assert (bars.source_kind, Query(**_GOOD).source_kind) == (TRADES, TRADES)
    assert Query(**{**_GOOD, "kind": "bars", "interval": "1m"}).result_columns == (*BARS.names, "final")


def test_accounts_are_numbers() -> None:
    query = Query(**{**_GOOD, "kind": "account_trades", "venue": "", "symbols": ("7", "0")})
    assert query.accounts == (7, 0)
    assert query.source_kind is ACCOUNT_TRADES
    assert replace(query, kind="account_candles", interval="4h").source_kind is ACCOUNT_TRADES


def test_a_query_cannot_be_changed() -> None:
    query = Query(**_GOOD)
    with pytest.raises(FrozenInstanceError):
        query.venue = "W"  # type: ignore[misc]
    assert query == Query(**_GOOD)
    assert set(QUERY_KINDS) <= set(KINDS)
