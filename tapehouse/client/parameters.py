"""What the methods of the client take, as the query parameters of the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from tapehouse.clock import iso, now_ns
from tapehouse.query_times import Time, query_ns

Names = str | Sequence[str]
"""One name, or several."""


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


def as_names(names: Names) -> list[str]:
    """The names as a list."""
    return [names] if isinstance(names, str) else list(names)
