"""Parses requests of account trades: one JSON object, a JSON array of them, or objects line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files.conversion import RowFaults, convert_column
from ingest.files.iso_times import IsoTimes
from ingest.files.mapping import ACCOUNT_TRADE_KEYS
from ingest.files.strict_json import DECODER, RecordFields, record_fields
from ingest.files.times import TimeFormat
from ingest.validation import invalid_rows as values_at_fault
from tapehouse.batch import Batch, ColumnData
from tapehouse.clock import now_ns
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, Column

ROWS_MAX = 5_000
BYTES_MAX = 2**20
VENUE = "accounts"
"""The venue of account trades where one is required (subjects, quarantine)."""
_COLUMNS = [(ACCOUNT_TRADES.column(name), source) for name, source in ACCOUNT_TRADE_KEYS.items()]
_TIME = "a time with a zone, such as 2024-11-05T22:02:53Z"
_SAFE_DIGITS = {"long": 19, "short": 5}
"""A number of fewer characters than this, sign included, fits the type."""
_BLANK = " \t\r\n"
_BLANKS = re.compile(f"[{_BLANK}]*")
_BOM = b"\xef\xbb\xbf"


@dataclass
class AccountRequest:
    """The records of one request, in their order."""

    received_ns: int
    originals: list[str]
    """The original text of each record; bytes that are not UTF-8 as surrogates."""
    rows: dict[int, RecordFields]
    """Index from 0 -> the fields of each valid record."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Index -> why the record was rejected."""

    def original(self, place: int) -> bytes:
        """The original of one record, on one line."""
        # JSON has line ends only between tokens.
        text = self.originals[place].replace("\r", " ").replace("\n", " ")
        return text.encode(errors="surrogateescape")


def parse_request(payload: bytes, received_ns: int) -> AccountRequest:
    """The records of a payload received at `received_ns`, each accepted or rejected alone.

    Raises UsageError for a payload that cannot be parsed: too large, empty, truncated, not JSON.
    """
    if len(payload) > BYTES_MAX:
        raise UsageError(
            f"payload: expected at most {BYTES_MAX} bytes, was {len(payload)}",
            remedy="Send it in several requests.",
        )
    text = payload.removeprefix(_BOM).decode(errors="surrogateescape")
    start = _skip_blanks(text, 0)
    if start == len(text):
        raise UsageError("payload: expected account trades in JSON, was empty")
    found = list(_array_elements(text, start + 1) if text[start] == "[" else _decode_values(text))
    if found and all(isinstance(value, _InvalidJson) for _, value in found):
        raise UsageError(
            f"payload: expected JSON, was {text[start : start + 40]!r}",
            remedy="Send one object, an array of them, or one object a line.",
        )
    request = AccountRequest(received_ns, [original for original, _ in found], {})
    for place, (_, value) in enumerate(found):
        record = value.reason if isinstance(value, _InvalidJson) else record_fields(value, _COLUMNS)
        if isinstance(record, str):
            request.reasons[place] = record
        else:
            request.rows[place] = record
    return request


def to_batch(requests: Sequence[AccountRequest]) -> Batch:
    """The valid rows of requests, in order; the others move to `reasons` of their request."""
    owners = [(request, place) for request in requests for place in request.rows]
    rows = [request.rows[place] for request, place in owners]
    faults = RowFaults()
    columns: dict[str, ColumnData] = {}
    for index, (column, _) in enumerate(_COLUMNS):
        texts = [row[index] for row in rows]
        wholes = _fast_integers(column, texts)
        if wholes is not None:
            columns[column.name] = wholes
            continue
        values = pl.Series(texts, dtype=pl.String)
        if column.type == "time":
            instants = IsoTimes(values)
            faults.add(column, ~(instants.valid & instants.has_zone), _TIME, values)
            columns[column.name] = instants.ns
        else:
            columns[column.name] = convert_column(column, values, TimeFormat(), faults)
    columns["ts_recv"] = np.array([request.received_ns for request, _ in owners], np.int64)
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


def _fast_integers(column: Column, texts: RecordFields) -> NDArray[Any] | None:
    """Whole numbers where all are present and fit, else None.

    The column-wise conversion takes milliseconds for one row, and most requests have one row.
    """
    if column.type not in ("long", "short"):
        return None
    sure = [int(text) for text in texts if text is not None and len(text) < _SAFE_DIGITS[column.type]]
    return np.array(sure, column.types.numpy) if len(sure) == len(texts) else None


@dataclass(frozen=True)
class _InvalidJson:
    reason: str


def _skip_blanks(text: str, at: int) -> int:
    """The index of the next character that is not blank, or the end."""
    blank = _BLANKS.match(text, at)
    assert blank is not None
    return blank.end()


def _check_row_limit(place: int) -> None:
    if place >= ROWS_MAX:
        raise UsageError(
            f"payload: expected at most {ROWS_MAX:,} trades, was more", remedy="Send it in several requests."
        )


def _array_elements(text: str, at: int) -> Iterator[tuple[str, Any]]:
    """Each element of an array whose first begins at `at`, as written and as read."""
    at = _skip_blanks(text, at)
    ended = text[at : at + 1] == "]"
    place = 0
    while not ended:
        _check_row_limit(place)
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as reason:
            raise _invalid_array_error(place, str(reason)) from None
        yield text[at:end], value
        at = _skip_blanks(text, end)
        if text[at : at + 1] not in ("]", ","):
            raise _invalid_array_error(place, f"expected , or ] at {at}")
        ended = text[at] == "]"
        at, place = at if ended else _skip_blanks(text, at + 1), place + 1
    if _skip_blanks(text, at + 1) != len(text):
        raise _invalid_array_error(place, f"expected its end at {at + 1}")


def _invalid_array_error(place: int, reason: str) -> UsageError:
    return UsageError(
        f"payload: expected a JSON array, was none at element {place}: {reason[:100]}",
        remedy="Nothing of it was taken: send the whole array, or one object a line.",
    )


def _decode_values(text: str) -> Iterator[tuple[str, Any]]:
    """One value, or the values of JSON lines."""
    whole = _decode_value(text)
    if not isinstance(whole, _InvalidJson):
        yield text, whole
        return
    lines = (line for line in text.split("\n") if line.strip(_BLANK))
    for place, line in enumerate(lines):
        _check_row_limit(place)
        yield line, _decode_value(line)


def _decode_value(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as reason:
        return _InvalidJson(f"line: expected a JSON object, was no JSON: {str(reason)[:100]}")
