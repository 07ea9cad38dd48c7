"""Refreshes QuestDB's views of bars: they show rows committed since the last refresh only when they are told to."""

from __future__ import annotations

from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, as_owner
from tapehouse.stores.questdb_bars import DAILY_BARS, MINUTE_BARS, TRADES
from tapehouse.stores.questdb_watch import answered_within

_STATEMENT_TIMEOUT_S = 30.0


def refresh_bar_views(settings: QuestDB, timeout_s: float = 60.0) -> None:
    """Refresh both views, and wait until they show all rows that are committed to trades now. Blocking.

    Raises ConnectError when QuestDB does not answer or a view is not refreshed within `timeout_s`, TapehouseError when
    a view is invalid.
    """
    with QuestReader(settings, timeout_s) as reader:
        reader.wait_applied(TRADES)
        # The second is made of the first.
        for view in (MINUTE_BARS, DAILY_BARS):
            with as_owner(settings) as connection, answered_within(connection, _STATEMENT_TIMEOUT_S):
                connection.execute(f"REFRESH MATERIALIZED VIEW {view} INCREMENTAL".encode())
            reader.wait_refreshed(view, timeout_s)
