"""Runs a strategy over a tape: events in, orders through risk and latency to the market, fills into the account."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from analytics.backtest import targets
from analytics.backtest.account import Account, Fees
from analytics.backtest.bar_market import BarMarket, Executions, TickBar
from analytics.backtest.conditions import Conditions
from analytics.backtest.desk import Desk, FillNotice
from analytics.backtest.guard import Fault, Guard, limited
from analytics.backtest.instrument import MONEY, Grid, Series, money
from analytics.backtest.orders import Fill, Order
from analytics.backtest.risk import Limits, RiskCheck
from analytics.backtest.strategy import METHODS, Bar, Quote, Strategy, Trade, overrides
from analytics.backtest.tape import BARS, KINDS, QUOTES, Event, Tape
from analytics.backtest.targets import Planned
from analytics.backtest.tick_market import TickMarket
from tapehouse.clock import iso


@dataclass(frozen=True)
class Setup:
    """What a run is made under, besides its rows and strategy. `capital` is in the currency of the venues."""

    capital: Decimal = Decimal(100_000)
    fees: Fees = field(default_factory=Fees)
    grid: Grid = field(default_factory=Grid)
    conditions: Conditions = field(default_factory=Conditions)
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    call_s: float = 10
    """CPU seconds that one call of the strategy may take."""


class Point(NamedTuple):
    """The account after a bar that ended at `ts`; money's units."""

    ts: int
    equity: int
    gross: int


@dataclass
class Outcome:
    """What happened in a run."""

    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    """All orders and cancellations as the strategy made them, in order; each begins with its moment."""
    digests: list[dict[str, str | int]] = field(default_factory=list)
    events: int = 0
    cash: int = 0
    fault: Fault | None = None


