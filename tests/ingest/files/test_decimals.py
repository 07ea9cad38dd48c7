from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.files.decimals import encode_decimals

LARGEST = "9" * 20 + "." + "9" * 18


def scaled(values: list[object]) -> list[int | None]:
    """Each value * 10**18."""
    encoded, read = encode_decimals(pl.Series(values))
    return [
        int.from_bytes(raw.tobytes(), "little", signed=True) if good else None
        for raw, good in zip(encoded, read.tolist(), strict=True)
    ]


@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=1))
def test_every_decimal_of_the_model_is_exact(numbers: list[int]) -> None:
    exact = []
    for number in numbers:
        sign, digits = "-" if number < 0 else "", f"{abs(number):019d}"
        exact.append(f"{sign}{digits[:-18]}.{digits[-18:]}")
    assert scaled([*exact]) == numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.50", 15 * 10**17),
        (" -2 ", -2 * 10**18),
        ("1e-18", 1),
        ("1.0000000000000000000", 10**18),
        (LARGEST, 10**38 - 1),
        ("-" + LARGEST, -(10**38) + 1),
        ("0.0000000000000000001", None),
        ("1" + "0" * 20, None),
        ("1e999999999", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("٣", None),
        ("1,5", None),
        ("", None),
        ("1" * 200, None),
    ],
)
def test_what_does_not_fit_exactly_is_not_read(text: str, value: int | None) -> None:
    assert scaled([text]) == [value]


def test_numbers_of_every_type_are_read() -> None:
    assert scaled([5, None]) == [5 * 10**18, None]
    assert scaled([0.1]) == [10**17]
    assert scaled([Decimal("1.25")]) == [125 * 10**16]
    assert scaled([True]) == [None]
