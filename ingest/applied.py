"""Waiting until what was published can be queried."""

from __future__ import annotations

import asyncio

from tapehouse import sharding
from tapehouse.bus import Bus, State
from tapehouse.errors import ConnectError
from tapehouse.floor import Floor, floor_key
from tapehouse.questdb import QuestReader
from tapehouse.sharding import last_of

_LOOK_S = 0.02
_VIEWS = ("bars_1m", "bars_1d")


async def until_written(bus: Bus, state: State, seq: int, patience_s: float = 60) -> None:
    """Wait until every writer's floor has passed the stream's message `seq`.

    A shard without messages up to `seq` has none to wait for. Raises ConnectError when no floor moves for
    `patience_s`.
    """
    loop = asyncio.get_running_loop()
    before, moved_at = None, loop.time()
    known = await sharding.read(state)
    for shard in known.numbers:
        last = min(seq, await last_of(bus, sharding.subjects(shard)))
        while last:
            floor = Floor.read(await state.get(floor_key(shard)), known.created_ns).seq
            if floor >= last:
                break
            if (shard, floor) != before:
                before, moved_at = (shard, floor), loop.time()
            elif loop.time() - moved_at > patience_s:
                raise ConnectError(
                    f"writer {shard}: expected its floor to reach {last}, was {floor} for {patience_s:g} s",
                    remedy="Look at `tapehouse status`: the writer, or QuestDB behind it, does not run.",
                )
            await asyncio.sleep(_LOOK_S)


def wait_queryable(reader: QuestReader, tables: set[str], patience_s: float = 60) -> None:
    """Wait until what is committed to `tables` is visible, in the bars too."""
    for table in sorted(tables):
        reader.wait_applied(table)
    if "trades" in tables:
        for view in _VIEWS:
            reader.wait_refreshed(view, patience_s)
