"""The one query object that every surface builds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tapehouse.clock import MAX_TS, interval_named, iso
from tapehouse.errors import UsageError
from tapehouse.model import KINDS, SEQ_MAX

Fill = Literal["none", "flat"]
SERVED = ("trades", "quotes", "bars", "account_trades")


@dataclass(frozen=True)
class Query:
    """Rows of one kind, venue and symbol with start_ns <= time < end_ns, in the order of the key.

    Account trades have neither: `symbol` is the account's id, `venue` is empty. For bars the time is the
    bar's start, and every bar is whole even where it reaches past `end_ns`.
    Raises UsageError naming the field, what was given and what is allowed.
    """

    kind: str
    venue: str
    symbol: str
    start_ns: int
    end_ns: int
    interval: str | None = None
    fill: Fill = "none"

    def __post_init__(self) -> None:
        if self.kind not in SERVED:
            known = "" if self.kind not in KINDS else ", which cannot be queried yet"
            raise UsageError(f"kind: expected one of {' '.join(SERVED)}, was {self.kind!r}{known}")
        self._check_owner()
        self._check_span()
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

    def _check_owner(self) -> None:
        if self.kind == "account_trades":
            if self.venue:
                raise UsageError(f"venue: account trades have none, was {self.venue!r}")
            self.account_id  # noqa: B018 - it raises
        else:
            for name in ("venue", "symbol"):
                if not getattr(self, name):
                    raise UsageError(f"{name}: expected a name, was nothing")

    @property
    def account_id(self) -> int:
        """The account of a query for account trades."""
        if not re.fullmatch(r"[0-9]{1,19}", self.symbol) or int(self.symbol) > SEQ_MAX:
            raise UsageError(f"account: expected its id, 0 to {SEQ_MAX}, was {self.symbol!r}")
        return int(self.symbol)

    def _check_span(self) -> None:
        for name, ns, last in (("start", self.start_ns, MAX_TS - 1), ("end", self.end_ns, MAX_TS)):
            if not 0 <= ns <= last:
                raise UsageError(f"{name}: expected 1970 to 2261, was {ns} ns")
        if self.start_ns >= self.end_ns:
            raise UsageError(f"end: expected a time after {iso(self.start_ns)}, was {iso(self.end_ns)}")
