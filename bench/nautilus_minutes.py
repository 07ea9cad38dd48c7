"""Run by bench/bar_kernel.py with an interpreter that has nautilus_trader: `python nautilus_minutes.py TICKS.npz`.

Makes 1-minute bars of one symbol with its TimeBarAggregator; the clock is advanced only when a bar is due, and tick
objects are made before the timing starts. Prints us a tick and the number of bars as JSON.
"""

import json
import sys
import time

import numpy as np
from nautilus_trader.common.component import TestClock
from nautilus_trader.data.aggregation import TimeBarAggregator
from nautilus_trader.model.data import BarType, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider

_MINUTE = 60_000_000_000


def main() -> None:
    """Time one run."""
    with np.load(sys.argv[1]) as columns:
        ts, price, size = (columns[name].tolist() for name in ("ts", "price", "size"))
    equity = TestInstrumentProvider.equity(symbol="SPY", venue="XNAS")
    trade = TradeId("1")
    ticks = [
        TradeTick(equity.id, Price(p, 2), Quantity(s, 0), AggressorSide.NO_AGGRESSOR, trade, t, t)
        for t, p, s in zip(ts, price, size, strict=True)
    ]
    bars: list[object] = []
    clock = TestClock()
    clock.set_time(ts[0])
    maker = TimeBarAggregator(
        equity,
        BarType.from_str(f"{equity.id}-1-MINUTE-LAST-INTERNAL"),
        bars.append,
        clock,
        build_with_no_updates=False,
    )
    due = 0
    began = time.perf_counter()
    for tick in ticks:
        if tick.ts_event >= due:
            for event in clock.advance_time(tick.ts_event):
                event.handle()
            due = tick.ts_event // _MINUTE * _MINUTE + _MINUTE
        maker.handle_trade_tick(tick)
    elapsed = time.perf_counter() - began
    print(json.dumps({"us": elapsed / len(ticks) * 1e6, "bars": len(bars)}))


if __name__ == "__main__":
    main()
