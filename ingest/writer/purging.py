"""Purging the messages of the stream that every consumer has processed.

A consumer without unprocessed messages counts as at the end of the stream, wherever its own last message was:
otherwise a shard without ticks would keep the stream full.
"""

from __future__ import annotations

from nats.js.api import ConsumerInfo

from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.progress import last_seq, last_seq_of, read_progress
from tapehouse.stream.sharding import Sharding


async def is_half_full(bus: Bus) -> bool:
    """Whether the stream uses more than half of its size limit."""
    info = await bus.js.stream_info(TICKS)
    return info.state.bytes * 2 > (info.config.max_bytes or 0) > 0


async def purge_processed(bus: Bus, state: State, known: Sharding) -> str:
    """Purge up to the lowest of every writer's replay start and every consumer's acknowledgement floor.

    Returns the name of the consumer that all others are ahead of, whose messages alone the stream keeps; else "".
    """
    # Read first: messages that arrive later have higher sequences.
    written = [await last_seq(bus)]
    for shard in known.numbers:
        progress = await read_progress(bus, state, shard, known.created_ns)
        if progress.may_be_replayed:
            written.append(progress.floor.trail)
    processed = {consumer.name: await _processed_seq(bus, consumer) for consumer in await _consumers(bus)}
    lowest = min([*written, *processed.values()])
    if lowest > 0:
        await bus.js.purge_stream(TICKS, seq=lowest + 1)
    last = [name for name, seq in processed.items() if seq == lowest]
    return last[0] if len(last) == 1 and min(written) > lowest else ""


async def _consumers(bus: Bus) -> list[ConsumerInfo]:
    """All consumers of the stream, including those of bar makers, which expire soon after the bar makers end."""
    found: list[ConsumerInfo] = []
    while page := await bus.js.consumers_info(TICKS, offset=len(found)):
        found += page
    return found


async def _processed_seq(bus: Bus, consumer: ConsumerInfo) -> int:
    acknowledged = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    # Read first: messages that arrive later have higher sequences.
    end = await last_seq(bus)
    config = consumer.config
    filters = config.filter_subjects or [config.filter_subject or ">"]
    if max([await last_seq_of(bus, subject) for subject in filters]) <= acknowledged:
        return end
    return int(acknowledged)
