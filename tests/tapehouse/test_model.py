"""The table of kinds and columns agrees with itself."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from tapehouse.clock import MAX_TS
from tapehouse.errors import UsageError
from tapehouse.model import (
    ACCOUNT_CANDLES,
    BARS,
    KINDS,
    NO_BAR,
    SEQ_MAX,
    TICKS,
    TYPES,
    Flags,
    Kind,
    Logical,
    kind_named,
)

_all_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def test_every_logical_type_is_written_in_every_system() -> None:
    assert set(TYPES) == set(get_args(Logical))
    for name, types in TYPES.items():
        assert all(vars(types).values()), name
        assert np.dtype(types.numpy).str in (types.numpy, "|O"), name


@_all_kinds
def test_columns_have_names_of_their_own_and_types_that_exist(kind: Kind) -> None:
    assert len(set(kind.names)) == len(kind.columns)
    for column in kind.columns:
        assert column.type in TYPES
        assert column.types is TYPES[column.type]
        assert kind.column(column.name) is column
    with pytest.raises(KeyError):
        kind.column("nothing")


@_all_kinds
def test_a_key_is_of_columns_that_cannot_be_absent_and_begins_with_the_time(kind: Kind) -> None:
    assert kind.key[0] == kind.time == kind.columns[0].name
    assert kind.column(kind.time).type == "time"
    assert len(set(kind.key)) == len(kind.key)
    assert not any(kind.column(name).nullable for name in kind.key)


@_all_kinds
def test_bounds_hold_in_the_type(kind: Kind) -> None:
    for column in kind.columns:
        if column.low is None or column.high is None:
            assert column.low is column.high is None, column
            continue
        assert column.low < column.high
        element = "<f8" if column.type == "doubles" else column.types.numpy
        limits = np.finfo(element) if element == "<f8" else np.iinfo(element)
        assert limits.min <= column.low < column.high <= limits.max, column


def test_numbers_that_travel_are_bounded() -> None:
    for kind in TICKS:
        for column in kind.columns:
            bounded = column.type in ("long", "byte", "short", "double", "doubles")
            assert (column.low is not None) == bounded, f"{kind.name}.{column.name}"


@_all_kinds
def test_what_a_source_lacks_is_in_bounds(kind: Kind) -> None:
    for column in kind.columns:
        if column.default is not None:
            assert not column.nullable
            assert column.low is None or column.high is None or column.low <= column.default <= column.high


def test_ticks_carry_when_they_came_and_the_order_of_their_source() -> None:
    for kind in TICKS:
        assert kind.names[:2] == ("ts_event", "ts_recv")
    assert BARS not in TICKS
    assert set(KINDS.values()) == {*TICKS, BARS, ACCOUNT_CANDLES}
    assert all(kind.name == name for name, kind in KINDS.items())


def test_a_number_by_time_is_a_seq() -> None:
    # max(previous + 1, ts_event) leaves room for as many ticks as a day can have.
    assert SEQ_MAX - MAX_TS > 10**12


def test_flags_are_single_bits_within_their_column() -> None:
    assert [flag.value for flag in Flags] == [1, 2, 4]
    assert NO_BAR == 3
    for kind in TICKS:
        if "flags" in kind.names:
            assert kind.column("flags").high == sum(Flags)


def test_a_kind_is_found_by_its_name() -> None:
    assert kind_named("trades") is KINDS["trades"]
    with pytest.raises(UsageError, match=r"expected one of trades quotes depth .*, was 'trade'") as refusal:
        kind_named("trade")
    assert refusal.value.fields == {"kind": "trade"}
