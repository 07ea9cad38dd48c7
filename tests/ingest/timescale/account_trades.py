"""Account trades of the tests, and their candles by a plain implementation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from tapehouse.batch import Batch
from tapehouse.clock import INTERVALS
from tapehouse.model import ACCOUNT_TRADES
from tests.batches import decimals


class AccountTrade(NamedTuple):
    """One row; amounts are multiples of 10**-18."""

    ts_event: int
    account_id: int
    id: int
    amount: int
    trx_amount: int

    @property
    def key(self) -> tuple[int, int, int]:
        return self[:3]


def as_batch(rows: Sequence[AccountTrade]) -> Batch:
    """The rows as one batch."""
    times = np.array([row.ts_event for row in rows], np.int64)
    columns: dict[str, Any] = {
        "ts_event": times,
        "ts_recv": times + 5,
        "account_id": np.array([row.account_id for row in rows], np.int64),
        "id": np.array([row.id for row in rows], np.int64),
        "total_done": decimals([10**18] * len(rows)),
        "trx_amount": decimals([row.trx_amount for row in rows]),
        "amount": decimals([row.amount for row in rows]),
        "trans_type": np.ones(len(rows), np.int16),
    }
    return Batch(ACCOUNT_TRADES, "accounts", len(rows), columns)


def exact(number: int) -> Decimal:
    """A number of 10**-18, with all its digits."""
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -18))


def last_of_each_key(rows: Sequence[AccountTrade]) -> list[AccountTrade]:
    """What a store has of the rows, in the order of the key."""
    return sorted({row.key: row for row in rows}.values())


def candles(rows: Sequence[AccountTrade], interval: str) -> list[tuple[Any, ...]]:
    """(ts, account, open, high, low, close, volume, trades) in the order of time and account."""
    buckets: dict[tuple[int, int], list[AccountTrade]] = defaultdict(list)
    for row in last_of_each_key(rows):
        buckets[INTERVALS[interval].start_of(row.ts_event), row.account_id].append(row)
    found = []
    for (start, account), members in sorted(buckets.items()):
        members.sort(key=lambda row: (row.ts_event, row.id))
        amounts = [row.amount for row in members]
        prices = (amounts[0], max(amounts), min(amounts), amounts[-1], sum(row.trx_amount for row in members))
        found.append((start, account, *map(exact, prices), len(members)))
    return found
