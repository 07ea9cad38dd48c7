"""Figures from equity, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.backtest.statistics import calmar, drawdown, sharpe, sortino


def test_drawdown_is_from_the_highest_before() -> None:
    equity = np.array([100.0, 120, 90, 150, 75, 160])
    assert drawdown(equity).tolist() == [0, 0, 0.25, 0, 0.5, 0]


def test_ratios() -> None:
    returns = np.array([0.02, -0.01, 0.03, -0.02])
    # The mean is 0.005; squares of the differences add up to 0.0017, those of the losses to 0.0005.
    assert sharpe(returns) == pytest.approx(0.005 / (0.0017 / 3) ** 0.5 * 365**0.5)
    assert sortino(returns) == pytest.approx(0.005 / (0.0005 / 4) ** 0.5 * 365**0.5)
    assert calmar(0.1, 73, 0.2) == pytest.approx((1.1**5 - 1) / 0.2)


@pytest.mark.parametrize("returns", [[], [0.1], [0.0, 0.0]])
def test_ratios_without_days_or_deviation_are_undefined(returns: list[float]) -> None:
    assert sharpe(np.array(returns)) is None
    assert sortino(np.array(returns)) is None


def test_sortino_without_losses_and_calmar_without_drawdown_are_undefined() -> None:
    assert sortino(np.array([0.1, 0.2])) is None
    assert calmar(0.1, 10, 0) is None
    assert calmar(0.1, 1, 0.1) is None
    assert calmar(-1.5, 10, 2.0) is None
