"""Which format and which encoding an answer has, by what the client accepts."""

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
"""The media type of each format, the usual one first."""
_ALIASES = {"text/html": "json", "application/x-msgpack": "msgpack", "application/vnd.msgpack": "msgpack"}
# Parquet is compressed as it is; gzip would slow an Arrow stream down, and clients accept it without a thought.
_ENCODINGS: Mapping[str, tuple[str, ...]] = {"arrow": ("zstd",), "parquet": ()}
_ALL_ENCODINGS = ("zstd", "gzip")


def content_type(format_name: str) -> str:
    """The media type as it is sent."""
    return f"{MEDIA[format_name]}; charset=utf-8" if format_name == "csv" else MEDIA[format_name]


@lru_cache(1024)
def format_of(asked: str | None, accept: str, offered: Sequence[str]) -> str:
    """The format asked for by name, else the most wanted one of those offered; the first where all are alike.

    Raises UsageError for a name there is not, ProblemError (406) where none offered is accepted.
    """
    if asked is not None:
        if asked not in offered:
            raise UsageError(f"format: expected one of {' '.join(offered)}, was {asked[:80]!r}")
        return asked
    if not accept.strip():
        return offered[0]
    wanted = _weighed(accept)
    best, highest = "", 0.0
    for name in offered:
        weight = _weight(name, wanted)
        if weight > highest:
            best, highest = name, weight
    if not best:
        raise ProblemError(
            NOT_ACCEPTABLE,
            f"Accept: expected one of {' '.join(MEDIA[name] for name in offered)}, was {accept[:200]!r}",
            remedy=f"Send one of them, or add format={offered[0]} to the address.",
        )
    return best


@lru_cache(1024)
def encoding_of(accept_encoding: str, format_name: str) -> str:
    """zstd or gzip where the client accepts it and the format gains by it, else an empty text."""
    wanted = _weighed(accept_encoding)
    best, highest = "", 0.0
    for name in _ENCODINGS.get(format_name, _ALL_ENCODINGS):
        weight = wanted.get(name, wanted.get("*", 0.0))
        if weight > highest:
            best, highest = name, weight
    return best


def _weighed(header: str) -> dict[str, float]:
    """The members of a header with their q, in small letters."""
    found: dict[str, float] = {}
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
        found[name] = max(weight, found.get(name, 0.0))
    return found


def _weight(format_name: str, wanted: Mapping[str, float]) -> float:
    media = MEDIA[format_name]
    names = [media, *(alias for alias, meant in _ALIASES.items() if meant == format_name)]
    named = [wanted[name] for name in names if name in wanted]
    if named:
        return max(named)
    return wanted.get(f"{media.partition('/')[0]}/*", wanted.get("*/*", 0.0))
