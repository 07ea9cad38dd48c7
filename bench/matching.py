"""The matching engine and the checks of risk of backtests: us an order on one core.

A flow of a million commands on one book (fixed seed): 60 of 100 are limit orders whose distance from a price that
wanders is geometric, 40 cancel one of the newest 2,000 orders, so that a third of the orders trade; ids are used again.
`us_per_order` is that of all commands, `us_per_risk_check` that of a check of all limits. The peer is the same flow by
sorted lists in plain Python, on its first commands; both trade the same lots.
"""

from __future__ import annotations

import bisect
import statistics
import time
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from analytics.backtest.matching import BUY, CANCEL, COMMAND, LIMIT, RESULT, TRADE, execute, new_book
from analytics.backtest.risk import check
from tapehouse.clock import SECOND

_TURNS = 5
_COMMANDS = 1_000_000
_PLAIN = 20_000
_IDS = 4_096
_LEVELS = 65_536


def measure() -> dict[str, Any]:
    """Medians; the engine, the checks and the peer take turns."""
    commands = _flow()
    times: dict[str, list[float]] = {}
    traded = 0
    for turn in range(_TURNS + 1):
        matching, traded, first_lots = _match(commands)
        plain, plain_lots = _plain(commands)
        assert first_lots == plain_lots, (first_lots, plain_lots)
        found = {"us_per_order": matching, "us_per_risk_check": _risk(commands), "plain_us": plain}
        for name, value in found.items():
            if turn:  # the first compiles
                times.setdefault(name, []).append(value)
    figures = {name: round(statistics.median(values), 4) for name, values in times.items()}
    return {
        "commands": _COMMANDS,
        "trades": traded,
        **figures,
        "peer": "sorted lists in Python",
        "ratio": round(figures["us_per_order"] / figures["plain_us"], 4),
    }


def _flow() -> NDArray[Any]:
    random = np.random.default_rng(0)
    places = np.arange(_COMMANDS)
    rows = np.zeros(_COMMANDS, COMMAND)
    rows["kind"] = np.where(random.random(_COMMANDS) < 0.4, CANCEL, LIMIT)
    older = random.integers(1, 2_000, _COMMANDS)
    rows["id"] = np.where(rows["kind"] == CANCEL, places - older, places) % _IDS
    rows["side"] = random.integers(0, 2, _COMMANDS)
    middle = _LEVELS // 2 + np.cumsum(random.choice([-1, 0, 1], _COMMANDS, p=[0.02, 0.96, 0.02]))
    away = random.geometric(0.2, _COMMANDS) - 3
    rows["price"] = middle + np.where(rows["side"] == BUY, -away, away)
    rows["lots"] = random.integers(1, 100, _COMMANDS)
    return rows


def _match(commands: NDArray[Any]) -> tuple[float, int, int]:
    """us a command, how many trades there were, and the lots that the first commands traded."""
    book = new_book(_IDS, _LEVELS)
    results, trades = np.zeros(len(commands), RESULT), np.empty(2 * len(commands), TRADE)
    began = time.perf_counter()
    done, count = execute(book, commands, 0, results, trades)
    took = time.perf_counter() - began
    assert done == len(commands)
    return took / len(commands) * 1e6, count, int(results["filled"][:_PLAIN].sum())


@numba.njit(nogil=True, error_model="numpy")
def _check_all(
    most: NDArray[np.int64], money: NDArray[np.float64], sent: NDArray[np.int64], commands: NDArray[Any]
) -> int:
    """How many commands pass; positions follow those that do."""
    position = passed = 0
    for row in range(len(commands)):
        side = 1 - 2 * commands[row].side
        code = check(
            most, money, sent, side, commands[row].lots, position, 10, 100.0, 5_000.0, 3.0, row * 1_000_000
        )
        if code == 0:
            position += side * commands[row].lots
            passed += 1
    return passed


def _risk(commands: NDArray[Any]) -> float:
    most, money = np.array([95, 400], np.int64), np.array([40_000.0, 5.0])
    sent = np.full(601, -SECOND, np.int64)
    sent[0] = 0
    began = time.perf_counter()
    passed = _check_all(most, money, sent, commands)
    took = time.perf_counter() - began
    assert 0 < passed < len(commands)
    return took / len(commands) * 1e6


def _plain(commands: NDArray[Any]) -> tuple[float, int]:
    """us a command of the first ones, and the lots traded: resting orders as sorted lists of (rank, arrival, id)."""
    sides: tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]] = ([], [])
    rests: dict[int, tuple[int, tuple[int, int, int]]] = {}
    lots: dict[int, int] = {}
    traded = 0
    rows = commands[:_PLAIN].tolist()
    began = time.perf_counter()
    for arrival, (id_, kind, side, _, _, price, left) in enumerate(rows):
        if kind == CANCEL:
            if id_ in rests:
                own, key = rests.pop(id_)
                sides[own].pop(bisect.bisect_left(sides[own], key))
            continue
        if id_ in rests:
            continue
        others, reach = sides[1 - side], price if side == BUY else -price
        while left and others and others[0][0] <= reach:
            best = others[0][2]
            part = min(left, lots[best])
            left -= part
            lots[best] -= part
            traded += part
            if not lots[best]:
                others.pop(0)
                del rests[best]
        if left:
            lots[id_] = left
            rests[id_] = side, (-reach, arrival, id_)
            bisect.insort(sides[side], rests[id_][1])
    return (time.perf_counter() - began) / len(rows) * 1e6, traded
