"""Levels of books, [["price", "size"], ...], read without making a list and two strings of each.

Most bytes of a capture are levels. Where a message is written as the venue writes it, its levels stay bytes
until those of many messages become numbers together; written otherwise, it is decoded like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ingest.feeds.fields import Fault, doubles, expect_types, numbers_in
from tapehouse.batch import Lists
from tapehouse.model import PRICE_MAX, SIZE_MAX

LONG = 300
"""Bytes above which it is quicker to cut the levels out: more than any trade or quote has."""
_KEYS = ((b',"b":[', b'],"a":[', "b", "a"), (b',"bids":[', b'],"asks":[', "bids", "asks"))
_DIGITS, _MARKS = b"0123456789.-", b'"[]'
_SHAPE = b"[" + b'["",""],' * 10_000
_CUT = 7_318_349_394_477_056
"""Stands for levels cut out of a message; no venue sends it."""


def decoded(message: bytes) -> Any:
    """A message's JSON, its levels as bytes "price,size,price,size" where they are written as usual.

    Raises orjson.JSONDecodeError where it is no JSON.
    """
    for first, second, bids, asks in _KEYS:
        start = message.find(first)
        middle = message.find(second, start)
        end = message.rfind(b"]") + 1
        if 0 <= start < middle < end:
            bid_numbers = _numbers(message[start + len(first) - 1 : middle + 1])
            ask_numbers = _numbers(message[middle + len(second) - 1 : end])
            if bid_numbers is not None and ask_numbers is not None:
                names = bids.encode(), _CUT, asks.encode(), _CUT
                try:
                    found = orjson.loads(b'%b,"%b":%d,"%b":%d%b' % (message[:start], *names, message[end:]))
                except orjson.JSONDecodeError:
                    break
                body = found.get("data", found)
                if type(body) is dict and body.get(bids) == body.get(asks) == _CUT:
                    body[bids], body[asks] = bid_numbers, ask_numbers
                    return found
    return orjson.loads(message)


def _numbers(text: bytes) -> bytes | None:
    """What stands in the strings of levels, with commas between; None when these are no plain levels."""
    if text == b"[]":
        return b""
    shape = text.translate(None, _DIGITS)
    size = len(shape) - 1
    usual = (
        size % 8 == 0
        and shape[:-1] == _SHAPE[:size]
        and text.startswith(b'[["')
        and text.endswith(b'"]]')
        # With the marks in this order, these say that no digit is outside a string.
        and text.count(b'","') == size // 8
        and text.count(b'"],["') == size // 8 - 1
    )
    return text.translate(None, _MARKS) if usual else None


def _as_numbers(row: Any) -> Any:
    """Decoded levels as what `_numbers` makes of them; as they are where they are no plain levels."""
    if type(row) is not list or set(map(type, row)) - {list}:
        return row
    try:
        text = ",".join([price + "," + size for price, size in row])
    except (TypeError, ValueError):
        return row
    return text.encode() if text.count(",") == max(2 * len(row) - 1, 0) else row


def levels(name: str, rows: Sequence[Any]) -> tuple[Lists, Lists]:
    """Levels of many messages, decoded or as bytes, as prices and sizes."""
    texts = [row if type(row) is bytes else _as_numbers(row) for row in rows]
    if set(map(type, texts)) == {bytes}:
        text = b",".join(filter(None, texts))
        found = None if text.translate(None, _DIGITS + b",") else numbers_in(text)
        if found is not None:
            counts = [(text.count(b",") + 1) // 2 if text else 0 for text in texts]
            return _checked(name, np.array(found, np.float64), counts)
    return _one_by_one(name, [_pairs(row) if type(row) is bytes else row for row in rows])


def _pairs(numbers: bytes) -> list[list[str]]:
    texts = numbers.decode().split(",") if numbers else []
    return [list(pair) for pair in zip(texts[0::2], texts[1::2], strict=True)]


def _one_by_one(name: str, rows: Sequence[Any]) -> tuple[Lists, Lists]:
    expect_types(name, "a list of levels", rows, list)
    flat = list(chain.from_iterable(rows))
    expect_types(name, "levels as [price, size]", flat, list)
    if set(map(len, flat)) - {2}:
        raise Fault(f"{name}: expected levels as [price, size], was one of another length")
    numbers = doubles(name, list(chain.from_iterable(flat)), -PRICE_MAX, SIZE_MAX)
    return _checked(name, numbers, list(map(len, rows)))


def _checked(name: str, numbers: NDArray[np.float64], counts: Sequence[int]) -> tuple[Lists, Lists]:
    prices, sizes = numbers[0::2].copy(), numbers[1::2].copy()
    if len(prices) and not (
        prices.min() >= -PRICE_MAX
        and prices.max() <= PRICE_MAX
        and sizes.min() >= 0
        and sizes.max() <= SIZE_MAX
    ):
        raise Fault(
            f"{name}: expected prices to {PRICE_MAX:g} and sizes from 0 to {SIZE_MAX:g}, was otherwise"
        )
    ends = np.cumsum(np.array(counts, np.int64))
    return Lists(prices, ends), Lists(sizes, ends)
