"""The parameters of requests: one table, by which they are read and documented."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from gateway.cursor import read_cursor
from gateway.query import MAX_LAST, MAX_LIMIT, SERVED, Query
from gateway.rest.negotiation import MEDIA
from tapehouse.clock import INTERVALS
from tapehouse.errors import UsageError
from tapehouse.model import KINDS
from tapehouse.rankings import MEASURES, WINDOWS

PAGE = 10_000
"""Rows of a page of JSON."""
PAGE_MOST = 100_000
DEPTH, DEPTH_MOST = 50, 5_000
RANKED, RANKED_MOST = 20, 500
_LONGEST = 4_000
_MOST = 2_000
"""Parameters of one request."""
_TIME = {"type": "string", "examples": ["2024-08-09T13:30:00Z", "2024-08-09", "1723210200000000000"]}
_LATER = {"type": "string", "examples": ["2024-08-09T20:00:00Z", "2024-08-10", "1723233600000000000"]}


@dataclass(frozen=True)
class Parameter:
    """One parameter: its JSON schema, and what it means."""

    name: str
    schema: Mapping[str, Any]
    description: str
    repeated: bool = False
    required: bool = False

    def check(self, given: Sequence[str]) -> None:
        """Raise UsageError for a value that is empty, too long or no text, or for two where one may be."""
        if len(given) > 1 and not self.repeated:
            raise UsageError(f"{self.name}: expected once, was {len(given)} times")
        most = self.schema.get("maxLength", _LONGEST)
        for value in given:
            if not value or len(value) > most or "\0" in value:
                raise UsageError(
                    f"{self.name}: expected 1 to {most:,} characters of text, was {value[:80]!r}"
                )


_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}


def _whole(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, **more}


def _one_of(values: Iterable[str], **more: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), **more}


VENUE = Parameter("venue", _TEXT, "The source of the rows.", required=True)
SYMBOL = Parameter("symbol", _TEXT, "As the venue spells it.", required=True)
SYMBOLS = Parameter("symbol", _TEXT, "As the venue spells it; may be given several times.", True, True)
ACCOUNTS = Parameter(
    "account",
    {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "An account's id; may be given several times.",
    True,
    True,
)
START = Parameter(
    "start",
    _TIME,
    "The first instant, inclusive: ISO 8601 with a zone, a date, or ns since 1970. Needed unless `last` is given.",
)
END = Parameter("end", _LATER, "The last instant, exclusive; without it up to the newest row.")
LAST = Parameter("last", _whole(1, MAX_LAST), "The last so many rows; not beside `limit` or `cursor`.")
LIMIT = Parameter(
    "limit",
    _whole(1, MAX_LIMIT),
    f"The first so many rows. JSON is one page: {PAGE:,} by default, {PAGE_MOST:,} at most.",
)
INTERVAL = Parameter("interval", _one_of(INTERVALS), "How long a bar is.", required=True)
FILL = Parameter(
    "fill", _one_of(["none", "flat"], default="none"), "flat: empty intervals as bars at the last close."
)
FLAGS = Parameter(
    "flags",
    _whole(0, 7, default=0),
    "Rows with any of these bits are left out: 1 cancelled, 2 not in bars, 4 estimated time.",
)
CURSOR = Parameter("cursor", {"type": "string"}, "The `next` of the page before.")
FORMAT = Parameter("format", _one_of(MEDIA), "In the place of Accept.")
KIND = Parameter("kind", _one_of(SERVED), "The kind of rows.", required=True)


def columns_of(kind: str) -> Parameter:
    """The parameter `columns` of a kind."""
    return Parameter(
        "columns", _one_of(KINDS[kind].names), "The columns; all without it. Repeated.", repeated=True
    )


def of_kind(kind: str) -> tuple[Parameter, ...]:
    """The parameters of a query for rows of a kind."""
    owners: tuple[Parameter, ...] = (VENUE, SYMBOLS)
    if kind == "account_trades":
        owners = (ACCOUNTS,)
    elif kind == "gaps":
        owners = (
            Parameter("venue", _TEXT, "The source; without it of all."),
            Parameter("symbol", _TEXT, "As the venue spells it; without it of all.", repeated=True),
        )
    bars = (INTERVAL, FILL) if kind == "bars" else ()
    flags = (FLAGS,) if "flags" in KINDS[kind].names else ()
    return (*owners, START, END, LAST, LIMIT, *bars, columns_of(kind), *flags, CURSOR, FORMAT)


EXPLAINED = (
    KIND,
    Parameter("venue", _TEXT, "The source of the rows."),
    Parameter("symbol", _TEXT, "As the venue spells it.", repeated=True),
    Parameter("account", ACCOUNTS.schema, "An account's id, of account trades.", repeated=True),
    START,
    END,
    LAST,
    LIMIT,
    Parameter("interval", INTERVAL.schema, "How long a bar is; of bars."),
    FILL,
    Parameter("columns", {"type": "string"}, "The columns.", repeated=True),
    FLAGS,
    CURSOR,
)
FEATURES = (VENUE, SYMBOL, START, END, LAST, INTERVAL, FORMAT)
LATEST = (
    VENUE,
    Parameter("symbol", _TEXT, "Repeated; without it all symbols that are live.", repeated=True),
    FORMAT,
)
RANKINGS = (
    Parameter("window", _one_of(WINDOWS, default="24h"), "How far back."),
    Parameter("measure", _one_of(MEASURES, default="change"), "By what, highest first."),
    Parameter("limit", _whole(1, RANKED_MOST, default=RANKED), "How many."),
    FORMAT,
)
BOOK = (
    VENUE,
    SYMBOL,
    Parameter(
        "at", _TIME, "The book after all updates up to this instant, inclusive; without it the newest."
    ),
    Parameter("depth", _whole(1, DEPTH_MOST, default=DEPTH), "Levels of each side."),
)
CATALOG = (
    Parameter("kind", _one_of(SERVED), "Of this kind alone."),
    Parameter("venue", _TEXT, "Of this venue alone."),
    FORMAT,
)


@dataclass(frozen=True)
class Asked:
    """The parameters of one request."""

    values: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, query_string: bytes, known: Iterable[Parameter]) -> Asked:
        """The parameters in the query of an address.

        Raises UsageError for one that is not known, that is given twice and may not be, or that has to be given.
        """
        values: dict[str, list[str]] = {}
        for name, value in _pairs(query_string):
            values.setdefault(name, []).append(value)
        by_name = {parameter.name: parameter for parameter in known}
        for name, given in values.items():
            if name not in by_name:
                raise UsageError(
                    f"{name[:80]}: there is no such parameter here",
                    remedy=f"Expected are {' '.join(by_name)}.",
                )
            if len(given) > 1 and not by_name[name].repeated:
                raise UsageError(f"{name}: expected once, was {len(given)} times")
            most = by_name[name].schema.get("maxLength", _LONGEST)
            for value in given:
                if not value or len(value) > most or "\0" in value:
                    raise UsageError(f"{name}: expected 1 to {most:,} characters of text, was {value[:80]!r}")
        for parameter in by_name.values():
            if parameter.required and parameter.name not in values:
                raise UsageError(
                    f"{parameter.name}: expected a value, was nothing", remedy=parameter.description
                )
        return cls(values)

    def one(self, name: str) -> str | None:
        """The value; None where it is not given."""
        values = self.values.get(name)
        return values[0] if values else None

    def whole(self, name: str, low: int, high: int) -> int | None:
        """The value as a whole number; UsageError where it is none, or not within `low` and `high`."""
        text = self.one(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise UsageError(f"{name}: expected {low:,} to {high:,}, was {text[:80]!r}")
        return int(text)

    def time(self, name: str) -> str | None:
        """The value as a time is written. In an address a + stands for a space, and before a zone was meant as one."""
        text = self.one(name)
        return None if text is None else re.sub(r"([T ]\d\d:\d\d.*) (\d\d:?\d\d)$", r"\1+\2", text)

    def named(self, name: str, among: Iterable[str], otherwise: str) -> str:
        """The value, one of `among`; UsageError where it is none of them."""
        text = self.one(name)
        if text is not None and text not in among:
            raise UsageError(f"{name}: expected one of {' '.join(among)}, was {text[:80]!r}")
        return otherwise if text is None else text


def query_of(kind: str, asked: Asked, *, page: bool) -> Query:
    """The query that a request is for; of one page where `page` says so. Raises UsageError."""
    limit, last = asked.whole("limit", 1, MAX_LIMIT), asked.whole("last", 1, MAX_LAST)
    if page:
        for name, count in (("limit", limit), ("last", last)):
            if count is not None and count > PAGE_MOST:
                raise UsageError(
                    f"{name}: expected at most {PAGE_MOST:,} for JSON, was {count:,}",
                    remedy="Follow `next` from page to page, or ask for another format: they have no pages.",
                )
        limit = limit or (PAGE if last is None else None)
    cursor = asked.one("cursor")
    return Query.asked(
        kind,
        venue=asked.one("venue") or "",
        symbols=asked.values.get("account" if kind == "account_trades" else "symbol", ()),
        start=asked.time("start"),
        end=asked.time("end"),
        last=last,
        limit=limit,
        columns=tuple(asked.values.get("columns", ())),
        interval=asked.one("interval"),
        fill=asked.one("fill") or "none",
        flags=asked.whole("flags", 0, 7) or 0,
        after=None if cursor is None else read_cursor(cursor, kind),
    )


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    text = query_string.decode("latin-1")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST)
    except UnicodeDecodeError:
        raise UsageError("address: expected parameters in UTF-8") from None
    except ValueError:
        raise UsageError(f"address: expected at most {_MOST:,} parameters") from None
