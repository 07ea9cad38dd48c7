"""Waiting until what was published can be queried."""

from __future__ import annotations

import asyncio

from ingest.floor import floor_key
from tapehouse.bus import TICKS, Bus, State
from tapehouse.errors import ConnectError
from tapehouse.questdb import QuestReader

_LOOK_S = 0.02
_VIEWS = ("bars_1m", "bars_1d")


async def until_written(bus: Bus, state: State, shards: int, seq: int, patience_s: float = 60) -> None:
    """Wait until every writer's floor has passed the stream's message `seq`.

    A shard without messages up to `seq` has none to wait for. Raises ConnectError when no floor moves for
    `patience_s`.
    """
    created = (await bus.js.stream_info(TICKS)).created
    assert created is not None
    loop = asyncio.get_running_loop()
    before, moved_at = None, loop.time()
    for shard in range(shards):
        last = await _last_of(bus, shard, seq)
        while last:
            value = await state.get(floor_key(shard))
            floor = value["seq"] if value else 0
            if floor >= last:
                break
            if floor != before:
                before, moved_at = floor, loop.time()
            elif loop.time() - moved_at > patience_s:
                raise ConnectError(
                    f"writer {shard}: expected its floor to reach {last}, was {floor} for {patience_s:g} s",
                    remedy="Look at `tapehouse status`: the writer, or QuestDB behind it, does not run.",
                )
            await asyncio.sleep(_LOOK_S)


async def _last_of(bus: Bus, shard: int, seq: int) -> int:
    """The last message of a shard at or below `seq`, at most; 0 when the shard has none."""
    filtered = await bus.js.stream_info(TICKS, subjects_filter=f"ticks.*.*.{shard}")
    if not filtered.state.subjects:
        return 0
    lasts = [await bus.js.get_last_msg(TICKS, subject, direct=True) for subject in filtered.state.subjects]
    return min(seq, max(last.seq or 0 for last in lasts))


def wait_queryable(reader: QuestReader, tables: set[str], patience_s: float = 60) -> None:
    """Wait until what is committed to `tables` is visible, in the bars too."""
    for table in sorted(tables):
        reader.wait_applied(table)
    if "trades" in tables:
        for view in _VIEWS:
            reader.wait_refreshed(view, patience_s)
