"""Run by bench/backtest.py with an interpreter that has nautilus_trader: `python nautilus_trades.py TICKS.npz EVERY`.

Runs its BacktestEngine over trades of one symbol with a strategy in Python that makes a market order of one at every
EVERY-th trade, buying and selling in turns; 0 for none. Objects are made and added before the timing starts. Prints
events a CPU second and the number of orders as JSON.
"""

import json
import sys
import time
from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
from nautilus_trader.model.identifiers import TradeId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy


class Turns(Strategy):
    """Buys and sells in turns at every so many trades."""

    def __init__(self, instrument, every: int) -> None:
        super().__init__()
        self.instrument = instrument
        self.every = every
        self.count = self.orders = 0

    def on_start(self) -> None:
        """Subscribe to the trades."""
        self.subscribe_trade_ticks(self.instrument.id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        """Count, and make an order when it is time."""
        self.count += 1
        if self.every and self.count % self.every == 0:
            self.orders += 1
            side = OrderSide.BUY if self.orders % 2 else OrderSide.SELL
            self.submit_order(
                self.order_factory.market(self.instrument.id, side, self.instrument.make_qty(1))
            )


def main() -> None:
    """Time one run."""
    with np.load(sys.argv[1]) as columns:
        ts, price, size = (columns[name].tolist() for name in ("ts", "price", "size"))
    equity = TestInstrumentProvider.equity(symbol="SPY", venue="XNAS")
    ticks = [
        TradeTick(equity.id, Price(p, 2), Quantity(max(s, 1), 0), AggressorSide.BUYER, TradeId(str(n)), t, t)
        for n, (t, p, s) in enumerate(zip(ts, price, size, strict=True))
    ]
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        Venue("XNAS"), OmsType.NETTING, AccountType.MARGIN, [Money(10_000_000, USD)], USD, Decimal(1)
    )
    engine.add_instrument(equity)
    engine.add_data(ticks)
    strategy = Turns(equity, int(sys.argv[2]))
    engine.add_strategy(strategy)
    began = time.process_time()
    engine.run()
    took = time.process_time() - began
    assert strategy.count == len(ticks), strategy.count
    print(json.dumps({"events_per_s": len(ticks) / took, "orders": strategy.orders}))


if __name__ == "__main__":
    main()
