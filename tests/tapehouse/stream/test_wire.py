"""Messages: what was packed is unpacked, and other bytes are refused as such, whatever they are."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MAX_TS
from tapehouse.errors import WireError
from tapehouse.model import ACCOUNT_TRADES, BARS, DEPTH, GAPS, QUOTES, TICKS, TRADES, Kind
from tapehouse.stream.wire import MAGIC, ROWS_MAX, VERSION, pack, unpack
from tests.batches import batch, batches, rows_of, same

_PREFIX = struct.Struct("<3sBI")
Change = Callable[[list[Any]], object]


def _header(message: bytes) -> list[Any]:
    size = _PREFIX.unpack_from(message)[2]
    header: list[Any] = msgpack.unpackb(message[8 : 8 + size])
    return header


def _buffers(message: bytes) -> bytes:
    size = 8 + _PREFIX.unpack_from(message)[2]
    return message[size + -size % 8 :]


def _message(header: object, buffers: bytes) -> bytes:
    packed = msgpack.packb(header)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(packed)) + packed
    return prefix + bytes(-len(prefix) % 8) + buffers


def _changed(message: bytes, change: Change) -> bytes:
    header = _header(message)
    change(header)
    return _message(header, _buffers(message))


def _place(kind: Kind, column: str) -> int:
    return [name for name in kind.names if name != "venue"].index(column)


def _one(kind: Kind, rows: int = 3) -> bytes:
    """A message whose columns are all different values, so that nothing is sent once."""
    for seed in range(1000):
        message = pack(batch(kind, rows, seed))
        sizes = [entry[1] for entry in _header(message)[3]]
        if min(sizes) >= rows:
            return message
    raise AssertionError("no such batch")


@given(batches())
def test_what_was_packed_is_unpacked(original: Batch) -> None:
    message = pack(original)
    assert same(unpack(message), original)
    assert pack(unpack(message)) == message


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_one_row_and_thousands_are_unpacked(kind: Kind) -> None:
    for rows in (1, 3_000):
        original = batch(kind, rows, rows)
        assert same(unpack(pack(original)), original)


def test_as_many_rows_as_there_may_be_are_unpacked() -> None:
    original = batch(ACCOUNT_TRADES, ROWS_MAX)
    assert same(unpack(pack(original)), original)


@given(st.lists(st.none() | st.text(), min_size=1, max_size=30))
def test_any_text_and_nothing_are_unpacked(texts: list[str | None]) -> None:
    original = batch(TRADES, len(texts))
    original.columns["conditions"] = Strings.of(texts)
    assert unpack(pack(original)).strings("conditions").to_list() == texts


@given(st.lists(st.lists(st.floats(), max_size=4), min_size=1, max_size=10))
def test_any_levels_are_unpacked_bit_for_bit(levels: list[list[float]]) -> None:
    original = batch(DEPTH, len(levels))
    original.columns["ask_sizes"] = Lists.of(levels)
    assert same(unpack(pack(original)), original)


@pytest.mark.parametrize("count", [0, 1, 254, 255, 65_534, 65_535])
@pytest.mark.parametrize("null", [False, True])
def test_codes_of_every_width_are_unpacked(count: int, null: bool) -> None:
    texts: list[str | None] = [str(number) for number in range(count)]
    texts += [None] if null or not texts else []
    original = _constant(TRADES, len(texts))
    original.columns["exchange"] = Strings.of(texts)
    assert unpack(pack(original)).strings("exchange").to_list() == texts


@given(batches(), st.integers(0, 2**32 - 1))
def test_the_same_rows_give_the_same_bytes(original: Batch, seed: int) -> None:
    message = pack(original)
    chance = np.random.default_rng(seed)
    widened = {
        name: Strings((*data.values, "unused"), data.codes.astype(chance.choice([np.int16, np.int64])))
        if isinstance(data, Strings)
        else data
        for name, data in original.columns.items()
    }
    assert pack(replace(original, columns=widened)) == message
    assert pack(Batch.concat([original, original]).slice(original.rows, 2 * original.rows)) == message
    assert pack(original.take(np.arange(original.rows))) == message


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_reading_copies_no_values(kind: Kind) -> None:
    message = _one(kind)
    whole = np.frombuffer(message, np.uint8)
    found = unpack(message)
    for name, data in found.columns.items():
        arrays = [data] if isinstance(data, np.ndarray) else []
        arrays = [data.values, data.ends] if isinstance(data, Lists) else arrays
        for array in arrays:
            assert np.shares_memory(array, whole), name
            assert not array.flags.writeable, name
            assert array.__array_interface__["data"][0] % 8 == whole.__array_interface__["data"][0] % 8, name


def _constant(kind: Kind, rows: int) -> Batch:
    """Rows that are all the same."""
    return batch(kind, 1).take(np.zeros(rows, np.int64))


def test_a_column_that_is_all_the_same_is_sent_once() -> None:
    original = _constant(QUOTES, 1000)
    message = pack(original)
    assert len(message) <= len(pack(batch(QUOTES, 1))) + 8
    assert same(unpack(message), original)
    assert not unpack(message).array("bid").flags.writeable


def test_an_optional_column_without_values_is_not_sent() -> None:
    made = batch(TRADES, 10)
    rows = {name: data for name, data in made.columns.items() if name != "trade_id"}
    without = Batch(TRADES, "V", 10, rows)
    data = pack(without)
    assert b"trade_id" not in data
    assert unpack(data).strings("trade_id").to_list() == [None] * 10
    unused = Batch(TRADES, "V", 10, {**rows, "trade_id": Strings(("a",), np.full(10, -1))})
    assert pack(unused) == data


def test_zeros_of_both_signs_and_every_nan_are_different() -> None:
    original = batch(QUOTES, 3)
    bits = np.array([0, 2**63, 0], np.uint64).view(np.float64)
    nans = np.array([0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 7], np.uint64).view(np.float64)
    original = replace(original, columns={**original.columns, "bid": bits, "ask": nans})
    assert same(unpack(pack(original)), original)


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_every_truncation_and_everything_appended_is_refused(kind: Kind) -> None:
    for message in (_one(kind), pack(batch(kind, 1))):
        for size in range(len(message)):
            with pytest.raises(WireError):
                unpack(message[:size])
        for size in range(1, 17):
            with pytest.raises(WireError):
                unpack(message + bytes(size))


def _unpacks_or_is_refused(message: bytes) -> None:
    """Refused as a WireError, or a batch that is whole: every row can be looked at and packed again."""
    try:
        found = unpack(message)
    except WireError:
        return
    assert len(rows_of(found)) == found.rows
    assert same(unpack(pack(found)), found)


@given(batches(max_rows=8), st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=150)
def test_flipped_bytes_are_refused_or_make_another_whole_batch(
    original: Batch, chance: random.Random, flips: int
) -> None:
    message = bytearray(pack(original))
    header = 8 + _PREFIX.unpack_from(message)[2]
    for _ in range(flips):
        # Half of them where they hurt most.
        place = chance.randrange(header) if chance.random() < 0.5 else chance.randrange(len(message))
        message[place] ^= 1 << chance.randrange(8)
    _unpacks_or_is_refused(bytes(message))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for message in (data, MAGIC + bytes([VERSION]) + data, _PREFIX.pack(MAGIC, VERSION, len(data)) + data):
        with pytest.raises(WireError):
            unpack(message)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([*TRADES.names, "trades", "quotes", "bars"])
    | st.builds(msgpack.Timestamp, st.integers(0, 2**33)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_values, st.binary(max_size=64))
def test_any_header_is_refused(header: object, buffers: bytes) -> None:
    with pytest.raises(WireError):
        unpack(_message(header, buffers))


@given(batches(max_rows=5), st.data())
@settings(max_examples=150)
def test_a_header_with_anything_in_any_place_is_refused_or_makes_another_whole_batch(
    original: Batch, data: st.DataObject
) -> None:
    def change(header: list[Any]) -> None:
        place: Any = header
        while True:
            index = data.draw(st.integers(0, len(place) - 1))
            if not isinstance(place[index], list) or not place[index] or data.draw(st.booleans()):
                break
            place = place[index]
        place[index] = data.draw(_values)

    _unpacks_or_is_refused(_changed(pack(original), change))


def _set(*path_and_value: Any) -> Change:
    *path, last, value = path_and_value

    def change(header: list[Any]) -> None:
        place: Any = header
        for step in path:
            place = place[step]
        place[last] = value

    return change


_PRICE, _SYMBOL = _place(TRADES, "price"), _place(TRADES, "symbol")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set(0, "nothing"), "unreadable header"),
        (_set(0, "bars"), "expected the columns of bars"),
        (_set(0, "quotes"), "expected the columns of quotes"),
        (_set(1, 7), "expected a venue"),
        (_set(1, ""), "expected a venue"),
        (_set(2, 0), "expected 1 to 65,536 rows, was 0"),
        (_set(2, -3), "rows, was -3"),
        (_set(2, 3.0), r"rows, was 3\.0"),
        (_set(2, True), "rows, was True"),
        (_set(2, 4), "expected 4 values, was 3"),
        (_set(2, 2**63), "rows, was 9223372036854775808"),
        (_set(3, {}), "expected the columns"),
        (_set(3, _PRICE, 1, -8), "was -8"),
        (_set(3, _PRICE, 1, 23), "items of 8 bytes, was 23"),
        (_set(3, _PRICE, 1, 24.0), r"was 24\.0"),
        (_set(3, _PRICE, 1, "24"), "was '24'"),
        (_set(3, _PRICE, 1, 16), "expected 3 values, was 2"),
        (_set(3, _PRICE, 1, 0), "expected 3 values, was 0"),
        (_set(3, _PRICE, 1, 2**64 - 8), "truncated"),
        (_set(3, _PRICE, 0, "size"), "expected the columns"),
        (_set(3, _PRICE, ["price", 24, 0]), "unreadable header"),
        (_set(3, _PRICE, ["price"]), "unreadable header"),
        (_set(3, _PRICE, 7), "unreadable header"),
        (_set(3, _SYMBOL, 2, []), "is outside"),
        (_set(3, _SYMBOL, 2, "abc"), "list of strings"),
        (_set(3, _SYMBOL, 2, ["a", b"b", "c"]), "list of strings"),
        (_set(3, _SYMBOL, 2, ["a", "b", "a"]), "distinct values"),
        (_set(3, _SYMBOL, 2, ["x" * 10**6, 1]), "list of strings"),
        (lambda header: header.append(1), "unreadable header"),
        (lambda header: header[3].append(["venue", 0, []]), "expected the columns"),
        (lambda header: header[3].append(header[3][0]), "expected the columns"),
        (lambda header: header[3].pop(), "expected the columns"),
        (lambda header: header[3].reverse(), "expected the columns"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_what_is_wrong(change: Change, reason: str) -> None:
    with pytest.raises(WireError, match=reason) as refusal:
        unpack(_changed(_one(TRADES), change))
    # The reason is kept with the message in quarantine, which takes 1 MB.
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "ends",
    [
        [1, 0, 1],
        [-1, 0, 1],
        [0, 0, 2],
        [1, 1, 2**62],
        # Each step, as 64 bits hold it, is above zero.
        [2**63 - 1, -(2**63), 1],
    ],
)
def test_list_ends_that_do_not_rise_to_the_count_are_refused(ends: list[int]) -> None:
    original = batch(DEPTH, 3)
    original.columns["bid_prices"] = Lists(np.array([7.0]), np.array(ends))
    with pytest.raises(WireError, match="bid_prices: list ends do not fit 3 rows and 1 values"):
        unpack(pack(original))


def test_list_ends_that_wrap_around_to_the_count_are_refused() -> None:
    original = batch(DEPTH, 4)
    original.columns["bid_prices"] = Lists(np.array([7.0]), np.array([2**63 - 1, -(2**63), -1, 1]))
    with pytest.raises(WireError, match="list ends do not fit"):
        unpack(pack(original))


def test_a_flag_that_is_neither_0_nor_1_is_refused() -> None:
    original = batch(DEPTH, 3)
    original.columns["snapshot"] = np.array([0, 1, 2], np.uint8).view(np.bool_)
    with pytest.raises(WireError, match="snapshot: expected only 0 and 1"):
        unpack(pack(original))


@pytest.mark.parametrize("ts", [-1, MAX_TS, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("column", ["ts_event", "ts_recv", "ts_end"])
def test_a_time_that_no_store_holds_is_refused(column: str, ts: int) -> None:
    original = batch(GAPS, 3)
    original.columns[column] = np.array([1, ts, 2])
    with pytest.raises(WireError, match=f"{column}: expected 1970 to 2261"):
        unpack(pack(original))


@pytest.mark.parametrize("rows", [2**20, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_claim_of_many_rows_takes_no_memory(rows: int) -> None:
    once = batch(TRADES, 1)
    message = _changed(pack(once), _set(2, rows))
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="rows, was"):
            unpack(message)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claim", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_a_header_that_claims_a_long_list_takes_no_memory(claim: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack(_PREFIX.pack(MAGIC, VERSION, len(claim)) + claim + bytes(3))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_header_of_lists_in_lists_is_refused() -> None:
    with pytest.raises(WireError):
        unpack(_PREFIX.pack(MAGIC, VERSION, 50_000) + b"\x91" * 50_000)


def test_foreign_and_newer_messages_are_told_apart() -> None:
    message = pack(batch(TRADES, 1))
    with pytest.raises(WireError, match="expected the magic b'TPH', was b'PAR'") as foreign:
        unpack(b"PAR1" + message[4:])
    assert foreign.value.remedy
    with pytest.raises(WireError, match="expected version 1, was 2") as newer:
        unpack(message[:3] + b"\x02" + message[4:])
    assert "same release" in newer.value.remedy
    assert newer.value.fields == {"version": 2}
    with pytest.raises(WireError, match="at least 8 bytes, was 3"):
        unpack(b"TPH")


@pytest.mark.parametrize(
    ("column", "data"),
    [
        ("price", np.array([1, 2, 3])),
        ("price", np.array([1, 2, 3], np.float32)),
        ("price", np.array([1.0, 2.0])),
        ("price", np.array([[1.0, 2.0, 3.0]])),
        ("ts_event", np.array([1, 2, 3], "datetime64[ns]")),
        ("seq", np.array([1, 2, 3], ">i8")),
        ("side", np.array([1, 0, 1], np.int64)),
    ],
)
def test_an_array_of_another_type_or_length_is_never_packed(column: str, data: Any) -> None:
    original = batch(TRADES, 3)
    original.columns[column] = data
    with pytest.raises(WireError, match=f"batch: {column}: expected 3 of"):
        pack(original)


@pytest.mark.parametrize("rows", [0, ROWS_MAX + 1])
def test_no_row_and_too_many_are_never_packed(rows: int) -> None:
    with pytest.raises(WireError, match="expected 1 to 65,536 rows"):
        pack(batch(ACCOUNT_TRADES, rows))


def test_bars_do_not_travel() -> None:
    assert BARS not in TICKS
