"""The query parameters of every endpoint, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.answers.cursor import decode_cursor
from gateway.query import ALL_SYMBOLS, MAX_LAST, MAX_LIMIT, MAX_SYMBOLS, QUERY_KINDS, TIMESCALE, Fill, Query
from gateway.rest.negotiation import MEDIA
from gateway.rest.query_string import OneOf, QueryParameters
from tapehouse.bars.rankings import MEASURES, WINDOWS
from tapehouse.clock import CUSTOM_INTERVALS, INTERVALS, now_ns
from tapehouse.errors import UsageError
from tapehouse.model import KINDS, NAME_MAX, OF_ACCOUNTS
from tapehouse.query_times import query_ns

PAGE_ROWS = 10_000
"""Rows of a JSON page if the request has no limit."""
MAX_PAGE_ROWS = 100_000
_MAX_LEVELS = 5_000
_MAX_RANKED = 500
_MAX_TIME = 64


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("NUL")
    return text


def _digits(value: str) -> str:
    # pydantic would also accept signs, spaces, underscores and fractions of zero.
    if not re.fullmatch(r"[0-9]{1,19}", value):
        raise ValueError("digits")
    return value


def _instant(text: str) -> int:
    if not 1 <= len(text) <= _MAX_TIME:
        raise ValueError("length")
    # A + in a query string stands for a space; before a zone the + itself was meant.
    text = re.sub(r"([T ]\d\d:\d\d.*) (\d\d:?\d\d)$", r"\1+\2", text)
    try:
        return query_ns(text, "time", now_ns())
    except UsageError as reason:
        context = {"message": reason.message.removeprefix("time: "), "remedy": reason.remedy}
        raise PydanticCustomError("time", "{message}", context) from None


def _time_schema(*examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": _MAX_TIME, "examples": list(examples)}
    )


Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX), AfterValidator(_without_nul)]
Text = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(_without_nul)]
AccountId = Annotated[str, Field(pattern="^[0-9]{1,19}$")]
StartTime = Annotated[
    int,
    BeforeValidator(_instant),
    _time_schema("2024-08-09T13:30:00Z", "2024-08-09", "1723210200000000000", "-1h", "yesterday"),
]
"""ns since 1970."""
EndTime = Annotated[
    int,
    BeforeValidator(_instant),
    _time_schema("2024-08-09T20:00:00Z", "2024-08-10", "1723233600000000000", "-5m", "today", "now"),
]
"""ns since 1970."""
Kind = Annotated[str, OneOf(QUERY_KINDS)]
StandardInterval = Annotated[str, OneOf(INTERVALS)]
IntervalName = Annotated[
    str,
    # `Query` refuses others, naming the valid ones.
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^(?:{'|'.join(INTERVALS)}|[1-9][0-9]{{0,4}}[smh])$",
            "examples": ["1m", "7m", "90m"],
        }
    ),
]
Format = Annotated[str, OneOf(MEDIA)]

_DIGITS = BeforeValidator(_digits)
_VENUE = Field(description="The source of the rows. May be left out where one venue has the symbols.")
_SYMBOL = Field(description="As the venue spells it.")
_SYMBOLS = Field(
    description="As the venue spells it; may be given several times. * is all of the venue, at most 500, "
    "with `last`, `limit` or `end`."
)
_ACCOUNTS = Field(description="An account's id; may be given several times.")
_INTERVAL = Field(
    description=f"How long a bar is: {' '.join(INTERVALS)}, or {CUSTOM_INTERVALS}; the symbol comes before it."
)
_CANDLE_INTERVAL = Field(description=f"How long a candle is: {' '.join(INTERVALS)}, or {CUSTOM_INTERVALS}.")
_STANDARD = Field(
    description="How long a bar is; the symbol comes before it. Custom intervals are for bars alone."
)
_FILL = Field(description="flat: empty intervals as bars at the last close.")
_OPEN = Field(description="false: without bars that are not final.")
_COLUMNS = Field(description="The columns, all by default; may be given several times.")
_FLAGS = Field(
    description="Leaves out rows with any of these bits: 1 cancelled, 2 not in bars, 4 estimated time.",
)


NamedStore = Annotated[str, OneOf((TIMESCALE,))]
_STORE = Field(description="Answered by this store alone, for account trades and their candles.")


class FormatParameters(QueryParameters):
    """The parameters of every endpoint with several formats."""

    format: Annotated[Format | None, Field(description="Overrides the Accept header.")] = None


class SpanParameters(QueryParameters):
    """A span of time, or the last rows."""

    start: Annotated[
        StartTime | None,
        Field(
            description="Inclusive: ISO 8601 with a zone, a date, ns since 1970, or relative to now. Required unless "
            "`last` is given."
        ),
    ] = None
    end: Annotated[EndTime | None, Field(description="Exclusive; up to the newest row by default.")] = None
    last: Annotated[
        Annotated[int, Field(ge=1, le=MAX_LAST), _DIGITS] | None,
        Field(description="The last so many rows of each symbol; not beside `limit` or `cursor`."),
    ] = None


class RowParameters(SpanParameters):
    """The parameters that all endpoints of rows have."""

    limit: Annotated[
        Annotated[int, Field(ge=1, le=MAX_LIMIT), _DIGITS] | None,
        Field(
            description="The first so many rows. JSON is one page: "
            f"{PAGE_ROWS:,} by default, {MAX_PAGE_ROWS:,} at most.",
        ),
    ] = None
    cursor: Annotated[Text | None, Field(description="The `next` of the page before.")] = None


class RowFormatParameters(FormatParameters, RowParameters):
    """The parameters of endpoints of rows."""


class TradeParameters(RowFormatParameters):
    """/v1/trades."""

    symbol: Annotated[tuple[Name, ...], _SYMBOLS]
    venue: Annotated[Name | None, _VENUE] = None
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["trades"].names)], ...], _COLUMNS] = ()
    flags: Annotated[int, Field(ge=0, le=7), _DIGITS, _FLAGS] = 0


class QuoteParameters(RowFormatParameters):
    """/v1/quotes."""

    symbol: Annotated[tuple[Name, ...], _SYMBOLS]
    venue: Annotated[Name | None, _VENUE] = None
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["quotes"].names)], ...], _COLUMNS] = ()
    flags: Annotated[int, Field(ge=0, le=7), _DIGITS, _FLAGS] = 0


class DepthParameters(RowFormatParameters):
    """/v1/depth."""

    symbol: Annotated[tuple[Name, ...], _SYMBOLS]
    venue: Annotated[Name | None, _VENUE] = None
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["depth"].names)], ...], _COLUMNS] = ()
    flags: Annotated[int, Field(ge=0, le=7), _DIGITS, _FLAGS] = 0


class BarParameters(RowFormatParameters):
    """/v1/bars."""

    symbol: Annotated[tuple[Name, ...], _SYMBOLS]
    venue: Annotated[Name | None, _VENUE] = None
    interval: Annotated[IntervalName, _INTERVAL]
    fill: Annotated[Fill, _FILL] = "none"
    open: Annotated[bool, _OPEN] = True
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["bars"].answer_names)], ...], _COLUMNS] = ()


class GapParameters(RowFormatParameters):
    """/v1/gaps."""

    venue: Annotated[Name | None, Field(description="The source; all by default.")] = None
    symbol: Annotated[
        tuple[Name, ...],
        Field(description="As the venue spells it, all by default; may be given several times."),
    ] = ()
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["gaps"].names)], ...], _COLUMNS] = ()


class TradesOfAccountParameters(RowFormatParameters):
    """/v1/accounts/{id}/trades."""

    store: Annotated[NamedStore | None, _STORE] = None
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["account_trades"].names)], ...], _COLUMNS] = ()


class CandlesOfAccountParameters(RowFormatParameters):
    """/v1/accounts/{id}/candles."""

    store: Annotated[NamedStore | None, _STORE] = None
    interval: Annotated[IntervalName, _CANDLE_INTERVAL]
    columns: Annotated[tuple[Annotated[str, OneOf(KINDS["account_candles"].names)], ...], _COLUMNS] = ()


class AccountTradeParameters(TradesOfAccountParameters):
    """/v1/account_trades."""

    account: Annotated[tuple[AccountId, ...], _ACCOUNTS]


class AccountCandleParameters(CandlesOfAccountParameters):
    """/v1/account_candles."""

    account: Annotated[tuple[AccountId, ...], _ACCOUNTS]


class ExplainParameters(RowParameters):
    """/v1/explain: the parameters of all kinds."""

    kind: Annotated[Kind, Field(description="The kind of rows.")]
    venue: Annotated[Name | None, _VENUE] = None
    symbol: Annotated[tuple[Name, ...], _SYMBOLS] = ()
    account: Annotated[tuple[AccountId, ...], _ACCOUNTS] = ()
    interval: Annotated[
        IntervalName | None, Field(description="How long a bar or candle is; only for them.")
    ] = None
    fill: Annotated[Fill, _FILL] = "none"
    open: Annotated[bool, _OPEN] = True
    columns: Annotated[tuple[Text, ...], _COLUMNS] = ()
    flags: Annotated[int, Field(ge=0, le=7), _DIGITS, _FLAGS] = 0
    store: Annotated[NamedStore | None, _STORE] = None


class FeatureParameters(FormatParameters, SpanParameters):
    """/v1/features."""

    symbol: Annotated[tuple[Name, ...], _SYMBOLS]
    venue: Annotated[Name | None, _VENUE] = None
    interval: Annotated[StandardInterval, _STANDARD]


class LatestParameters(FormatParameters):
    """/v1/latest."""

    venue: Annotated[Name | None, _VENUE] = None
    symbol: Annotated[
        tuple[Name, ...],
        Field(description="All live symbols by default; may be given several times."),
    ] = ()


class RankingParameters(FormatParameters):
    """/v1/rankings."""

    window: Annotated[str, OneOf(WINDOWS), Field(description="How far back.")] = "24h"
    measure: Annotated[str, OneOf(MEASURES), Field(description="What to sort by, highest first.")] = "change"
    limit: Annotated[int, Field(ge=1, le=_MAX_RANKED), _DIGITS, Field(description="How many.")] = 20


class BookParameters(QueryParameters):
    """/v1/book."""

    symbol: Annotated[Name, _SYMBOL]
    venue: Annotated[Name | None, _VENUE] = None
    at: Annotated[
        StartTime | None,
        Field(description="The book after all updates up to this time, inclusive; the newest by default."),
    ] = None
    depth: Annotated[int, Field(ge=1, le=_MAX_LEVELS), _DIGITS, Field(description="Levels of each side.")] = (
        50
    )


class CatalogParameters(FormatParameters):
    """/v1/catalog."""

    kind: Annotated[
        Kind | None, Field(description="Only this kind; a venue is given by its name: venue=...")
    ] = None
    venue: Annotated[Name | None, Field(description="Only this venue.")] = None


def to_query(kind: str, parameters: SpanParameters, *, page: bool, account: str | None = None) -> Query:
    """The query of a request, limited to one page if `page`; `account`: one that the path names. Raises UsageError."""
    values = dict(parameters)
    for name in ("kind", "format"):
        values.pop(name, None)
    symbols, accounts = (values.pop(name, ()) for name in ("symbol", "account"))
    accounts = accounts if account is None else (account,)
    values["symbols"] = accounts if kind in OF_ACCOUNTS else symbols
    values["venue"] = values.get("venue") or ""
    cursor = values.pop("cursor", None)
    values["after"] = None if cursor is None else decode_cursor(cursor, kind)
    if page:
        names = MAX_SYMBOLS if values["symbols"] == ALL_SYMBOLS else max(len(values["symbols"]), 1)
        for name, most in (("limit", MAX_PAGE_ROWS), ("last", MAX_PAGE_ROWS // names)):
            count = values[name]
            if count is not None and count > most:
                raise UsageError(
                    f"{name}: expected at most {most:,} for JSON, was {count:,}",
                    remedy="Follow `next` from page to page, or choose another format: they have no pages.",
                )
        if values["last"] is None and values["limit"] is None:
            values["limit"] = PAGE_ROWS
    return Query.from_user(kind, **values)
