"""Refreshes QuestDB's views of bars: soon after a minute has closed, and soon after late rows.

One process of a platform does, by a lease. Nobody waits for it: whoever reads bars takes what a view lacks from the
trades (`tapehouse/stores/questdb_bars.py`), which costs more the longer the last refresh is ago. Refreshed by every
transaction, a view would aggregate the open minute again and again.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from tapehouse.clock import MINUTE, SECOND, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_bars import read_refreshed_views
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stream.bus import State
from tapehouse.stream.lease import Lease

_CHECK_S = 5.0
_SETTLE_NS = 2 * SECOND
"""So long after a minute has ended it is refreshed: most of its last trades have come."""
_PAUSE_S = 5.0
"""Late rows, and history, are refreshed so often at most."""
_SHARE = 10
"""Between two refreshes is at least so many times as long as the first of them took."""
_TIMEOUT_S = 60.0
_log = structlog.get_logger()


class BarViewsRefresher:
    """Refreshes the views while it has the lease. `run` ends only when cancelled."""

    def __init__(self, settings: QuestDB, state: State, lease_s: float) -> None:
        self._settings = settings
        self._state = state
        self._lease_s = lease_s

    async def run(self) -> None:
        """Refresh whenever closed minutes have rows that the views lack; errors are logged, and tried again."""
        while True:
            try:
                async with Lease(self._state, "refresher", self._lease_s) as lease, lease.guard():
                    await self._keep_refreshed()
            except TapehouseError as reason:
                _log.warning("bar views not refreshed, retrying", reason=reason.message)
                await asyncio.sleep(_PAUSE_S)

    async def _keep_refreshed(self) -> None:
        # Its thread closes the connection, also when this task is cancelled while a query runs.
        thread = ThreadPoolExecutor(1, thread_name_prefix="refresher")
        reader = QuestReader(self._settings, _TIMEOUT_S)
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(_CHECK_S)
                if await loop.run_in_executor(thread, is_refresh_due, reader, now_ns()):
                    began = time.monotonic()
                    await loop.run_in_executor(thread, refresh_bar_views, self._settings, _TIMEOUT_S)
                    await asyncio.sleep(max(_PAUSE_S, _SHARE * (time.monotonic() - began)))
        finally:
            thread.submit(reader.close)
            thread.shutdown(wait=False)


def is_refresh_due(reader: QuestReader, clock_ns: int) -> bool:
    """Whether the views lack rows of minutes that have closed by the clock. Blocking.

    Raises ConnectError, TapehouseError.
    """
    views = read_refreshed_views(reader, "1d")
    open_minute = (clock_ns - _SETTLE_NS) // MINUTE * MINUTE
    return views.daily_before_ns < open_minute or any(start < open_minute for start, _ in views.unrefreshed)
