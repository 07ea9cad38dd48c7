"""Levels of books, [["price", "size"], ...], read without making a list and two strings of each.

Most bytes of a capture are levels. Where a message is written as the venue writes it, its levels stay bytes
until those of many messages become numbers together; written otherwise, it is decoded like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ingest.feeds.fields import Fault, doubles, ends, expect_types, numbers_in
from tapehouse.batch import Lists
from tapehouse.model import PRICE_MAX, SIZE_MAX

LONG = 400
"""Bytes above which it is quicker to cut the levels out."""
_DIGITS, _MARKS = b"0123456789.-", b'"[]'
_CUT = 7_318_349_394_477_056
"""Stands for levels cut out of a message; no venue sends it."""
_INSTEAD = b',"%b":%d,"%b":%d'
_KEYS = (
    (b',"b":[', b'],"a":[', _INSTEAD % (b"b", _CUT, b"a", _CUT), "b", "a"),
    (b',"bids":[', b'],"asks":[', _INSTEAD % (b"bids", _CUT, b"asks", _CUT), "bids", "asks"),
)


def decoded(messages: Sequence[bytes]) -> list[Any]:
    """The JSON of messages, levels as their bytes where all are written as usual.

    Raises orjson.JSONDecodeError where a message is no JSON.
    """
    loads = orjson.loads
    cuts: list[bytes] = []
    bodies = [loads(message) if len(message) <= LONG else _cut(message, cuts) for message in messages]
    return bodies if _usual(cuts) else [loads(message) for message in messages]


def _cut(message: bytes, cuts: list[bytes]) -> Any:
    """A message's JSON with its levels as bytes, which are added to `cuts`."""
    for first, second, instead, bids, asks in _KEYS:
        start = message.find(first)
        middle = message.find(second, start)
        end = message.rfind(b"]") + 1
        if not 0 <= start < middle < end:
            continue
        try:
            found = orjson.loads(message[:start] + instead + message[end:])
        except orjson.JSONDecodeError:
            break
        body = found.get("data", found) if type(found) is dict else None
        if type(body) is dict and body.get(bids) == body.get(asks) == _CUT:
            body[bids] = message[start + len(first) - 1 : middle + 1]
            body[asks] = message[middle + len(second) - 1 : end]
            cuts += body[bids], body[asks]
            return found
    return orjson.loads(message)


def _usual(cuts: list[bytes]) -> bool:
    """Each is [["number","number"],...] to the byte, or []; what the numbers are is not looked at."""
    rows = [cut for cut in cuts if cut != b"[]"]
    if not rows:
        return True
    counts = [row.count(b'","') for row in rows]
    text = b",".join(rows)
    # The shape says that the marks stand in this order, the counts that no digit stands between them.
    return (
        text.translate(None, _DIGITS) == b",".join(map(_shape, counts))
        and text.count(b'"],["') == sum(counts) - len(rows)
        and text.count(b'[["') == len(rows) == text.count(b'"]]')
        and text.count(b'"]],[["') == len(rows) - 1
    )


@lru_cache(1_000)
def _shape(count: int) -> bytes:
    return b"[" + b",".join([b'["",""]'] * count) + b"]"


def levels(name: str, rows: Sequence[Any]) -> tuple[Lists, Lists]:
    """Levels of many messages, decoded or as bytes, as prices and sizes."""
    cut = [row for row in rows if type(row) is bytes]
    if len(cut) == len(rows):
        return _checked(name, *_from_bytes(name, cut))
    numbers, counts = _from_lists(name, [row for row in rows if type(row) is not bytes])
    if cut:
        is_cut = np.array([type(row) is bytes for row in rows])
        cut_numbers, cut_counts = _from_bytes(name, cut)
        counts = _interleaved(is_cut, cut_counts, counts)
        numbers = _interleaved(np.repeat(is_cut, 2 * counts), cut_numbers, numbers)
    return _checked(name, numbers, counts)


def _from_bytes(name: str, rows: list[bytes]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Prices and sizes in turn, and how many levels each row has."""
    text = b",".join([row for row in rows if row != b"[]"]).translate(None, _MARKS)
    found = numbers_in(text)
    if found is None:
        return _from_lists(name, [orjson.loads(row) for row in rows])
    return np.array(found, np.float64), np.array([row.count(b'","') for row in rows], np.int64)


def _from_lists(name: str, rows: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As `_from_bytes`, of decoded levels."""
    expect_types(name, "a list of levels", rows, list)
    flat = list(chain.from_iterable(rows))
    expect_types(name, "levels as [price, size]", flat, list)
    if set(map(len, flat)) - {2}:
        raise Fault(f"{name}: expected levels as [price, size], was one of another length")
    numbers = doubles(name, list(chain.from_iterable(flat)), -PRICE_MAX, SIZE_MAX)
    return numbers, np.array(list(map(len, rows)), np.int64)


def _interleaved(mask: NDArray[np.bool_], chosen: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """The chosen where the mask is set and the others elsewhere, each in order."""
    found = np.empty(len(mask), chosen.dtype)
    found[mask], found[~mask] = chosen, others
    return found


def _checked(name: str, numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[Lists, Lists]:
    prices, sizes = numbers[0::2].copy(), numbers[1::2].copy()
    lowest, highest = ends(prices) if len(prices) else (0, 0)
    smallest, largest = ends(sizes) if len(sizes) else (0, 0)
    if lowest < -PRICE_MAX or highest > PRICE_MAX or smallest < 0 or largest > SIZE_MAX:
        raise Fault(
            f"{name}: expected prices to {PRICE_MAX:g} and sizes from 0 to {SIZE_MAX:g}, was otherwise"
        )
    last = counts.cumsum()
    return Lists(prices, last), Lists(sizes, last)
