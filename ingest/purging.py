"""Freeing the stream below what everyone has done with.

Who has no message left has done with all there are, wherever the last one of its own was: a shard without
ticks must not keep the stream full.
"""

from __future__ import annotations

from nats.js.api import ConsumerInfo

from tapehouse.bus import TICKS, Bus, State
from tapehouse.floor import Floor, floor_key
from tapehouse.sharding import Sharding, last_of, subjects


async def end(bus: Bus) -> int:
    """The last sequence of the stream."""
    return (await bus.js.stream_info(TICKS)).state.last_seq


async def half_full(bus: Bus) -> bool:
    """Whether the stream holds more than half of what it may."""
    info = await bus.js.stream_info(TICKS)
    return info.state.bytes * 2 > (info.config.max_bytes or 0) > 0


async def purge(bus: Bus, state: State, sharding: Sharding) -> None:
    """Purge up to the trail of every writer and what every consumer has acknowledged."""
    # Looked at first: a message that comes after it is behind it.
    lowest = [await end(bus)]
    for shard in sharding.numbers:
        trail = Floor.read(await state.get(floor_key(shard)), sharding.created_ns).trail
        if await last_of(bus, subjects(shard)) > trail:
            lowest.append(trail)
    lowest += [await _done_with(bus, consumer) for consumer in await _consumers(bus)]
    if min(lowest) > 0:
        await bus.js.purge_stream(TICKS, seq=min(lowest) + 1)


async def _consumers(bus: Bus) -> list[ConsumerInfo]:
    """All there are: those of bar makers, which go soon after their makers, too."""
    found: list[ConsumerInfo] = []
    while page := await bus.js.consumers_info(TICKS, offset=len(found)):
        found += page
    return found


async def _done_with(bus: Bus, consumer: ConsumerInfo) -> int:
    acknowledged = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    # Looked at first: a message that comes after it is behind it.
    last = await end(bus)
    config = consumer.config
    filters = config.filter_subjects or [config.filter_subject or ">"]
    if max([await last_of(bus, subjects) for subjects in filters]) <= acknowledged:
        return last
    return int(acknowledged)
