"""Cursors: every key comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.cursor import decode_cursor, encode_cursor
from gateway.query import RowKey
from tapehouse.clock import MAX_TS
from tapehouse.errors import UsageError
from tapehouse.model import KINDS

_TIMES = st.integers(0, MAX_TS - 1)
_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=256)
_LONGS = st.integers(-(2**63) + 1, 2**63 - 1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {"symbol": _NAMES, "flag": st.booleans(), "time": _TIMES}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_key_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    columns = [KINDS[kind].column(name) for name in KINDS[kind].key]
    key: RowKey = tuple(data.draw(_VALUES.get(column.type, _LONGS)) for column in columns)
    text = encode_cursor(key)
    assert quote(text, safe="") == text
    found = decode_cursor(text, kind)
    assert found == key
    assert [type(value) for value in found] == [type(value) for value in key]


@pytest.mark.parametrize(
    "key",
    [
        [],
        {},
        1,
        None,
        [0, "V", "S"],
        [0, "V", "S", 1, True],
        ["0", "V", "S", 1],
        [0, "V", "S", "1"],
        [0, "V", "S", 1.0],
        [0, "V", "S", True],
        [0, "V", "S", None],
        [True, "V", "S", 1],
        [0, 1, "S", 1],
        [-1, "V", "S", 1],
        [MAX_TS, "V", "S", 1],
        [0, "V", "S", 2**63],
        [0, "V", "S", -(2**63)],
        [[0], "V", "S", 1],
    ],
)
def test_what_is_no_key_of_the_kind_is_refused(key: object) -> None:
    text = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    with pytest.raises(UsageError, match="cursor: expected the `next` of the page before") as told:
        decode_cursor(text, "trades")
    assert "without a cursor" in told.value.remedy


@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()),
        st.sampled_from(["", "=", "AAAA", "[" * 2_000, "W" * 3_000]),
    )
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cursor: expected"):
        decode_cursor(text, "trades")


@pytest.mark.parametrize(
    ("venue", "symbol"), [("V\0", "S"), ("V", "\ud800"), ("V" * 300, "S")], ids=["NUL", "surrogate", "long"]
)
def test_names_that_no_query_may_have_are_refused(venue: str, symbol: str) -> None:
    text = base64.urlsafe_b64encode(json.dumps([0, venue, symbol, 1]).encode()).decode()
    with pytest.raises(UsageError, match="cursor: expected"):
        decode_cursor(text, "trades")
