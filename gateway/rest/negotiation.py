"""Negotiates the format and the content encoding of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from gateway.rest.problems import NOT_ACCEPTABLE, ProblemError
from tapehouse.errors import UsageError

MEDIA = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "msgpack": "application/msgpack",
}
"""The media type of each format, the default first."""
_ALIASES = {"text/html": "json", "application/x-msgpack": "msgpack", "application/vnd.msgpack": "msgpack"}
# Parquet is compressed already. gzip is slower than an Arrow stream, and most clients accept it by default.
_ENCODINGS: Mapping[str, tuple[str, ...]] = {"arrow": ("zstd",), "parquet": ()}
_ALL_ENCODINGS = ("zstd", "gzip")


def content_type(format_name: str) -> str:
    """The Content-Type header of a format."""
    return f"{MEDIA[format_name]}; charset=utf-8" if format_name == "csv" else MEDIA[format_name]


@lru_cache(1024)
def negotiate_format(requested: str | None, accept: str, offered: Sequence[str]) -> str:
    """The requested format, else the one of those offered that Accept prefers; of equals the first.

    Raises UsageError for an unknown name, ProblemError (406) where Accept has none of those offered.
    """
    if requested is not None:
        if requested not in offered:
            raise UsageError(f"format: expected one of {' '.join(offered)}, was {requested[:80]!r}")
        return requested
    if not accept.strip():
        return offered[0]
    weights = _parse_weights(accept)
    best, highest = "", 0.0
    for name in offered:
        weight = _weight(name, weights)
        if weight > highest:
            best, highest = name, weight
    if not best:
        raise ProblemError(
            NOT_ACCEPTABLE,
            f"Accept: expected one of {' '.join(MEDIA[name] for name in offered)}, was {accept[:200]!r}",
            remedy=f"Accept one of them, or add format={offered[0]} to the query string.",
        )
    return best


@lru_cache(1024)
def negotiate_encoding(accept_encoding: str, format_name: str) -> str:
    """`zstd` or `gzip` where the client accepts it and the format benefits, else empty."""
    weights = _parse_weights(accept_encoding)
    best, highest = "", 0.0
    for name in _ENCODINGS.get(format_name, _ALL_ENCODINGS):
        weight = weights.get(name, weights.get("*", 0.0))
        if weight > highest:
            best, highest = name, weight
    return best


def _parse_weights(header: str) -> dict[str, float]:
    """The members of a header in lower case, with their q."""
    weights: dict[str, float] = {}
    for member in header.lower().split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    weight = 0.0
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def _weight(format_name: str, weights: Mapping[str, float]) -> float:
    media = MEDIA[format_name]
    names = [media, *(alias for alias, target in _ALIASES.items() if target == format_name)]
    explicit = [weights[name] for name in names if name in weights]
    if explicit:
        return max(explicit)
    return weights.get(f"{media.partition('/')[0]}/*", weights.get("*/*", 0.0))
