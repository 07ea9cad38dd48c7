"""What the methods of the client take, as the query parameters of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapehouse.clock import iso, now_ns
from tapehouse.model import OF_ACCOUNTS
from tapehouse.query_times import Time, query_ns

Names = str | Sequence[str]
"""One name, or several."""
Accounts = int | str | Sequence[int | str]
"""The id of an account, or several."""


def span_parameters(
    start: Time | None,
    end: Time | None,
    *,
    venue: str | None = None,
    last: int | None = None,
    limit: int | None = None,
    columns: Names = (),
    flags: int = 0,
) -> dict[str, object]:
    """The query parameters that all kinds have."""
    now = now_ns()
    return {
        "venue": venue or None,
        "start": None if start is None else iso(query_ns(start, "start", now)),
        "end": None if end is None else iso(query_ns(end, "end", now)),
        "last": last,
        "limit": limit,
        "columns": as_names(columns),
        "flags": flags or None,
    }


def kind_parameters(
    kind: str,
    symbols: Names,
    start: Time | None,
    end: Time | None,
    venue: str | None,
    default_venue: str | None,
    **span: Any,
) -> dict[str, object]:
    """The query parameters of a kind that is given by its name; gaps are of all venues by default."""
    if kind not in (*OF_ACCOUNTS, "gaps"):
        venue = venue or default_venue
    owner = "account" if kind in OF_ACCOUNTS else "symbol"
    return {owner: as_names(symbols), **span_parameters(start, end, venue=venue, **span)}


def as_ids(accounts: Accounts) -> list[str]:
    """The account ids as texts."""
    return [str(account) for account in ([accounts] if isinstance(accounts, int | str) else accounts)]


def as_names(names: Names) -> list[str]:
    """The names as a list."""
    return [names] if isinstance(names, str) else list(names)
