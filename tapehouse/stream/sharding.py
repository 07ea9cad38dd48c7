"""How symbols are assigned to shards, and how the number of shards is changed on a live stream.

Shard numbers are never reused: 4 shards after shard 0 are 1 to 4, and 2 after those are 5 and 6. The stream
accepts only the subjects of the present shards, so a change is one update of the stream: after it the earlier
shards get no messages, and a feed that still publishes to them gets an error and restarts. Older rows of a
symbol may still be unwritten in an earlier shard while newer ones arrive in a present one; so a writer commits
nothing until all messages of earlier shards are committed (`tapehouse/stream/progress.py`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from nats.js.api import StreamInfo

from tapehouse.errors import StackError
from tapehouse.stream.bus import State

KEY = "shards"


@dataclass(frozen=True)
class Shards:
    """`count` shards with consecutive numbers from `first`."""

    first: int
    count: int

    @property
    def numbers(self) -> range:
        """The numbers of the shards."""
        return range(self.first, self.first + self.count)

    def of(self, symbol: str) -> int:
        """The number of a symbol's shard; the same on every machine and in every release."""
        return self.first + shard_of(symbol, self.count)


@dataclass(frozen=True)
class Sharding:
    """The present shards, and earlier ones that may still have unwritten messages, as stored in the shared state."""

    created_ns: int
    """When the stream was created, ns UTC."""
    generations: tuple[Shards, ...]
    """Oldest first; the last element is the present shards."""

    @property
    def present(self) -> Shards:
        """The shards that feeds publish to."""
        return self.generations[-1]

    @property
    def numbers(self) -> list[int]:
        """The numbers of all shards, in ascending order."""
        return [number for shards in self.generations for number in shards.numbers]

    def earlier_than(self, shard: int) -> list[int]:
        """The numbers of the shards of all generations before that of `shard`."""
        return [
            number
            for shards in self.generations
            for number in shards.numbers
            if shards.first + shards.count <= shard
        ]

    def changed(self, count: int) -> Sharding:
        """The sharding after the number of present shards is set to `count`."""
        present = self.present
        if present.count == count:
            return self
        return Sharding(self.created_ns, (*self.generations, Shards(present.first + present.count, count)))

    def value(self) -> dict[str, Any]:
        """The JSON value for the shared state."""
        return {
            "created_ns": self.created_ns,
            "generations": [[shards.first, shards.count] for shards in self.generations],
        }

    @classmethod
    def of(cls, value: dict[str, Any]) -> Sharding:
        """Parse the JSON value from the shared state."""
        generations = tuple(Shards(first, count) for first, count in value["generations"])
        return cls(value["created_ns"], generations)


def shard_of(symbol: str, count: int) -> int:
    """The index, 0 to `count` - 1, of a symbol's shard; the same on every machine and in every release."""
    return zlib.crc32(symbol.encode()) % count


def subjects(shard: int) -> str:
    """The subject filter of a shard's batches."""
    return f"ticks.*.*.{shard}"


def created_ns(stream: StreamInfo) -> int:
    """When a stream was created, ns UTC."""
    assert stream.created is not None
    return int(stream.created.timestamp() * 1_000_000) * 1000


async def read(state: State) -> Sharding:
    """The present and the earlier shards. Raises StackError when the streams have not been created."""
    value = await state.get(KEY)
    if value is None:
        raise StackError(
            "shards: expected their number in the shared state, was none",
            remedy="Start the platform: `tapehouse up` creates the streams and stores it.",
        )
    return Sharding.of(value)


async def current(state: State) -> Shards:
    """The shards that a feed publishes to; a feed reads them once, when it starts.

    If they change while it runs, its publisher raises PublishError; the feed is restarted and resumes from its
    checkpoint.
    """
    return (await read(state)).present
