"""Backtests: strategies in columns of stored ticks and bars, without looking ahead.

A strategy file imports `Strategy`, `Targets` or `Compiled` from here.
"""

from analytics.backtest.strategy import Strategy
from analytics.backtest.targets import Compiled, Targets

__all__ = ["Compiled", "Strategy", "Targets"]
