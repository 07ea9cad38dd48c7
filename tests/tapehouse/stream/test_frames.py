"""Frames: what is told is what is read, and nothing else is taken for a frame."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapehouse.bars.rankings import RANKING_ROW
from tapehouse.clock import NAMES
from tapehouse.errors import WireError
from tapehouse.stream.frames import FORMAT, FRAME_BAR, FRAME_LATEST, Frame, decode, encode

_NUMBERS = st.integers(-(2**63), 2**63 - 1)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.floats() | st.text(max_size=3) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=20,
)


def _rows(data: st.DataObject, told: np.dtype[Any], keys: int) -> NDArray[Any]:
    """Rows of any bits, which point to keys there are."""
    count = data.draw(st.integers(0, 5)) if keys else 0
    bits = data.draw(st.binary(min_size=count * told.itemsize, max_size=count * told.itemsize))
    rows = np.frombuffer(bits, told).copy()
    rows["key"] %= max(keys, 1)
    if "interval" in (told.names or ()):
        rows["interval"] %= len(NAMES)
    return rows


def _columns(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: rows[name] for name in rows.dtype.names or ()}


def _encoded(data: st.DataObject) -> tuple[bytes, Frame]:
    keys = data.draw(st.lists(st.tuples(st.text(), st.text()), max_size=4))
    revised = [(0, *data.draw(st.tuples(_NUMBERS, _NUMBERS)))] if keys else []
    windows = data.draw(st.none() | st.sampled_from(["", "1h", "1h 7d"]))
    ranked = (
        None if windows is None else {one: _rows(data, RANKING_ROW, len(keys)) for one in windows.split()}
    )
    bars, latest = _rows(data, FRAME_BAR, len(keys)), _rows(data, FRAME_LATEST, len(keys))
    epoch, n = data.draw(_NUMBERS), data.draw(_NUMBERS)
    message = encode("all", epoch, n, keys, _columns(bars), _columns(latest), revised, ranked)
    return message, Frame("all", epoch, n, 0, keys, bars, latest, revised, ranked)


@given(data=st.data())
def test_what_is_told_is_what_is_read(data: st.DataObject) -> None:
    message, told = _encoded(data)
    read = decode(message)
    assert (read.maker, read.epoch, read.n) == (told.maker, told.epoch, told.n)
    assert (read.keys, read.revised) == (told.keys, told.revised)
    assert read.bars.tobytes() == told.bars.tobytes()
    assert read.latest.tobytes() == told.latest.tobytes()
    if told.rankings is None:
        assert read.rankings is None
        return
    assert read.rankings is not None
    assert set(read.rankings) == set(told.rankings)
    for window, rows in told.rankings.items():
        got = read.rankings[window]
        want = rows.astype(got.dtype)
        assert got.tobytes() == want.tobytes()


def _usable(message: bytes) -> None:
    """A frame whose rows all point to what there is, or WireError."""
    try:
        frame = decode(message)
    except WireError:
        return
    hash((frame.maker, frame.epoch + 1, frame.n + 1))
    for rows in (frame.bars, frame.latest, *(frame.rankings or {}).values()):
        assert all(frame.keys[key] for key in rows["key"])
    assert all(frame.keys[key] and start + end is not None for key, start, end in frame.revised)
    assert all(NAMES[interval] for interval in frame.bars["interval"])


@given(data=st.data())
def test_a_damaged_message_gives_an_error_of_ours_or_a_frame_that_holds_together(data: st.DataObject) -> None:
    message = bytearray(_encoded(data)[0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "drop"])):
            case "flip":
                message[at] ^= data.draw(st.integers(1, 255))
            case "cut" if at:
                del message[at:]
            case _ if len(message) > 1:
                del message[at]
    _usable(bytes(message))


@given(fields=st.lists(_ANYTHING, min_size=9, max_size=9), place=st.integers(1, 9))
def test_any_msgpack_in_place_of_a_field_gives_an_error_of_ours(fields: list[Any], place: int) -> None:
    whole = [FORMAT, *fields]
    _usable(msgpack.packb(whole))
    whole = msgpack.unpackb(encode("all", 1, 2, [("V", "S")]))
    whole[place] = fields[0]
    _usable(msgpack.packb(whole))


def test_a_column_with_one_value_is_not_spread_over_the_rows() -> None:
    bars = np.zeros(3, FRAME_BAR)
    whole = msgpack.unpackb(encode("all", 1, 2, [("V", "S")], _columns(bars)))
    whole[6][3] = whole[6][3][:8]
    with pytest.raises(WireError, match="open: expected 3 values, was 1"):
        decode(msgpack.packb(whole))


def test_a_frame_of_another_format_names_the_remedy() -> None:
    with pytest.raises(WireError, match="expected format 1, was 2") as told:
        decode(msgpack.packb([2, "all"]))
    assert told.value.remedy
