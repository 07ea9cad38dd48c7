"""The page of an account in Chromium."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ingest.writer.store import QuestDBWriter
from tapehouse.clock import interval_named, now_ns
from tapehouse.model import SEQ_MAX
from tapehouse.settings import Settings, load
from tests.batches import decimals
from tests.gateway.stores.test_account_candles import START as FIRST
from tests.gateway.stores.test_account_candles import trades
from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def _account_trades(settings: Settings) -> None:
    """Three trades of an account this week, with an id that no number of JavaScript has."""
    start = interval_named("1w").start_of(now_ns())
    rows = trades(4711, [(start - FIRST + place, place, 0, 0) for place in range(3)])
    unit = 10**18
    rows.columns.update(
        id=np.array([1, 2, SEQ_MAX]),
        amount=decimals([7 * unit + 1, 6 * unit, 5 * unit]),
        trx_amount=decimals([unit, 2 * unit, 3 * unit]),
        total_done=decimals([0, 0, 0]),
        trans_type=np.ones(3, np.int16),
    )
    writer = QuestDBWriter(settings.questdb)
    try:
        assert writer.commit([rows]) == []
    finally:
        writer.close()


def test_an_account_is_shown_to_the_last_digit(browsed: Browsed, tmp_path: Path) -> None:
    _account_trades(load(browsed.up.home))
    browsed.see("accounts", tmp_path)
