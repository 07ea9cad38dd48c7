import random
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.venues import levels as module
from ingest.venues.fields import FieldError
from ingest.venues.levels import decode_messages, parse_levels

PRICES = st.decimals(0, 10**9, places=5).map(lambda price: f"{price:f}")
BOOKS = st.lists(st.lists(PRICES, min_size=2, max_size=2), max_size=8)


@pytest.fixture(autouse=True, scope="module")
def levels_of_short_messages_are_cut_out() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RAW_LEVELS_MIN_BYTES", 0)
        yield


def message(bids: object, asks: object) -> bytes:
    return orjson.dumps({"e": "depthUpdate", "E": 5, "b": bids, "a": asks})


@given(st.lists(st.tuples(BOOKS, BOOKS), min_size=1, max_size=6), st.booleans())
@settings(deadline=None)
def test_bytes_and_lists_give_the_same(books: list[tuple[object, object]], combined: bool) -> None:
    raw = [message(*book) for book in books]
    if combined:
        raw = [b'{"stream":"x@depth","data":%b}' % one for one in raw]
    cut = decode_messages(raw)
    plain = [orjson.loads(one) for one in raw]
    if combined:
        cut, plain = [one["data"] for one in cut], [one["data"] for one in plain]
    for side in ("b", "a"):
        assert all(type(body[side]) is bytes for body in cut)
        fast = parse_levels(side, [body[side] for body in cut])
        slow = parse_levels(side, [body[side] for body in plain])
        for one, other in zip(fast, slow, strict=True):
            assert one.values.tolist() == other.values.tolist()
            assert one.ends.tolist() == other.ends.tolist()
            assert one.values.tolist() == [float(text) for text in _texts(plain, side, one is fast[1])]


def _texts(bodies: list[dict[str, list[list[str]]]], side: str, sizes: bool) -> list[str]:
    return [level[sizes] for body in bodies for level in body[side]]


def test_levels_as_bytes_and_as_lists_stand_together() -> None:
    rows = [b'[["1","2"],["3","4"]]', [["5", "6"]], b"[]", [], [["7", "8"], ["9", "10"]], b'[["11","12"]]']
    prices, sizes = parse_levels("b", rows)
    assert [prices.row(n).tolist() for n in range(6)] == [[1, 3], [5], [], [], [7, 9], [11]]
    assert [sizes.row(n).tolist() for n in range(6)] == [[2, 4], [6], [], [], [8, 10], [12]]


def test_levels_elsewhere_are_left_to_the_decoder() -> None:
    for raw in (
        b'{"x":{"q":1,"b":[["1","2"]],"a":[["3","4"]]}}',
        b'{"q":1,"b":[["1","2"]],"b":[],"a":[["3","4"]]}',
        b'{"q":1,"b":[["1","2"]],"a":[["3","4"]],"a":[]}',
        b'{"q":1,"b": [["1","2"]],"a":[["3","4"]]}',
        b'{"q":1,"b":[["1","2","3","4"]],"a":[]}',
        b'{"q":1,"b":[["1"],["2","3","4"]],"a":[]}',
        b'{"q":1,"b":[5],"a":[]}',
        b"[]",
    ):
        assert decode_messages([raw]) == [orjson.loads(raw)]


def test_numbers_outside_their_strings_are_no_levels() -> None:
    for bids in (b'[["1"2,"3"]]', b'[["1",2"3"]]', b'[["1","3"]5,["1","3"]]', b'[["1","3"]],', b'[["1",""]]'):
        raw = b'{"q":1,"b":%b,"a":[]}' % bids
        with pytest.raises((FieldError, orjson.JSONDecodeError)):
            parse_levels("b", [decode_messages([raw])[0]["b"], b'[["1","2"]]'])


def test_mutated_levels_are_what_the_decoder_makes_of_them() -> None:
    chance = random.Random(3)
    whole = message([["61737.63", "0.5"], ["1.0", "2"]], [["3", "4.25"]])
    read = 0
    for _ in range(20_000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            if chance.random() < 0.5:
                changed[at] = chance.choice(b'0123456789"[]{},:.-ba')
            else:
                del changed[at]
        raw = bytes(changed)
        try:
            expected = [parse_levels(side, [orjson.loads(raw)[side]]) for side in ("b", "a")]
        except (FieldError, orjson.JSONDecodeError, KeyError, TypeError):
            expected = None
        try:
            found = [parse_levels(side, [decode_messages([raw])[0][side]]) for side in ("b", "a")]
        except (FieldError, orjson.JSONDecodeError, KeyError, TypeError):
            found = None
        assert (found is None) == (expected is None), raw
        if found is not None and expected is not None:
            read += 1
            for one, other in zip(found, expected, strict=True):
                for fast, slow in zip(one, other, strict=True):
                    assert np.array_equal(fast.values, slow.values), raw
                    assert np.array_equal(fast.ends, slow.ends), raw
    assert read > 1_000
