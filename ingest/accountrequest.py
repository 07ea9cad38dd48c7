"""What a sender of account trades asks for: one JSON object, a JSON array of them, or objects line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.feeds.conversion import Faults, convert
from ingest.feeds.instants import Instants
from ingest.feeds.mapping import DOCUMENTED
from ingest.feeds.records import DECODER, Fields, fields
from ingest.feeds.times import Reading
from ingest.validation import faults as values_at_fault
from tapehouse.batch import Batch, ColumnData
from tapehouse.clock import now_ns
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, Column

ROWS_MAX = 5_000
BYTES_MAX = 2**20
VENUE = "accounts"
"""Account trades have no venue; where one is asked for (subjects, the quarantine), it is this."""
_COLUMNS = [(ACCOUNT_TRADES.column(name), source) for name, source in DOCUMENTED.items()]
_TIME = "a time with a zone, such as 2024-11-05T22:02:53Z"
_SURE_DIGITS = {"long": 19, "short": 5}
"""Fewer characters than this, sign included, are a number that fits."""
_BLANK = " \t\r\n"
_BLANKS = re.compile(f"[{_BLANK}]*")
_BOM = b"\xef\xbb\xbf"


@dataclass
class Request:
    """The records of one request, in their order."""

    came_ns: int
    originals: list[str]
    """What was written for each; bytes that are no UTF-8 as surrogates."""
    rows: dict[int, Fields]
    """By their place from 0: the fields of those that are records so far."""
    reasons: dict[int, str] = field(default_factory=dict)
    """By their place: why the others are none."""

    def original(self, place: int) -> bytes:
        """What was written for one, on one line."""
        # A JSON text has line ends between its tokens alone.
        text = self.originals[place].replace("\r", " ").replace("\n", " ")
        return text.encode(errors="surrogateescape")


def read(payload: bytes, came_ns: int) -> Request:
    """The records of a payload that came in at `came_ns`, each judged by itself.

    Raises UsageError for a payload that cannot be read at all: too large, empty, cut off, no JSON.
    """
    if len(payload) > BYTES_MAX:
        raise UsageError(
            f"payload: expected at most {BYTES_MAX} bytes, was {len(payload)}",
            remedy="Send it in several requests.",
        )
    text = payload.removeprefix(_BOM).decode(errors="surrogateescape")
    start = _next(text, 0)
    if start == len(text):
        raise UsageError("payload: expected account trades in JSON, was empty")
    found = list(_elements(text, start + 1) if text[start] == "[" else _values(text))
    if found and all(isinstance(value, _NoJson) for _, value in found):
        raise UsageError(
            f"payload: expected JSON, was {text[start : start + 40]!r}",
            remedy="Send one object, an array of them, or one object a line.",
        )
    request = Request(came_ns, [original for original, _ in found], {})
    for place, (_, value) in enumerate(found):
        record = value.reason if isinstance(value, _NoJson) else fields(value, _COLUMNS)
        if isinstance(record, str):
            request.reasons[place] = record
        else:
            request.rows[place] = record
    return request


def batch_of(requests: Sequence[Request]) -> Batch:
    """The good rows of requests, in their order; the others get their reasons."""
    owners = [(request, place) for request in requests for place in request.rows]
    rows = [request.rows[place] for request, place in owners]
    faults = Faults()
    columns: dict[str, ColumnData] = {}
    for index, (column, _) in enumerate(_COLUMNS):
        texts = [row[index] for row in rows]
        wholes = _wholes(column, texts)
        if wholes is not None:
            columns[column.name] = wholes
            continue
        values = pl.Series(texts, dtype=pl.String)
        if column.type == "time":
            instants = Instants(values)
            faults.add(column, ~(instants.read & instants.zoned), _TIME, values)
            columns[column.name] = instants.ns
        else:
            columns[column.name] = convert(column, values, Reading(), faults)
    columns["ts_recv"] = np.array([request.came_ns for request, _ in owners], np.int64)
    batch = Batch(ACCOUNT_TRADES, VENUE, len(rows), {name: columns[name] for name in ACCOUNT_TRADES.names})
    found = {**values_at_fault(batch, now_ns()), **faults.reasons}
    if not found:
        return batch
    good = np.ones(len(rows), np.bool_)
    good[list(found)] = False
    for row, reason in found.items():
        request, place = owners[row]
        del request.rows[place]
        request.reasons[place] = reason
    return batch.take(good)


def _wholes(column: Column, texts: Fields) -> NDArray[Any] | None:
    """Whole numbers, where all are there and fit; None where not: their rows are to be found.

    The general way takes milliseconds for a single row, and requests of one row are what is usual.
    """
    if column.type not in ("long", "short"):
        return None
    sure = [int(text) for text in texts if text is not None and len(text) < _SURE_DIGITS[column.type]]
    return np.array(sure, column.types.numpy) if len(sure) == len(texts) else None


@dataclass(frozen=True)
class _NoJson:
    reason: str


def _next(text: str, at: int) -> int:
    """The place of the next character that is not blank, or the end."""
    blank = _BLANKS.match(text, at)
    assert blank is not None
    return blank.end()


def _counted(place: int) -> None:
    if place >= ROWS_MAX:
        raise UsageError(
            f"payload: expected at most {ROWS_MAX:,} trades, was more", remedy="Send it in several requests."
        )


def _elements(text: str, at: int) -> Iterator[tuple[str, Any]]:
    """Each element of an array whose first begins at `at`, as written and as read."""
    at = _next(text, at)
    ended = text[at : at + 1] == "]"
    place = 0
    while not ended:
        _counted(place)
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as reason:
            raise _no_array(place, str(reason)) from None
        yield text[at:end], value
        at = _next(text, end)
        if text[at : at + 1] not in ("]", ","):
            raise _no_array(place, f"expected , or ] at {at}")
        ended = text[at] == "]"
        at, place = at if ended else _next(text, at + 1), place + 1
    if _next(text, at + 1) != len(text):
        raise _no_array(place, f"expected its end at {at + 1}")


def _no_array(place: int, reason: str) -> UsageError:
    return UsageError(
        f"payload: expected a JSON array, was none at element {place}: {reason[:100]}",
        remedy="Nothing of it was taken: send the whole array, or one object a line.",
    )


def _values(text: str) -> Iterator[tuple[str, Any]]:
    """One value, or those of JSON lines."""
    whole = _value(text)
    if not isinstance(whole, _NoJson):
        yield text, whole
        return
    lines = (line for line in text.split("\n") if line.strip(_BLANK))
    for place, line in enumerate(lines):
        _counted(place)
        yield line, _value(line)


def _value(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as reason:
        return _NoJson(f"line: expected a JSON object, was no JSON: {str(reason)[:100]}")
