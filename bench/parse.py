"""Messages of venues from bytes to columns, beside a bare `orjson.loads` of the same bytes.

A line is one venue and type of message: us a message in calls of 2,000 (snapshots: of 20), what decoding
alone takes, and their ratio; then us a call of 1, 10 and 50 messages, as live feeds make them, the messages
being those of a connection behind others. Ours and the peer take turns; all are medians. `ratio` is the
worst of the trades'.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from bench import venue_messages
from ingest.venues.parse_result import Message, ParseResult

_TURNS = 25
_SMALL = (1, 10, 50)
_CALLS = 40


class Parser(Protocol):
    """What every venue's parser has."""

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> ParseResult:
        """The rows of messages."""


def measure() -> dict[str, Any]:
    """Medians by venue and type of message."""
    figures: dict[str, Any] = {}
    for name, (messages, fresh) in venue_messages.by_type().items():
        figures[name] = _large(messages, fresh) | _small(messages, fresh)
        print(name, figures[name], flush=True)
    return {
        "messages": venue_messages.origin(),
        **figures,
        "peer": "orjson.loads",
        "ratio": max(figure["ratio"] for name, figure in figures.items() if name.endswith(" trade")),
    }


def _large(messages: list[Message], fresh: Callable[[], Parser]) -> dict[str, float]:
    """us a message, all in one call."""
    ours, bare = [], []
    for _ in range(_TURNS):
        bare.append(_bare(messages) / len(messages))
        ours.append(_fed(fresh(), [messages]) / len(messages))
    return {
        "us": round(statistics.median(ours), 2),
        "loads_us": round(statistics.median(bare), 2),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 2),
    }


def _small(messages: list[Message], fresh: Callable[[], Parser]) -> dict[str, float]:
    """us a call, by how many messages are in one."""
    figures = {}
    for size in _SMALL:
        calls = [messages[start : start + size] for start in range(0, len(messages), size)][:_CALLS]
        calls = [call for call in calls if len(call) == size]
        parser = fresh()
        took = [_fed(parser, calls) / len(calls) for _ in range(_TURNS)] if calls else []
        if took:
            figures[f"call_of_{size}_us"] = round(statistics.median(took), 1)
    return figures


def _bare(messages: list[Message]) -> float:
    loads = orjson.loads
    began = time.perf_counter()
    for _, message in messages:
        loads(message)
    return (time.perf_counter() - began) * 1e6


def _fed(parser: Parser, calls: list[list[Message]]) -> float:
    began = time.perf_counter()
    for call in calls:
        parser.feed(call, str)
    return (time.perf_counter() - began) * 1e6
