"""Account trades as JSON: exact to the last place, and told what is wrong with the others."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.files.decimals import encode_decimals
from ingest.files.mapping import ACCOUNT_TRADE_KEYS
from ingest.files.strict_json import parse_line
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES
from tests.ingest.files.conftest import Reading

NAME = "accounts.jsonl"
SECOND = 1_730_844_173_000_000_000
WANTED = [(ACCOUNT_TRADES.column(name), source) for name, source in ACCOUNT_TRADE_KEYS.items()]
GOOD = (
    '{"ID": 110574616, "Totaldone": 500000.0, "Trx Amount": 4.5115767058272E-4, "Amount": 1.10826E9,'
    ' "Transtype": 1, "Accountid": 1, "Transtime": "2024-11-05T22:02:53Z"}'
)


def lines(*found: str) -> bytes:
    return "".join(one + "\n" for one in found).encode()


def scaled(row: dict[str, Any], name: str) -> int:
    """The decimal * 10**18."""
    return int.from_bytes(row[name], "little", signed=True)


def test_the_documented_trade_is_read_to_the_last_place(read: Reading) -> None:
    outcome = read(lines(GOOD), ACCOUNT_TRADES, NAME, symbol=None)
    (row,) = outcome.rows
    assert (row["ts_event"], row["account_id"], row["id"], row["trans_type"]) == (SECOND, 1, 110574616, 1)
    assert scaled(row, "total_done") == 500_000 * 10**18
    assert scaled(row, "trx_amount") == 451_157_670_582_720
    assert scaled(row, "amount") == 1_108_260_000 * 10**18
    assert outcome.notes[-1] == "ts_recv: none, equal to ts_event"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("110574616", '"110574616"', "id: expected a whole number, was '110574616'"),
        ("110574616", "true", "id: expected a whole number, was true"),
        ("110574616", "5.0", "id: expected a whole number, was 5.0"),
        ("110574616", "5.5", "id: expected a whole number, was 5.5"),
        ("110574616", "1E3", "id: expected a whole number, was 1E3"),
        ("110574616", "null", "id: expected a whole number, was nothing"),
        ("110574616", "-1", "id: expected 0 to 9.22337e+18, was -1"),
        ("110574616", "9223372036854775807", "id: expected 0 to 9.22337e+18, was 9223372036854775807"),
        ("110574616", "9" * 5000, "id: expected a whole number, was '999"),
        ('"ID": 110574616, ', "", "id: expected a whole number, was nothing"),
        ('"ID"', '"id"', "was also 'id'"),
        ('"ID"', '"Fee": 1, "ID"', "record: expected the keys Transtime, Accountid, ID, "),
        ('"ID"', '"ID": 1, "ID"', "record: expected each key once, was 'ID' more than once"),
        ('"ID"', '"\\ud800": 1, "ID"', "was also '\\ud800'"),
        ('"Accountid": 1', '"Accountid": -1', "account_id: expected 0 to"),
        ('"Accountid": 1', '"Accountid": "1"', "account_id: expected a whole number, was '1'"),
        ('"Transtype": 1', '"Transtype": 32768', "trans_type: expected a whole number from -32768 to 32767"),
        ('"Transtype": 1', '"Transtype": -1', "trans_type: expected 0 to 32767, was -1"),
        ("500000.0", "NaN", "total_done: expected a number of at most"),
        ("500000.0", "-Infinity", "total_done: expected a number of at most"),
        ("500000.0", "true", "total_done: expected a number, was true"),
        ("500000.0", "[1]", "total_done: expected a number, was a list"),
        ("500000.0", '{"a": 1}', "total_done: expected a number, was an object"),
        ("500000.0", '"٣"', "total_done: expected a number, was '٣'"),
        ("500000.0", '"\\ud800"', "total_done: expected a number, was '\\ud800'"),
        (
            "500000.0",
            "1E-19",
            "total_done: expected a number of at most 20 digits before and 18 after the point",
        ),
        (
            "500000.0",
            "1E20",
            "total_done: expected a number of at most 20 digits before and 18 after the point",
        ),
        ("500000.0", "1E999999999", "total_done: expected a number of at most"),
        ("53Z", "53", "ts_event: expected a time with a zone"),
        ('"2024-11-05T22:02:53Z"', "17", "ts_event: expected a time"),
        ('"2024-11-05T22:02:53Z"', '"2024-13-05T22:02:53Z"', "ts_event: expected a time"),
        ("2024-11-05", "2199-11-05", "ts_event: expected a time from 1970-01-05 to a minute from now"),
        ("53Z", "53☃", "ts_event: expected a time, was '2024"),
        (GOOD, "[1, 2]", "record: expected a JSON object, was a list"),
        (GOOD, "5", "record: expected a JSON object, was 5"),
        (GOOD, GOOD[:-1], "line: expected a JSON object, was no JSON"),
        (GOOD, "[" * 100_000, "line: expected a JSON object, was no JSON"),
    ],
)
def test_what_is_no_record_has_its_reason_and_the_others_are_in(
    read: Reading, old: str, new: str, reason: str
) -> None:
    bad = GOOD.replace(old, new)
    assert bad != GOOD
    outcome = read(lines(GOOD, bad, GOOD), ACCOUNT_TRADES, NAME, symbol=None)
    assert len(outcome.rows) == 2
    assert list(outcome.reasons) == [2]
    assert reason in outcome.reasons[2]
    assert outcome.originals[2] == bad.encode()
    # It goes through msgpack and JSON.
    outcome.reasons[2].encode()


def test_bytes_that_are_no_text_are_told(read: Reading) -> None:
    bad = GOOD.encode().replace(b"53Z", b"53\xff")
    outcome = read(lines(GOOD) + bad + b"\n", ACCOUNT_TRADES, NAME, symbol=None)
    assert len(outcome.rows) == 1
    assert "utf-8" in outcome.reasons[2]


decimals = st.integers(1 - 10**38, 10**38 - 1)


@given(decimals, st.integers(-40, 40), st.booleans())
def test_any_decimal_that_fits_comes_back_exactly_however_it_is_written(
    number: int, zeros: int, quoted: bool
) -> None:
    sign, digits = "-" if number < 0 else "", f"{abs(number):019d}"
    # The point is moved and the exponent moved against it; or zeros are put behind.
    written = f"{sign}{int(digits[:-18])}.{digits[-18:]}" + "0" * max(0, zeros)
    if zeros < 0:
        written = f"{number}{'0' * -zeros}E{zeros - 18}"
    text = GOOD.replace("500000.0", f'"{written}"' if quoted else written)
    found = parse_line(text.encode(), WANTED)
    assert isinstance(found, list)
    (encoded,), (read,) = encode_decimals(pl.Series([found[3]]))
    assert read
    assert int.from_bytes(encoded.tobytes(), "little", signed=True) == number


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*ACCOUNT_TRADE_KEYS.values(), "x", "\ud800"]), value))
def test_any_object_is_a_record_or_has_a_reason(record: dict[str, Any]) -> None:
    found = parse_line(json.dumps(record).encode(), WANTED)
    assert len(found) == len(WANTED) if isinstance(found, list) else found.encode()


def test_other_names_are_mapped_and_the_documented_ones_are_found_beside_them(read: Reading) -> None:
    other = GOOD.replace('"ID"', '"Number"')
    outcome = read(lines(other), ACCOUNT_TRADES, NAME, symbol=None, mapping={"id": "Number"})
    assert outcome.column("id") == [110574616]
    with pytest.raises(UsageError, match="--map id=COLUMN"):
        read(lines(other), ACCOUNT_TRADES, NAME, symbol=None)
    outcome = read(lines(GOOD.replace('"ID"', '"id"'), GOOD), ACCOUNT_TRADES, NAME, symbol=None)
    assert outcome.column("id") == [110574616]
    assert "unknown keys, whose rows go to quarantine: id" in outcome.notes
