"""The matching engine in plain Python, slow and short: what `analytics.backtest.matching` must equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from analytics.backtest.matching import (
    BUY,
    CANCEL,
    DONE,
    FOK,
    GTC,
    ID_IN_USE,
    IOC,
    LIMIT,
    MARKET,
    NOT_ALL,
    OUT_OF_BOUNDS,
    POST_ONLY,
    REPLACE,
    SELL,
    UNKNOWN_ID,
    WOULD_TAKE,
)


class Command(NamedTuple):
    """As a row of COMMAND."""

    id: int
    kind: int
    side: int
    life: int
    price: int
    lots: int


@dataclass
class _Resting:
    id: int
    side: int
    price: int
    lots: int


@dataclass
class PlainBook:
    """Resting orders in the order of their arrival; everything else is found by looking at all of them."""

    ids: int
    levels: int
    resting: list[_Resting] = field(default_factory=list)
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)

    def execute(self, command: Command) -> tuple[int, int]:
        """The result of a command: its code and the lots it took."""
        if self._is_wrong(command):
            return OUT_OF_BOUNDS, 0
        found = next((order for order in self.resting if order.id == command.id), None)
        if command.kind in (CANCEL, REPLACE):
            if found is None:
                return UNKNOWN_ID, 0
            return self._change(found, command)
        if found is not None:
            return ID_IN_USE, 0
        if command.kind == MARKET:
            price = self.levels - 1 if command.side == BUY else 0
            life = FOK if command.life == FOK else IOC
            return self._enter(command._replace(price=price, life=life))
        return self._enter(command)

    def _change(self, found: _Resting, command: Command) -> tuple[int, int]:
        if command.kind == CANCEL:
            self.resting.remove(found)
            return DONE, 0
        if command.price == found.price and command.lots <= found.lots:
            found.lots = command.lots
            return DONE, 0
        entering = command._replace(side=found.side)
        refusal = self._refusal(entering)
        if refusal != DONE:
            return refusal, 0
        self.resting.remove(found)
        return self._enter(entering)

    def _enter(self, command: Command) -> tuple[int, int]:
        refusal = self._refusal(command)
        if refusal != DONE:
            return refusal, 0
        left = command.lots
        for order in self._against(command):
            lots = min(left, order.lots)
            if lots:
                self.trades.append((order.id, command.id, order.price, lots))
                order.lots -= lots
                left -= lots
        self.resting = [order for order in self.resting if order.lots]
        if left and command.life in (GTC, POST_ONLY):
            self.resting.append(_Resting(command.id, command.side, command.price, left))
        return DONE, command.lots - left

    def _refusal(self, command: Command) -> int:
        against = self._against(command)
        if command.life == POST_ONLY and against:
            return WOULD_TAKE
        if command.life == FOK and sum(order.lots for order in against) < command.lots:
            return NOT_ALL
        return DONE

    def _against(self, command: Command) -> list[_Resting]:
        """Orders that it takes, the best price first; sorting keeps the order of arrival."""
        if command.side == BUY:
            found = [one for one in self.resting if one.side == SELL and one.price <= command.price]
            return sorted(found, key=lambda one: one.price)
        found = [one for one in self.resting if one.side == BUY and one.price >= command.price]
        return sorted(found, key=lambda one: -one.price)

    def _is_wrong(self, command: Command) -> bool:
        if not 0 <= command.id < self.ids or command.kind not in (LIMIT, MARKET, CANCEL, REPLACE):
            return True
        if command.kind == CANCEL:
            return False
        if command.lots <= 0 or command.life not in (GTC, IOC, FOK, POST_ONLY):
            return True
        if command.kind != REPLACE and command.side not in (BUY, SELL):
            return True
        return command.kind != MARKET and not 0 <= command.price < self.levels
