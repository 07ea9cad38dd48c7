"""Limits of risk, at their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.backtest.risk import LOSS, MAX_LOTS, NOTIONAL, PASSED, POSITION, RATE, SIZE, check
from tapehouse.clock import SECOND


def _checked(**given: float) -> int:
    """An order of 10 lots to buy at 2 a lot, where all limits are just kept, but for what is given."""
    values = {"size": 10, "position": 15, "notional": 130, "loss": 5, "side": 1, "lots": 10, "held": 2, "resting": 3,
              "value": 2.0, "others": 100.0, "lost": 5.0} | given  # fmt: skip
    return int(
        check(
            np.array([values["size"], values["position"]], np.int64),
            np.array([values["notional"], values["loss"]], np.float64),
            np.zeros(1, np.int64),
            *(int(values[name]) for name in ("side", "lots", "held", "resting")),
            *(float(values[name]) for name in ("value", "others", "lost")),
            0,
        )
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, PASSED),
        ({"size": 9}, SIZE),
        ({"position": 14}, POSITION),
        ({"notional": 129}, NOTIONAL),
        ({"loss": 4}, LOSS),
        # A short position that a sale makes larger.
        ({"side": -1, "held": -3, "position": 15, "notional": 132}, POSITION),
        # It reduces, whatever is lost; with what rests it would turn the position round.
        ({"side": -1, "held": 13, "lost": 99}, PASSED),
        ({"side": -1, "held": 12, "lost": 99}, LOSS),
        ({"size": MAX_LOTS, "position": MAX_LOTS, "lots": MAX_LOTS - 5, "value": 0}, PASSED),
    ],
)
def test_the_first_limit_that_an_order_passes_refuses_it(given: dict[str, float], code: int) -> None:
    assert _checked(**given) == code


def test_the_rate_counts_orders_that_passed_in_the_last_second() -> None:
    sent = np.array([0, -SECOND, -SECOND], np.int64)  # two a second
    most, money = np.array([5, 100], np.int64), np.array([np.inf, np.inf])

    def at(now: int, lots: int = 1) -> int:
        return int(check(most, money, sent, 1, lots, 0, 0, 1.0, 0.0, 0.0, now))

    assert [at(0), at(1, 6), at(1), at(2), at(SECOND - 1), at(SECOND), at(SECOND), at(SECOND + 1)] == [
        PASSED, SIZE, PASSED, RATE, RATE, PASSED, RATE, PASSED,
    ]  # fmt: skip
