"""The writers' progress: their floors compared with the last messages of their shards.

After the number of shards has changed, writers follow three rules, so that an older row never overwrites a newer
one with the same key:

- a writer commits nothing until all messages of earlier shards are committed to the same QuestDB;
- while an earlier shard may be replayed, a writer's own replay would start at its shard's first message;
- the writer of an earlier shard ends only when none of its messages would be replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from nats.js.errors import NotFoundError

from tapehouse.errors import ConnectError
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.floor import Floor, floor_key
from tapehouse.stream.sharding import Sharding, subjects

_POLL_S = 0.02


@dataclass(frozen=True)
class ShardProgress:
    """A shard's floor, and the shard's last message, which is read after the floor."""

    shard: int
    floor: Floor
    last_seq: int
    """The stream sequence of the shard's last message; 0 when it has none."""

    @property
    def is_written(self) -> bool:
        """Whether every message of the shard is committed to QuestDB."""
        return self.last_seq <= self.floor.seq

    @property
    def may_be_replayed(self) -> bool:
        """Whether some message is not committed yet, or would be committed again if QuestDB lost commits."""
        return self.last_seq > self.floor.trail

    def counts_for(self, questdb_start_ns: int) -> bool:
        """Whether the QuestDB started at `questdb_start_ns` has every message up to the floor."""
        return not self.may_be_replayed or self.floor.hot_start_ns == questdb_start_ns


async def read_floor(state: State, shard: int, created_ns: int) -> Floor:
    """The floor of a shard's writer on the stream created at `created_ns`."""
    return Floor.read(await state.get(floor_key(shard)), created_ns)


async def read_floors(state: State, shards: Iterable[int], created_ns: int) -> dict[int, Floor]:
    """The floors of the writers of several shards, by shard."""
    return {shard: await read_floor(state, shard, created_ns) for shard in shards}


async def read_progress(bus: Bus, state: State, shard: int, created_ns: int) -> ShardProgress:
    """The progress of a shard's writer."""
    floor = await read_floor(state, shard, created_ns)
    return ShardProgress(shard, floor, await last_seq_of(bus, subjects(shard)))


async def last_seq_of(bus: Bus, filter_subject: str) -> int:
    """The sequence of the last message in TICKS whose subject matches; 0 when there is none."""
    try:
        return (await bus.js.get_last_msg(TICKS, filter_subject)).seq or 0
    except NotFoundError:
        return 0


async def last_seq(bus: Bus) -> int:
    """The last sequence of the stream TICKS, even if its message has been purged; 0 for a new stream."""
    return (await bus.js.stream_info(TICKS)).state.last_seq


async def replayable_shards(
    bus: Bus, state: State, known: Sharding, shards: Iterable[int]
) -> tuple[int, ...]:
    """Those of `shards`, in the given order, with messages that are uncommitted or would be replayed."""
    return tuple(
        [
            shard
            for shard in shards
            if (await read_progress(bus, state, shard, known.created_ns)).may_be_replayed
        ]
    )


async def active_shards(bus: Bus, state: State, known: Sharding) -> tuple[int, ...]:
    """The shards whose writers may still write rows: the present ones, and earlier ones that may be replayed.

    In ascending order. The writers of the other earlier shards have ended or are about to end.
    """
    present = known.present.numbers
    earlier = [shard for shard in known.numbers if shard not in present]
    return (*await replayable_shards(bus, state, known, earlier), *present)


async def unwritten_earlier_shards(
    bus: Bus, state: State, known: Sharding, shard: int, questdb_start_ns: int
) -> tuple[int, ...]:
    """The earlier shards that the writer of `shard` must wait for before its first commit.

    `questdb_start_ns` is the start time of the QuestDB that it commits to. Call this only after a message of
    `shard` has been received: from then on the stream accepts none for earlier shards.
    """
    unwritten = []
    for earlier in known.earlier_than(shard):
        progress = await read_progress(bus, state, earlier, known.created_ns)
        if not progress.is_written or not progress.counts_for(questdb_start_ns):
            unwritten.append(earlier)
    return tuple(unwritten)


async def floors_count_for(bus: Bus, state: State, questdb_start_ns: int) -> bool:
    """Whether the QuestDB started at `questdb_start_ns` has every message up to the floors of all shards."""
    known = await sharding.read(state)
    for shard in known.numbers:
        progress = await read_progress(bus, state, shard, known.created_ns)
        if progress.floor.seq and not progress.counts_for(questdb_start_ns):
            return False
    return True


async def wait_until_written(bus: Bus, state: State, seq: int, timeout_s: float = 60) -> None:
    """Wait until the floor of every writer has reached message `seq` of the stream.

    Ignores shards without messages up to `seq`. Raises ConnectError when no floor moves for `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    before, moved_at = None, loop.time()
    known = await sharding.read(state)
    for shard in known.numbers:
        last = min(seq, await last_seq_of(bus, subjects(shard)))
        while last:
            floor = (await read_floor(state, shard, known.created_ns)).seq
            if floor >= last:
                break
            if (shard, floor) != before:
                before, moved_at = (shard, floor), loop.time()
            elif loop.time() - moved_at > timeout_s:
                raise ConnectError(
                    f"writer {shard}: expected its floor to reach {last}, was {floor} for {timeout_s:g} s",
                    remedy="Look at `tapehouse status`: the writer or QuestDB is not running.",
                )
            await asyncio.sleep(_POLL_S)
