"""Backtests: strategies in columns of stored ticks and bars, without looking ahead.

A strategy file imports `Strategy` or `Targets` from here.
"""

from analytics.backtest.strategy import Strategy
from analytics.backtest.targets import Targets

__all__ = ["Strategy", "Targets"]
