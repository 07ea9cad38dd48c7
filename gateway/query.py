"""`Query`: the validated request for rows or bars that REST, the command line and the client build."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tapehouse.clock import INTERVALS, MAX_TS, is_interval, iso, now_ns, parse_interval
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, KINDS, NAME_MAX, OF_ACCOUNTS, SEQ_MAX, TRADES, Kind
from tapehouse.query_times import Time, query_ns

Fill = Literal["none", "flat"]
RowKey = tuple[int | str | bool, ...]
"""The key columns' values of one row, in the order of the kind's key; times as ns since 1970."""
ALL_SYMBOLS = ("*",)
"""In place of symbols: all of the venue."""
QUERY_KINDS = ("trades", "quotes", "depth", "bars", "account_trades", "account_candles", "gaps")
_NEED_NO_VENUE = (*OF_ACCOUNTS, "gaps")
_SOURCES = {"bars": TRADES, "account_candles": ACCOUNT_TRADES}
TIMESCALE = "timescale"
"""The store that answers only queries that name it."""
MAX_SYMBOLS = 500
MAX_LIMIT = 1_000_000_000
MAX_LAST = 100_000
MAX_LAST_ROWS = 1_000_000
"""The last rows of all symbols together, which are kept in memory."""


@dataclass(frozen=True)
class Query:
    """Rows of one kind and venue in [start_ns, end_ns), ns UTC, in the order of the kind's key.

    A query without its venue, or for the symbols `*`, is resolved by the query surface before it is answered.

    For bars and candles the time is their start; each is complete, even if it ends after `end_ns`.

    interval: one that `tapehouse.clock.parse_interval` takes.
    symbols: the symbols' names. For account trades and candles the account ids as text, with an empty venue. For gaps
        an empty venue or no symbols mean all of them.
    columns: columns of the kind in any order; the answer has them in the model's order. Empty means all.
    limit: the maximum number of rows, counted from the first; if `last` is set, of each symbol or account, counted
        from the last.
    flags: rows with any of these bits are left out (1 cancelled, 2 not in bars, 4 estimated time).
    after: only rows with a greater key.
    open: whether bars that are not final are in the answer.
    store: `timescale` to be answered by TimescaleDB alone; empty: by the stores that own the days.

    Raises UsageError, which names the field, the expected and the given value.
    """

    kind: str
    venue: str
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int
    interval: str | None = None
    fill: Fill = "none"
    columns: tuple[str, ...] = ()
    limit: int | None = None
    last: bool = False
    flags: int = 0
    after: RowKey | None = None
    open: bool = True
    store: str = ""

    def __post_init__(self) -> None:
        if self.kind not in QUERY_KINDS:
            raise UsageError(f"kind: expected one of {' '.join(QUERY_KINDS)}, was {self.kind!r}")
        self._check_venue_and_symbols()
        self._check_times()
        self._check_bars()
        self._check_rows()
        if self.store not in ("", TIMESCALE):
            raise UsageError(f"store: expected {TIMESCALE} or none, was {self.store!r}")
        if self.store and self.kind not in OF_ACCOUNTS:
            raise UsageError(f"store: {TIMESCALE} has {' and '.join(OF_ACCOUNTS)}, was asked for {self.kind}")

    @classmethod
    def from_user(
        cls,
        kind: str,
        *,
        venue: str = "",
        symbols: str | Sequence[str] = (),
        start: Time | None = None,
        end: Time | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Sequence[str] = (),
        interval: str | None = None,
        fill: str = "none",
        flags: int = 0,
        after: RowKey | None = None,
        open: bool = True,  # noqa: A002 - the parameter's name in every interface
        store: str | None = None,
    ) -> Query:
        """Build a query from user input: times as `tapehouse.query_times` has them; `last` is a number of rows.

        Without `end` the span reaches to the newest row; without `start`, which requires `last`, to the oldest.
        """
        if start is None and last is None:
            raise UsageError("start: expected a time, or last with how many rows, was nothing")
        now = now_ns()
        names = (symbols,) if isinstance(symbols, str) else tuple(symbols)
        if names == ALL_SYMBOLS and last is None and limit is None and end is None:
            raise UsageError("end: expected an end, limit or last with the symbols *, was nothing")
        if last is not None and limit is not None:
            raise UsageError(f"limit: expected none beside last, was {limit}")
        if last is not None and not 1 <= last <= MAX_LAST:
            raise UsageError(f"last: expected 1 to {MAX_LAST:,}, was {last}")
        return cls(
            kind,
            venue,
            () if kind == "gaps" and names == ALL_SYMBOLS else names,
            0 if start is None else query_ns(start, "start", now),
            MAX_TS if end is None else query_ns(end, "end", now),
            interval,
            fill,  # type: ignore[arg-type]  # checked by __post_init__
            tuple(columns),
            limit if last is None else last,
            last is not None,
            flags,
            after,
            open,
            store or "",
        )

    @property
    def is_resolved(self) -> bool:
        """Whether the venue and the symbols are named, for kinds that need them."""
        return self.kind in _NEED_NO_VENUE or bool(self.venue and self.symbols != ALL_SYMBOLS)

    @property
    def source_kind(self) -> Kind:
        """The kind of the stored rows: trades for bars, account trades for candles, else the query's kind."""
        return _SOURCES.get(self.kind) or KINDS[self.kind]

    @property
    def result_columns(self) -> tuple[str, ...]:
        """The answer's columns, in the model's order."""
        names = KINDS[self.kind].answer_names
        return tuple(name for name in names if name in self.columns) if self.columns else names

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns read from a store, in the model's order: the result columns and those of the key."""
        kind = self.source_kind
        return tuple(name for name in kind.names if name in self.result_columns or name in kind.key)

    @property
    def constant_columns(self) -> dict[str, str]:
        """The columns with one value in all rows, by name: the venue, and the symbol if there is only one."""
        if self.kind in OF_ACCOUNTS:
            return {}
        venue = {"venue": self.venue} if self.venue else {}
        return venue | ({"symbol": self.symbols[0]} if len(self.symbols) == 1 else {})

    @property
    def fetched_columns(self) -> tuple[str, ...]:
        """`read_columns` without the constant ones, which would take most of a store's time."""
        constants = self.constant_columns
        return tuple(name for name in self.read_columns if name not in constants)

    @property
    def stored(self) -> Query:
        """The query as the stores take it: of bars of a custom interval, that for the bars they are merged from."""
        if self.interval is None:
            return self
        part = parse_interval(self.interval).part
        return self if part == self.interval else replace(self, interval=part)

    @property
    def accounts(self) -> tuple[int, ...]:
        """The account ids of a query for account trades or candles."""
        return tuple(map(_parse_account_id, self.symbols))

    def _check_venue_and_symbols(self) -> None:
        self._check_names()
        if self.kind in OF_ACCOUNTS:
            if self.venue:
                raise UsageError(f"venue: {self.kind.replace('_', ' ')} have none, was {self.venue!r}")
            if not self.symbols:
                raise UsageError("account: expected an id, was nothing")
            self.accounts  # noqa: B018 - raises for an invalid id
        elif self.kind != "gaps":
            if not self.symbols or not all(self.symbols):
                raise UsageError("symbol: expected a name, was nothing")
            if "*" in self.symbols and self.symbols != ALL_SYMBOLS:
                raise UsageError("symbol: expected names, or * alone, was both")

    def _check_names(self) -> None:
        if len(self.symbols) > MAX_SYMBOLS:
            raise UsageError(f"symbol: expected at most {MAX_SYMBOLS}, was {len(self.symbols)}")
        if len(set(self.symbols)) < len(self.symbols):
            raise UsageError("symbol: expected each once")
        _check_name("venue", self.venue)
        for symbol in self.symbols:
            _check_name("symbol", symbol)

    def _check_times(self) -> None:
        for name, ns, last in (("start", self.start_ns, MAX_TS - 1), ("end", self.end_ns, MAX_TS)):
            if not 0 <= ns <= last:
                raise UsageError(f"{name}: expected 1970 to 2261, was {ns} ns")
        if self.start_ns >= self.end_ns:
            raise UsageError(f"end: expected a time after {iso(self.start_ns)}, was {iso(self.end_ns)}")

    def _check_bars(self) -> None:
        if self.fill not in ("none", "flat"):
            raise UsageError(f"fill: expected none or flat, was {self.fill!r}")
        if self.kind in _SOURCES:
            if self.interval is None:
                raise UsageError(f"interval: {self.kind} need one, such as 1m")
            self._check_interval(self.interval)
        elif self.interval is not None:
            raise UsageError(f"interval: {self.kind} have none, was {self.interval!r}")
        if self.kind == "bars":
            return
        if self.fill != "none":
            raise UsageError(f"fill: only bars can be filled, was {self.fill!r} for {self.kind}")
        if not self.open:
            raise UsageError(f"open: only bars can be open, was false for {self.kind}")

    def _check_interval(self, name: str) -> None:
        if not is_interval(name) and any(is_interval(symbol) for symbol in self.symbols):
            raise UsageError(
                f"interval: expected one of {' '.join(INTERVALS)}, was {name!r}",
                remedy=f"The symbol comes before the interval: were {' '.join(self.symbols)} and {name} swapped?",
            )
        parse_interval(name)

    def _check_rows(self) -> None:
        names = KINDS[self.kind].answer_names
        for name in self.columns:
            if name not in names:
                raise UsageError(f"columns: {self.kind} have {' '.join(names)}, was {name!r}")
        if self.limit is not None and not 1 <= self.limit <= MAX_LIMIT:
            raise UsageError(f"limit: expected 1 to {MAX_LIMIT:,}, was {self.limit}")
        most = MAX_LAST_ROWS // max(len(self.symbols), 1)
        if self.last and self.limit is not None and self.limit > most:
            raise UsageError(
                f"last: expected at most {most:,} of each of {len(self.symbols)}, was {self.limit:,}"
            )
        if not 0 <= self.flags <= 7:
            raise UsageError(f"flags: expected 0 to 7, was {self.flags}")
        if self.flags and "flags" not in names:
            raise UsageError(f"flags: {self.kind} have none, was {self.flags}")
        if self.after is not None and self.last:
            raise UsageError("after: expected none beside last")


def is_valid_name(text: str) -> bool:
    """Whether `text` can be a venue or symbol: at most 256 characters, no NUL, no lone surrogates."""
    return (
        len(text) <= NAME_MAX
        and "\0" not in text
        and not any(0xD800 <= ord(letter) < 0xE000 for letter in text)
    )


def _check_name(name: str, text: str) -> None:
    if not is_valid_name(text):
        raise UsageError(f"{name}: expected at most {NAME_MAX} characters of text, was {text[:80]!r}")


def _parse_account_id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > SEQ_MAX:
        raise UsageError(f"account: expected its id, 0 to {SEQ_MAX}, was {text!r}")
    return int(text)
