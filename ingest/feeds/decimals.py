"""Exact decimals, as the model holds them: 16 bytes, little endian, two's complement of value * 10**18."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

import numpy as np
import polars as pl
from numpy.typing import NDArray

PLACES = 18
DIGITS = 38
EXPECTED = f"a number of at most {DIGITS - PLACES} digits before and {PLACES} behind the point"
_BYTES = 16
# Raises rather than rounds; 200 digits are more than any text that is let in.
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
_LONGEST = 100


def encode(values: pl.Series) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """The values' 16 bytes each, zero where they are none, and which of them are exact decimals.

    Takes decimals, whole numbers, and text; of floats, the shortest text that gives the same float.
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
    """value * 10**18, or None when the text is no decimal that fits exactly."""
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
