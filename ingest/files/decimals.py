"""Exact decimals in the model's encoding: 16 bytes, little endian, two's complement of value * 10**18."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

import numpy as np
import polars as pl
from numpy.typing import NDArray

PLACES = 18
DIGITS = 38
EXPECTED = f"a number of at most {DIGITS - PLACES} digits before and {PLACES} after the point"
_BYTES = 16
# Raises instead of rounding; no accepted text has 200 digits.
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
_LONGEST = 100


def encode_decimals(values: pl.Series) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """(the values as V16, zero where invalid; mask of those that are exact decimals).

    Accepts decimals, whole numbers, and text; of floats, the shortest text that gives the same float.
    """
    buffer = bytearray(_BYTES * len(values))
    read = np.zeros(len(values), np.bool_)
    if values.dtype.is_numeric() or values.dtype == pl.String:
        for row, text in enumerate(values.cast(pl.String)):
            scaled = None if text is None else _scaled(text)
            if scaled is not None:
                buffer[row * _BYTES : (row + 1) * _BYTES] = scaled.to_bytes(_BYTES, "little", signed=True)
                read[row] = True
    return np.frombuffer(buffer, "V16"), read


def _scaled(text: str) -> int | None:
    """value * 10**18, or None when the text is not a decimal that fits exactly."""
    if len(text) > _LONGEST or "_" in text or not text.isascii():
        return None
    try:
        number = Decimal(text.strip())
        if not number.is_finite():
            return None
        if number.is_zero():
            return 0
        if abs(number.adjusted()) > DIGITS:
            return None
        scaled = int(number.scaleb(PLACES, _EXACT).quantize(Decimal(1), context=_EXACT))
    except (InvalidOperation, Inexact):
        return None
    return scaled if abs(scaled) < 10**DIGITS else None
