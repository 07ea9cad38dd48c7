"""`Strategy`, the class that a strategy file derives its own from, and the rows that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tapehouse.errors import UsageError

if TYPE_CHECKING:
    from analytics.backtest.desk import Desk, FillNotice


class Bar(NamedTuple):
    """A bar that has ended. `ts` is its start and `end` its exclusive end, ns UTC."""

    ts: int
    end: int
    venue: str
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    trades: int
    buy_volume: float


class Trade(NamedTuple):
    """A trade. `side` is 1 where the buyer took, -1 where the seller took, 0 unknown."""

    ts_event: int
    venue: str
    symbol: str
    price: float
    size: float
    side: int


class Quote(NamedTuple):
    """The best bid and ask; None for an empty side."""

    ts_event: int
    venue: str
    symbol: str
    bid: float | None
    bid_size: float
    ask: float | None
    ask_size: float


class Strategy:
    """Derive a class and define the methods that it needs; each is called with the `Desk`, which takes orders.

    Attributes of the class that are numbers or texts are its parameters, which a run may set. The kinds that are read
    follow from the methods: bars always, trades for `on_trade`, quotes for `on_quote`.

    >>> class Cross(Strategy):
    ...     fast, slow = 5, 20
    ...
    ...     def on_bar(self, bar, desk):
    ...         closes = desk.closes(bar.symbol, self.slow)
    ...         if len(closes) == self.slow:
    ...             is_up = closes[-self.fast :].mean() > closes.mean()
    ...             desk.target(bar.symbol, 1 if is_up else 0)
    """

    def on_start(self, desk: Desk) -> None:
        """Called once, before the first row."""

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        """A bar has ended, and its grace is over."""

    def on_trade(self, trade: Trade, desk: Desk) -> None:
        """A trade is known."""

    def on_quote(self, quote: Quote, desk: Desk) -> None:
        """A quote is known."""

    def on_fill(self, fill: FillNotice, desk: Desk) -> None:
        """An order, or a part of it, is filled. What a bar fills is told at its end."""

    def on_timer(self, ts: int, desk: Desk) -> None:
        """A time that `desk.timer` asked for has come."""


METHODS = ("on_start", "on_bar", "on_trade", "on_quote", "on_fill", "on_timer")
"""What a strategy may define."""


def overrides(strategy: Strategy, method: str) -> bool:
    """Whether a strategy defines a method of its own."""
    return getattr(type(strategy), method) is not getattr(Strategy, method)


def parameters(strategy: object) -> dict[str, Any]:
    """The parameters of a strategy and their values, by name."""
    return {
        name: getattr(strategy, name)
        for kind in reversed(type(strategy).__mro__)
        for name, value in vars(kind).items()
        if not name.startswith("_") and isinstance(value, bool | int | float | str)
    }


def set_parameters(strategy: object, given: dict[str, str]) -> None:
    """Set parameters from texts, each of its default's type. Raises UsageError for unknown ones and for other types."""
    known = parameters(strategy)
    for name, text in given.items():
        if name not in known:
            has = f"It has {' '.join(known)}." if known else "It has none."
            raise UsageError(f"--set: {type(strategy).__name__} has no parameter {name!r}", remedy=has)
        setattr(strategy, name, _like(known[name], text, name))


def _like(default: Any, text: str, name: str) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--set {name}: expected true or false, was {text!r}")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        raise UsageError(f"--set {name}: expected {type(default).__name__}, was {text!r}") from None
