"""The one query object that every surface builds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from tapehouse.clock import MAX_TS, interval_named, iso, to_ns
from tapehouse.errors import UsageError
from tapehouse.model import KINDS, SEQ_MAX, TRADES, Kind

Fill = Literal["none", "flat"]
Key = tuple[int | str | bool, ...]
"""A row's values of its kind's key, times as ns."""
Time = str | int | datetime | date
SERVED = ("trades", "quotes", "depth", "bars", "account_trades", "gaps")
MAX_SYMBOLS = 500
MAX_LIMIT = 1_000_000_000
MAX_LAST = 100_000
_MAX_NAME = 256


@dataclass(frozen=True)
class Query:
    """Rows of one kind and venue with start_ns <= time < end_ns, in the order of the kind's key.

    `symbols` are names; of account trades the accounts' ids, which have no venue; of gaps they may be empty, as the
    venue may, for all. `columns` are the model's, in any order, and come in the model's; empty for all. For bars
    the time is the bar's start, and every bar is whole even where it reaches past `end_ns`. `limit` is how many
    rows there are at most, from the first; with `last` from the last. Rows with any bit of `flags` are left out
    (1 cancelled, 2 not in bars, 4 estimated time). `after`: only rows behind that key.

    Raises UsageError naming the field, what was given and what is allowed.
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
    after: Key | None = None

    def __post_init__(self) -> None:
        if self.kind not in SERVED:
            raise UsageError(f"kind: expected one of {' '.join(SERVED)}, was {self.kind!r}")
        self._check_owner()
        self._check_span()
        self._check_bars()
        self._check_rows()

    @classmethod
    def asked(
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
        after: Key | None = None,
    ) -> Query:
        """A query as people write it: times as text, ns, aware datetimes or dates; `last` rows instead of a limit.

        Without `end` up to the newest row; without `start`, which needs `last`, from the oldest.
        """
        if start is None and last is None:
            raise UsageError("start: expected a time, or last with how many rows, was nothing")
        if last is not None and limit is not None:
            raise UsageError(f"limit: expected none beside last, was {limit}")
        if last is not None and not 1 <= last <= MAX_LAST:
            raise UsageError(f"last: expected 1 to {MAX_LAST:,}, was {last}")
        return cls(
            kind,
            venue,
            (symbols,) if isinstance(symbols, str) else tuple(symbols),
            0 if start is None else to_ns(start),
            MAX_TS if end is None else to_ns(end),
            interval,
            fill,  # type: ignore[arg-type]  # checked there
            tuple(columns),
            limit if last is None else last,
            last is not None,
            flags,
            after,
        )

    @property
    def rows_kind(self) -> Kind:
        """The kind of the rows that the answer is made of: bars are made of trades."""
        return TRADES if self.kind == "bars" else KINDS[self.kind]

    @property
    def names(self) -> tuple[str, ...]:
        """The answer's columns, in the model's order."""
        names = KINDS[self.kind].names
        return tuple(name for name in names if name in self.columns) if self.columns else names

    @property
    def read_names(self) -> tuple[str, ...]:
        """The columns of the rows that are read for it, in the model's order: its own and those of the key."""
        kind = self.rows_kind
        return tuple(name for name in kind.names if name in self.names or name in kind.key)

    @property
    def same(self) -> dict[str, str]:
        """The columns that have the same value in all rows, by name."""
        if self.kind == "account_trades":
            return {}
        venue = {"venue": self.venue} if self.venue else {}
        return venue | ({"symbol": self.symbols[0]} if len(self.symbols) == 1 else {})

    @property
    def fetched_names(self) -> tuple[str, ...]:
        """Those of `read_names` that differ from row to row: texts of one value would be most of a store's work."""
        same = self.same
        return tuple(name for name in self.read_names if name not in same)

    @property
    def accounts(self) -> tuple[int, ...]:
        """The accounts of a query for account trades."""
        return tuple(map(_account, self.symbols))

    def _check_owner(self) -> None:
        self._check_names()
        if self.kind == "account_trades":
            if self.venue:
                raise UsageError(f"venue: account trades have none, was {self.venue!r}")
            if not self.symbols:
                raise UsageError("account: expected an id, was nothing")
            self.accounts  # noqa: B018 - it raises
        elif self.kind != "gaps":
            if not self.venue:
                raise UsageError("venue: expected a name, was nothing")
            if not self.symbols or not all(self.symbols):
                raise UsageError("symbol: expected a name, was nothing")

    def _check_names(self) -> None:
        if len(self.symbols) > MAX_SYMBOLS:
            raise UsageError(f"symbol: expected at most {MAX_SYMBOLS}, was {len(self.symbols)}")
        if len(set(self.symbols)) < len(self.symbols):
            raise UsageError("symbol: expected each once")
        _check_text("venue", self.venue)
        for symbol in self.symbols:
            _check_text("symbol", symbol)

    def _check_span(self) -> None:
        for name, ns, last in (("start", self.start_ns, MAX_TS - 1), ("end", self.end_ns, MAX_TS)):
            if not 0 <= ns <= last:
                raise UsageError(f"{name}: expected 1970 to 2261, was {ns} ns")
        if self.start_ns >= self.end_ns:
            raise UsageError(f"end: expected a time after {iso(self.start_ns)}, was {iso(self.end_ns)}")

    def _check_bars(self) -> None:
        if self.fill not in ("none", "flat"):
            raise UsageError(f"fill: expected none or flat, was {self.fill!r}")
        if self.kind == "bars":
            if self.interval is None:
                raise UsageError("interval: bars need one, such as 1m")
            interval_named(self.interval)
        elif self.interval is not None:
            raise UsageError(f"interval: {self.kind} have none, was {self.interval!r}")
        elif self.fill != "none":
            raise UsageError(f"fill: only bars can be filled, was {self.fill!r} for {self.kind}")

    def _check_rows(self) -> None:
        names = KINDS[self.kind].names
        for name in self.columns:
            if name not in names:
                raise UsageError(f"columns: {self.kind} have {' '.join(names)}, was {name!r}")
        if self.limit is not None and not 1 <= self.limit <= MAX_LIMIT:
            raise UsageError(f"limit: expected 1 to {MAX_LIMIT:,}, was {self.limit}")
        if not 0 <= self.flags <= 7:
            raise UsageError(f"flags: expected 0 to 7, was {self.flags}")
        if self.flags and "flags" not in names:
            raise UsageError(f"flags: {self.kind} have none, was {self.flags}")
        if self.after is not None and self.last:
            raise UsageError("after: expected none beside last")


def is_name(text: str) -> bool:
    """Whether a text can be a venue's or a symbol's name: neither store takes NUL, and lone surrogates are no text."""
    return (
        len(text) <= _MAX_NAME
        and "\0" not in text
        and not any(0xD800 <= ord(letter) < 0xE000 for letter in text)
    )


def _check_text(name: str, text: str) -> None:
    if not is_name(text):
        raise UsageError(f"{name}: expected at most {_MAX_NAME} characters of text, was {text[:80]!r}")


def _account(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > SEQ_MAX:
        raise UsageError(f"account: expected its id, 0 to {SEQ_MAX}, was {text!r}")
    return int(text)
