"""JSON objects read strictly: every number as the text it is written in, every key known, none twice.

Amounts of money must not pass through floating point, and a key that is not known could change what the
others mean.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ingest.feeds.blocks import Wanted

_WHOLE = re.compile(r"-?[0-9]+")
_SHOWN = 100


class Number(str):
    """A JSON number, or NaN or Infinity, as it is written."""

    __slots__ = ()


class Object(tuple[tuple[str, Any], ...]):
    """A JSON object: its keys and values in their order, a key as often as it is written."""

    __slots__ = ()


DECODER = json.JSONDecoder(
    object_pairs_hook=Object, parse_float=Number, parse_int=Number, parse_constant=Number
)
Fields = list[str | None]
"""The text of each wanted column's value, None where there is none."""


def read_line(line: bytes, wanted: Wanted) -> Fields | str:
    """The fields of a line that holds one object, or the reason why it has none."""
    try:
        value = DECODER.decode(line.decode())
    except (ValueError, RecursionError) as reason:
        return f"line: expected a JSON object, was no JSON: {str(reason)[:_SHOWN]}"
    return fields(value, wanted)


def fields(value: Any, wanted: Wanted) -> Fields | str:
    """The fields of one object that `DECODER` has read, or the reason why it is no record.

    A whole number is a JSON number without point or exponent; a decimal a JSON number or its text in a string.
    """
    if type(value) is not Object:
        return f"record: expected a JSON object, was {shown(value)}"
    record = dict(value)
    if len(record) < len(value):
        keys = [key for key, _ in value]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        return f"record: expected each key once, was {shown(twice)} more than once"
    found: Fields = []
    for column, source in wanted:
        given = record.pop(source, None)
        if given is None:
            found.append(None)
            continue
        if column.type in ("long", "short"):
            if type(given) is not Number or not _WHOLE.fullmatch(given):
                return f"{column.name}: expected a whole number, was {shown(given)}"
        elif not isinstance(given, str) or not given.isascii():
            what = "a time" if column.type == "time" else "a number"
            return f"{column.name}: expected {what}, was {shown(given)}"
        found.append(str(given))
    if record:
        known = ", ".join(source for _, source in wanted)
        return f"record: expected the keys {known}, was also {shown(next(iter(record)))}"
    return found


def shown(value: Any) -> str:
    """A value for a reason: short, and printable whatever it holds."""
    if type(value) is Number:
        text = str(value)
    elif isinstance(value, str):
        text = repr(value[:_SHOWN])
    elif isinstance(value, (Object, list)):
        return "an object" if isinstance(value, Object) else "a list"
    else:
        text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
