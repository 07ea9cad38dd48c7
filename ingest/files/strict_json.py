"""Parses JSON objects strictly: numbers as their original text, no unknown and no repeated keys.

Amounts of money must not pass through floating point, and an unknown key could change the meaning of others.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ingest.files.blocks import SourceColumns

_INTEGER = re.compile(r"-?[0-9]+")
_MAX_QUOTED = 100


class JsonNumber(str):
    """The original text of a JSON number, NaN or Infinity."""

    __slots__ = ()


class JsonObject(tuple[tuple[str, Any], ...]):
    """The (key, value) pairs of a JSON object in order, repeated keys included."""

    __slots__ = ()


DECODER = json.JSONDecoder(
    object_pairs_hook=JsonObject, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=JsonNumber
)
RecordFields = list[str | None]
"""The text of each wanted column's value, None where missing."""


def parse_line(line: bytes, wanted: SourceColumns) -> RecordFields | str:
    """The fields of a line with one object, or the reason for rejecting it."""
    try:
        value = DECODER.decode(line.decode())
    except (ValueError, RecursionError) as reason:
        return f"line: expected a JSON object, was no JSON: {str(reason)[:_MAX_QUOTED]}"
    return record_fields(value, wanted)


def record_fields(value: Any, wanted: SourceColumns) -> RecordFields | str:
    """The fields of one value decoded by `DECODER`, or the reason for rejecting it.

    A whole number is a JSON number without point or exponent; a decimal a JSON number or its text in a string.
    """
    if type(value) is not JsonObject:
        return f"record: expected a JSON object, was {describe_value(value)}"
    record = dict(value)
    if len(record) < len(value):
        keys = [key for key, _ in value]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        return f"record: expected each key once, was {describe_value(twice)} more than once"
    found: RecordFields = []
    for column, source in wanted:
        given = record.pop(source, None)
        if given is None:
            found.append(None)
            continue
        if column.type in ("long", "short"):
            if type(given) is not JsonNumber or not _INTEGER.fullmatch(given):
                return f"{column.name}: expected a whole number, was {describe_value(given)}"
        elif not isinstance(given, str) or not given.isascii():
            what = "a time" if column.type == "time" else "a number"
            return f"{column.name}: expected {what}, was {describe_value(given)}"
        found.append(str(given))
    if record:
        known = ", ".join(source for _, source in wanted)
        return f"record: expected the keys {known}, was also {describe_value(next(iter(record)))}"
    return found


def describe_value(value: Any) -> str:
    """A value as short, printable text for an error message."""
    if type(value) is JsonNumber:
        text = str(value)
    elif isinstance(value, str):
        text = repr(value[:_MAX_QUOTED])
    elif isinstance(value, (JsonObject, list)):
        return "an object" if isinstance(value, JsonObject) else "a list"
    else:
        text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "..."