class Engine:
    """One run. `files`: those with the strategy's code."""

    def __init__(self, tape: Tape, strategy: Strategy, setup: Setup, files: set[str]) -> None:
        self._tape = tape
        self._strategy = strategy
        self._files = files
        self._setup = setup
        capital = money(setup.capital)
        self._account = Account(capital, setup.fees, dict.fromkeys(tape.series, setup.grid))
        self._risk = RiskCheck(setup.limits, self._account, capital, setup.grid)
        self._by_ticks = setup.conditions.rule == "latency"
        self._bar_markets = {series: BarMarket(setup.conditions) for series in tape.series}
        self._tick_markets = {series: TickMarket(setup.conditions) for series in tape.series}
        self._draws = random.Random(setup.seed)  # noqa: S311 - draws of a simulation
        self._took = 0
        self._timers: list[int] = []
        self._told: list[Fill] = []
        self._calls = {
            name: getattr(strategy, name) if overrides(strategy, name) else None for name in METHODS
        }
        self._guard = Guard(files, self._describe)
        self._desk = Desk(
            self._account, self._send, self._cancel, lambda ts: heapq.heappush(self._timers, ts)
        )
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run to the end, or to the strategy's fault."""
        outcome, guard = self.outcome, self._guard
        fault = self._prepare()
        if fault is None:
            with guard, limited(guard, self._setup.call_s):
                self._call("on_start")
                for event in self._tape.events(self._kinds(), outcome.digests):
                    self._step(event)
            guard.is_calling = False
            fault = guard.fault
        outcome.fault = fault
        outcome.orders = list(self._desk.orders.values())
        outcome.cash = self._account.cash
        return outcome

    def _prepare(self) -> Fault | None:
        """Compute the targets of a strategy that has them before the run; the fault of its function."""
        if not isinstance(self._strategy, Planned):
            return None
        bars = self._tape.bars()
        with Guard(self._files - {targets.__file__}) as guard:
            guard.event = "the computation of targets"
            self._strategy.prepare(bars, self._tape.interval)
        return guard.fault

    def _kinds(self) -> tuple[str, ...]:
        """What the run reads: by the strategy's methods, and what fills by ticks need."""
        kinds = ["bars"]
        for kind, method in (("trades", "on_trade"), ("quotes", "on_quote")):
            if self._by_ticks or overrides(self._strategy, method):
                kinds.append(kind)
        return tuple(kinds)

    def _step(self, event: Event) -> None:
        known, kind, place, row, took = event
        while self._timers and self._timers[0] <= known:
            self._timer(heapq.heappop(self._timers))
        self.outcome.events += 1
        self._desk.now = known
        series = self._tape.series[place]
        self._guard.event = event
        if kind == BARS:
            self._bar(series, row)
            return
        self._took = took
        if kind == QUOTES:
            self._quote(series, known, row)
        else:
            self._trade(series, known, row)

    def _bar(self, series: Series, bar: Bar) -> None:
        grid = self._setup.grid
        prices = (grid.ticks(bar.open), grid.ticks(bar.high), grid.ticks(bar.low), grid.ticks(bar.close))
        if not self._by_ticks:
            on_grid = TickBar(bar.ts, bar.end, *prices, grid.lots(bar.volume))
            self._book(self._bar_markets[series].at_bar(on_grid))
        self._account.mark(series, prices[3])
        self._desk.know(series, bar)
        self._tell()
        self._call("on_bar", bar)
        point = Point(bar.end, self._account.equity, self._account.gross)
        curve = self.outcome.curve
        if curve and curve[-1].ts == point.ts:
            curve[-1] = point
        else:
            curve.append(point)

    def _quote(self, series: Series, now: int, quote: Quote) -> None:
        if self._by_ticks:
            grid, market = self._setup.grid, self._tick_markets[series]
            self._book(market.until(now))
            bid = None if quote.bid is None else grid.ticks(quote.bid)
            ask = None if quote.ask is None else grid.ticks(quote.ask)
            lots = grid.lots(quote.bid_size or 0), grid.lots(quote.ask_size or 0)
            self._book(market.at_quote(now, bid, lots[0], ask, lots[1]))
            self._tell()
        self._call("on_quote", quote)

    def _trade(self, series: Series, now: int, trade: Trade) -> None:
        grid = self._setup.grid
        ticks = grid.ticks(trade.price)
        market = self._tick_markets[series]
        if not market.is_idle:
            self._book(market.until(now))
            self._book(market.at_trade(now, ticks, grid.lots(trade.size), trade.side))
        self._account.mark(series, ticks)
        if self._told:
            self._tell()
        self._call("on_trade", trade)

    def _describe(self, event: Event | int | str) -> str:
        """An event, the time of a timer, or a text."""
        if isinstance(event, str):
            return event
        if isinstance(event, int):
            return f"the timer of {iso(event)}"
        series = self._tape.series[event.series]
        return f"{KINDS[event.kind][:-1]} of {series} known at {iso(event.known)}"

    def _timer(self, ts: int) -> None:
        self._desk.now = ts
        self._guard.event = ts
        self._call("on_timer", ts)

    def _send(self, order: Order) -> None:
        self.outcome.decisions.append(
            (order.made, "order", order.series, order.side, order.lots, order.limit, order.stop,
             order.lifetime, order.post_only)
        )  # fmt: skip
        resting = sum(
            other.left
            for other in self._desk.may_fill(order.series)
            if other.side == order.side and other is not order
        )
        refusal = self._risk.refusal(order, resting)
        if refusal:
            order.end("refused", refusal)
            return
        order.arrives = order.made + self._latency()
        if self._by_ticks:
            self._tick_markets[order.series].send(order)
        else:
            self._book(self._bar_markets[order.series].send(order))

    def _cancel(self, order: Order) -> None:
        self.outcome.decisions.append((self._desk.now, "cancel", order.id))
        order.cancel_arrives = max(self._desk.now + self._latency(), order.arrives)
        if self._by_ticks:
            self._tick_markets[order.series].cancel(order)

    def _latency(self) -> int:
        return self._setup.conditions.latency.draw(self._draws, self._took)

    def _book(self, executions: Executions) -> None:
        for order, execution in executions:
            fill = self._account.book(order, execution)
            self.outcome.fills.append(fill)
            self._told.append(fill)

    def _tell(self) -> None:
        """Tell the strategy of fills; of those that its answers bring at once with the next row, so that it ends."""
        told, self._told = self._told, []
        grid = self._setup.grid
        for fill in told:
            notice = FillNotice(
                fill.ts, fill.order, fill.series.venue, fill.series.symbol, fill.side,
                grid.price(fill.ticks), grid.size(fill.lots), fill.maker, fill.fee / MONEY,
            )  # fmt: skip
            self._call("on_fill", notice)

    def _call(self, name: str, *row: Any) -> None:
        method, guard = self._calls[name], self._guard
        if method is None:
            return
        guard.calls += 1
        guard.is_calling = True
        method(*row, self._desk)
        guard.is_calling = False
