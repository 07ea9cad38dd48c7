"""Figures of a run from its equity: drawdown, and ratios of risk and return."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAYS_A_YEAR = 365
"""Ratios are of daily returns, for as many days a year: markets that are read here do not close."""


def drawdown(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] how far each value is below the highest before it, as a fraction, 0 or above."""
    highest = np.maximum.accumulate(equity)
    return np.where(highest > 0, (highest - equity) / np.where(highest > 0, highest, 1), 0.0)


def sharpe(returns: NDArray[np.float64]) -> float | None:
    """Mean over sample deviation of daily returns, annualised; None for fewer than two or without deviation."""
    if len(returns) < 2 or not (deviation := float(returns.std(ddof=1))):
        return None
    return float(float(returns.mean()) / deviation * DAYS_A_YEAR**0.5)


def sortino(returns: NDArray[np.float64]) -> float | None:
    """Mean over the root of the mean square of the negative returns, annualised; None where there are none."""
    below = float(np.sqrt(np.mean(np.minimum(returns, 0) ** 2))) if len(returns) > 1 else 0.0
    return float(float(returns.mean()) / below * DAYS_A_YEAR**0.5) if below else None


def calmar(total: float, days: int, worst: float) -> float | None:
    """Return a year over the greatest drawdown; None for fewer than two days, without drawdown or with nothing left."""
    if days < 2 or not worst or total <= -1:
        return None
    return float(((1 + total) ** (DAYS_A_YEAR / days) - 1) / worst)
