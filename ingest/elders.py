"""The earlier shards of a stream whose number of shards was changed: how far their writers have come.

A writer keeps to three rules, so that an older row never overwrites a newer one:

- it commits nothing before all that earlier shards hold is committed, to the QuestDB that it writes to;
- while an earlier shard may be replayed, its own replay would begin at its first message;
- the writer of an earlier shard ends only when nothing of it would be replayed.
"""

from __future__ import annotations

from tapehouse.bus import Bus, State
from tapehouse.floor import Floor, floor_key
from tapehouse.sharding import Sharding, last_of, subjects


async def behind(
    bus: Bus, state: State, sharding: Sharding, shard: int, hot_start_ns: int
) -> tuple[int, ...]:
    """The earlier shards that the writer of `shard` must wait for, before it commits to the QuestDB that
    was started at `hot_start_ns`.

    To be asked when a message of `shard` is there: then the earlier ones get no more.
    """
    found = []
    for elder in sharding.elders(shard):
        floor = Floor.read(await state.get(floor_key(elder)), sharding.created_ns)
        last = await last_of(bus, subjects(elder))
        if last > floor.seq or (last > floor.trail and floor.hot_start_ns != hot_start_ns):
            found.append(elder)
    return tuple(found)
