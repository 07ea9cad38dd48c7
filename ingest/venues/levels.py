"""Book levels, [["price", "size"], ...], parsed without a list and two strings for each level.

Most bytes of a capture are levels. Where a message has the venue's usual layout, its levels stay bytes until those
of many messages are parsed together; any other layout is decoded as ordinary JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ingest.venues.fields import FieldError, expect_types, min_max, parse_decimals, parse_number_list
from tapehouse.batch import Lists
from tapehouse.model import PRICE_MAX, SIZE_MAX

RAW_LEVELS_MIN_BYTES = 400
"""Size of a message from which cutting its levels out is faster."""
_DIGITS, _PUNCTUATION = b"0123456789.-", b'"[]'
_PLACEHOLDER = 7_318_349_394_477_056
"""Replaces levels cut out of a message; no venue sends it."""
_REPLACEMENT = b',"%b":%d,"%b":%d'
_KEYS = (
    (b',"b":[', b'],"a":[', _REPLACEMENT % (b"b", _PLACEHOLDER, b"a", _PLACEHOLDER), "b", "a"),
    (
        b',"bids":[',
        b'],"asks":[',
        _REPLACEMENT % (b"bids", _PLACEHOLDER, b"asks", _PLACEHOLDER),
        "bids",
        "asks",
    ),
)


def decode_messages(messages: Sequence[bytes]) -> list[Any]:
    """Decoded messages, levels as bytes where all have the usual layout.

    Raises orjson.JSONDecodeError where a message is no JSON.
    """
    loads = orjson.loads
    cuts: list[bytes] = []
    bodies = [
        loads(message) if len(message) <= RAW_LEVELS_MIN_BYTES else _decode_cutting_levels(message, cuts)
        for message in messages
    ]
    return bodies if _have_usual_layout(cuts) else [loads(message) for message in messages]


def _decode_cutting_levels(message: bytes, cuts: list[bytes]) -> Any:
    """A decoded message with its levels as bytes, which are added to `cuts`."""
    for first, second, replacement, bids, asks in _KEYS:
        start = message.find(first)
        middle = message.find(second, start)
        end = message.rfind(b"]") + 1
        if not 0 <= start < middle < end:
            continue
        try:
            found = orjson.loads(message[:start] + replacement + message[end:])
        except orjson.JSONDecodeError:
            break
        body = found.get("data", found) if type(found) is dict else None
        if type(body) is dict and body.get(bids) == body.get(asks) == _PLACEHOLDER:
            body[bids] = message[start + len(first) - 1 : middle + 1]
            body[asks] = message[middle + len(second) - 1 : end]
            cuts += body[bids], body[asks]
            return found
    return orjson.loads(message)


def _have_usual_layout(cuts: list[bytes]) -> bool:
    """Whether each is [["number","number"],...] to the byte, or []; the numbers are not checked."""
    rows = [cut for cut in cuts if cut != b"[]"]
    if not rows:
        return True
    counts = [row.count(b'","') for row in rows]
    text = b",".join(rows)
    # The shape proves the order of the punctuation, the counts that no digit is between it.
    return (
        text.translate(None, _DIGITS) == b",".join(map(_shape, counts))
        and text.count(b'"],["') == sum(counts) - len(rows)
        and text.count(b'[["') == len(rows) == text.count(b'"]]')
        and text.count(b'"]],[["') == len(rows) - 1
    )


@lru_cache(1_000)
def _shape(count: int) -> bytes:
    return b"[" + b",".join([b'["",""]'] * count) + b"]"


def parse_levels(name: str, rows: Sequence[Any]) -> tuple[Lists, Lists]:
    """(prices, sizes) of the levels of many messages, each decoded or as bytes.

    Raises FieldError where levels are malformed or out of the model's bounds.
    """
    cut = [row for row in rows if type(row) is bytes]
    if len(cut) == len(rows):
        return _split_checked(name, *_parse_bytes(name, cut))
    numbers, counts = _parse_lists(name, [row for row in rows if type(row) is not bytes])
    if cut:
        is_cut = np.array([type(row) is bytes for row in rows])
        cut_numbers, cut_counts = _parse_bytes(name, cut)
        counts = _merge_by_mask(is_cut, cut_counts, counts)
        numbers = _merge_by_mask(np.repeat(is_cut, 2 * counts), cut_numbers, numbers)
    return _split_checked(name, numbers, counts)


def _parse_bytes(name: str, rows: list[bytes]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(prices and sizes alternating, number of levels of each row)."""
    text = b",".join([row for row in rows if row != b"[]"]).translate(None, _PUNCTUATION)
    found = parse_number_list(text)
    if found is None:
        return _parse_lists(name, [orjson.loads(row) for row in rows])
    return np.array(found, np.float64), np.array([row.count(b'","') for row in rows], np.int64)


def _parse_lists(name: str, rows: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As `_parse_bytes`, of decoded levels."""
    expect_types(name, "a list of levels", rows, list)
    flat = list(chain.from_iterable(rows))
    expect_types(name, "levels as [price, size]", flat, list)
    if set(map(len, flat)) - {2}:
        raise FieldError(f"{name}: expected levels as [price, size], was one of another length")
    numbers = parse_decimals(name, list(chain.from_iterable(flat)), -PRICE_MAX, SIZE_MAX)
    return numbers, np.array(list(map(len, rows)), np.int64)


def _merge_by_mask(mask: NDArray[np.bool_], chosen: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """`chosen` where the mask is set and `others` elsewhere, each in order."""
    found = np.empty(len(mask), chosen.dtype)
    found[mask], found[~mask] = chosen, others
    return found


def _split_checked(name: str, numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[Lists, Lists]:
    prices, sizes = numbers[0::2].copy(), numbers[1::2].copy()
    lowest, highest = min_max(prices) if len(prices) else (0, 0)
    smallest, largest = min_max(sizes) if len(sizes) else (0, 0)
    if lowest < -PRICE_MAX or highest > PRICE_MAX or smallest < 0 or largest > SIZE_MAX:
        raise FieldError(
            f"{name}: expected prices to {PRICE_MAX:g} and sizes from 0 to {SIZE_MAX:g}, was otherwise"
        )
    last = counts.cumsum()
    return Lists(prices, last), Lists(sizes, last)
