"""How symbols are spread over shards, and how the number of shards is changed on a live stream.

A shard's number is never used for anything else again: 4 shards after shard 0 are 1 to 4, and 2 after those are
5 and 6. The stream takes the present shards' subjects alone, so a change is one update of the stream: behind
it the earlier shards get no more, and a feed that still publishes to them is refused and starts again. The
older rows of a symbol may wait in an earlier shard while newer ones come through a present one; so a writer
commits nothing before all that earlier shards hold is committed (`ingest/elders.py`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from tapehouse.bus import TICKS, Bus, State
from tapehouse.errors import StackError
from tapehouse.floor import Floor, floor_key

KEY = "shards"


@dataclass(frozen=True)
class Shards:
    """`count` shards, numbered from `first` on."""

    first: int
    count: int

    @property
    def numbers(self) -> range:
        """The shards."""
        return range(self.first, self.first + self.count)

    def of(self, symbol: str) -> int:
        """The shard of a symbol, the same on every machine and release."""
        return self.first + shard_of(symbol, self.count)


@dataclass(frozen=True)
class Sharding:
    """What the shared state holds: the present shards, and before them those not done with yet."""

    created_ns: int
    """When the stream was created."""
    generations: tuple[Shards, ...]
    """Oldest first; the last are the present shards."""

    @property
    def present(self) -> Shards:
        """The shards that feeds publish to."""
        return self.generations[-1]

    @property
    def numbers(self) -> list[int]:
        """All shards, the earliest first."""
        return [number for shards in self.generations for number in shards.numbers]

    def elders(self, shard: int) -> list[int]:
        """The shards of all generations before that of `shard`."""
        return [
            number
            for shards in self.generations
            for number in shards.numbers
            if shards.first + shards.count <= shard
        ]

    def changed(self, count: int) -> Sharding:
        """The same with `count` present shards."""
        present = self.present
        if present.count == count:
            return self
        return Sharding(self.created_ns, (*self.generations, Shards(present.first + present.count, count)))

    def value(self) -> dict[str, Any]:
        """As the shared state holds it."""
        return {
            "created_ns": self.created_ns,
            "generations": [[shards.first, shards.count] for shards in self.generations],
        }

    @classmethod
    def of(cls, value: dict[str, Any]) -> Sharding:
        """From what the shared state holds."""
        generations = tuple(Shards(first, count) for first, count in value["generations"])
        return cls(value["created_ns"], generations)


def shard_of(symbol: str, count: int) -> int:
    """The place of a symbol among `count` shards, the same on every machine and release."""
    return zlib.crc32(symbol.encode()) % count


def subjects(shard: int) -> str:
    """What is published to a shard."""
    return f"ticks.*.*.{shard}"


def created_ns(stream: StreamInfo) -> int:
    """When a stream was created."""
    assert stream.created is not None
    return int(stream.created.timestamp() * 1_000_000) * 1000


async def read(state: State) -> Sharding:
    """The present and the earlier shards; StackError where the streams were never made."""
    value = await state.get(KEY)
    if value is None:
        raise StackError(
            "shards: expected their number in the shared state, was none",
            remedy="Start the platform: `tapehouse up` makes the streams and records it.",
        )
    return Sharding.of(value)


async def current(state: State) -> Shards:
    """The shards that a feed publishes to. A feed asks once, when it starts.

    When they change while it runs, its publisher raises PublishError: it is started again and goes on from
    its checkpoint.
    """
    return (await read(state)).present


async def last_of(bus: Bus, subjects: str) -> int:
    """The last message under subjects; 0 when there is none."""
    try:
        return (await bus.js.get_last_msg(TICKS, subjects)).seq or 0
    except NotFoundError:
        return 0


async def done_with(bus: Bus, state: State, sharding: Sharding, shard: int) -> bool:
    """Whether no message of a shard is unwritten, nor would be replayed."""
    floor = Floor.read(await state.get(floor_key(shard)), sharding.created_ns)
    return await last_of(bus, subjects(shard)) <= floor.trail
