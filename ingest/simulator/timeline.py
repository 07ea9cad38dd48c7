"""The times of the simulator's ticks: a function of their positions, preserved across restarts.

Each position is one tick. Positions are grouped into blocks of a power of two. A segment assigns times to the
positions from its first one on: each second has exactly `rate` positions, in eight parts of equal count and unequal
length (bursts), and some positions share the time of the one before (ties).
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.pseudo_random import make_key, random_words, to_uniform
from tapehouse.clock import DAY, SECOND, Nanos, iso
from tapehouse.errors import UsageError

RATE_MAX = 1_000_000
BOOK_RATE_MAX = 100_000
SYMBOLS_MAX = 100_000
SHARE_MAX = 0.5
CLOCK_SETBACK_MARGIN = 2 * SECOND
"""The wall clock may be set back by so much between two runs."""
HISTORY_RATE = 10
"""Positions a second of history: three days and today are about three million, published in seconds."""
HISTORY_BOOK_RATE = 4
"""Quotes and updates of depth a second of history, each, at most: updates are long."""
_BLOCK_MIN = 4_096
_PARTS = 8
_PACKET_NS = 500_000
_LATENCY_NS = 200_000
_BURSTS, _TIES, _PACKETS = 1, 2, 3


@dataclass(frozen=True)
class Profile:
    """The parameters of a simulation, fixed for a home: another profile would give other ticks under the same ids."""

    seed: int = 1
    symbols: int = 200
    late: float = 0.01
    """Share of ticks emitted late."""
    duplicates: float = 0.005
    """Share of ticks emitted twice."""
    ties: float = 0.2
    """Share of ticks with the time of the tick before them."""

    def __post_init__(self) -> None:
        if not 1 <= self.symbols <= SYMBOLS_MAX:
            raise UsageError(f"simulator symbols: expected 1 to {SYMBOLS_MAX:,}, was {self.symbols}")
        for name in ("late", "duplicates", "ties"):
            share = getattr(self, name)
            if not 0 <= share <= SHARE_MAX:
                raise UsageError(f"simulator {name}: expected a share from 0 to {SHARE_MAX}, was {share}")

    @property
    def block(self) -> int:
        """Positions in a block: several for every symbol."""
        return max(_BLOCK_MIN, 1 << (4 * self.symbols - 1).bit_length())


@dataclass(frozen=True)
class Segment:
    """From position `first` on, at `epoch_ns` (ns UTC), `rate` positions a second."""

    first: int
    epoch_ns: int
    rate: int
    quotes: int = 0
    """Quotes a second of all symbols together."""
    depth: int = 0
    """Updates of depth a second of all symbols together."""

    def __post_init__(self) -> None:
        if not 1 <= self.rate <= RATE_MAX:
            raise UsageError(f"simulator rate: expected 1 to {RATE_MAX:,} a second, was {self.rate}")
        for name in ("quotes", "depth"):
            rate = getattr(self, name)
            if not 0 <= rate <= BOOK_RATE_MAX:
                raise UsageError(f"simulator {name}: expected 0 to {BOOK_RATE_MAX:,} a second, was {rate}")


@dataclass(frozen=True)
class Timeline:
    """A profile and its segments in order of first position."""

    profile: Profile
    segments: tuple[Segment, ...]
    history: int = 0
    """Positions below it are from before the home was created; a segment begins here."""

    def to_json(self) -> bytes:
        """As JSON, for `from_json`."""
        segments = [astuple(segment) for segment in self.segments]
        values = {"version": 1, **asdict(self.profile), "history": self.history, "segments": segments}
        return json.dumps(values, indent=1).encode()

    @staticmethod
    def from_json(text: bytes) -> Timeline:
        """The inverse of `to_json`; ValueError for other text."""
        try:
            found = json.loads(text)
            if found.pop("version") != 1:
                raise ValueError("expected version 1")
            segments = tuple(Segment(*map(int, segment)) for segment in found.pop("segments"))
            history = int(found.pop("history", 0))
            timeline = Timeline(Profile(**found), segments, history)
        except (AttributeError, KeyError, TypeError, UsageError) as reason:
            raise ValueError(f"expected a timeline: {reason}") from None
        firsts = [segment.first for segment in segments]
        if firsts[:1] != [0] or sorted(set(firsts)) != firsts:
            raise ValueError(f"expected segments that start at 0 and rise, was {firsts}")
        if history not in firsts:
            raise ValueError(f"expected a history that ends where a segment begins, was {history}")
        return timeline

    @property
    def rate(self) -> int:
        """Positions a second of the last segment."""
        return self.segments[-1].rate

    def block_times(self, block: int) -> Nanos:
        """The time of each position of a block, ns UTC, non-decreasing."""
        size = self.profile.block
        positions = np.arange(block * size, (block + 1) * size, dtype=np.int64)
        times = self._times(positions)
        random = to_uniform(random_words(positions, make_key(self.profile.seed, _TIES)))
        has_own_time = random >= self.profile.ties
        has_own_time[0] = True
        for segment in self.segments:
            if positions[0] <= segment.first <= positions[-1]:
                has_own_time[segment.first - positions[0]] = True
        tied_to = np.maximum.accumulate(np.where(has_own_time, np.arange(size), 0))
        tied: Nanos = times[tied_to]
        return tied

    def received(self, times: Nanos) -> Nanos:
        """Receive times of ticks at `times`: 0.2 to 1.2 ms later, grouped in packets, non-decreasing."""
        packets = times // _PACKET_NS
        jitter = random_words(packets, make_key(self.profile.seed, _PACKETS)) % np.uint64(_PACKET_NS // 2)
        return (packets + 1) * _PACKET_NS + _LATENCY_NS + jitter.astype(np.int64)

    def due(self, position: int, now_ns: int) -> int:
        """The first position from `position` on that is received after `now_ns`."""
        size = self.profile.block
        block, step = position // size, 1
        # A block is due whole once the next one has begun: search exponentially for the last one that has begun.
        while self._begun(block + step, now_ns):
            block, step = block + step, step * 2
        while step := step // 2:
            if self._begun(block + step, now_ns):
                block += step
        within = np.searchsorted(self.received(self.block_times(block)), now_ns, side="right")
        return max(position, block * size + int(within))

    def _begun(self, block: int, now_ns: int) -> bool:
        first = np.array([block * self.profile.block], np.int64)
        return bool(self.received(self._times(first))[0] <= now_ns)

    def _times(self, positions: NDArray[np.int64]) -> Nanos:
        """Times of rising positions before ties."""
        firsts = np.array([segment.first for segment in self.segments], np.int64)
        bounds = [*np.searchsorted(positions, firsts[1:]).tolist(), len(positions)]
        times = np.empty(len(positions), np.int64)
        start = 0
        for segment, stop in zip(self.segments, bounds, strict=True):
            if stop > start:
                times[start:stop] = self._segment_times(segment, positions[start:stop])
                start = stop
        return times

    def _segment_times(self, segment: Segment, positions: NDArray[np.int64]) -> Nanos:
        since = positions - segment.first
        # Much faster than divmod, which does not see that the divisor is one number.
        seconds = since // segment.rate
        counts = since - seconds * segment.rate
        first, last = int(seconds[0]), int(seconds[-1])
        parts = np.arange(first * _PARTS, (last + 1) * _PARTS, dtype=np.int64)
        random = random_words(parts, make_key(self.profile.seed, _BURSTS, segment.first))
        lengths = (1 + random % np.uint64(_PARTS)).astype(np.int64).reshape(-1, _PARTS)
        ends = np.cumsum(lengths, axis=1)
        edges = np.zeros((len(ends), _PARTS + 1), np.int64)
        edges[:, 1:] = ends * SECOND // ends[:, -1:]
        part = counts * _PARTS // segment.rate
        rest = counts * _PARTS - part * segment.rate
        at = (seconds - first) * (_PARTS + 1) + part
        part_start, part_end = edges.ravel()[at], edges.ravel()[at + 1]
        times: Nanos = (
            segment.epoch_ns + seconds * SECOND + part_start + (part_end - part_start) * rest // segment.rate
        )
        return times


def start_timeline(
    profile: Profile, rate: int, now_ns: int, history_days: int = 0, *, quotes: int = 0, depth: int = 0
) -> Timeline:
    """The timeline of a new home: positions, quotes and depth at these rates a second from `now_ns` on.

    `history_days` adds a history at HISTORY_RATE and HISTORY_BOOK_RATE, from 00:00 UTC so many days ago to `now_ns`.
    """
    if not history_days:
        return Timeline(profile, (Segment(0, now_ns, rate, quotes, depth),))
    midnight = (now_ns // DAY - history_days) * DAY
    past = Segment(0, midnight, HISTORY_RATE, min(quotes, HISTORY_BOOK_RATE), min(depth, HISTORY_BOOK_RATE))
    history = Timeline(profile, (past,)).due(0, now_ns)
    return Timeline(profile, (past, Segment(history, now_ns, rate, quotes, depth)), history)


def resume_timeline(
    timeline: Timeline,
    checkpoint: int,
    bound: int,
    now_ns: int,
    rate: int,
    *,
    quotes: int = 0,
    depth: int = 0,
) -> Timeline:
    """The timeline after a restart, which goes on at these rates a second.

    All positions below `checkpoint` are stored; after the history, none from `checkpoint + bound` on was published.
    Positions that may have been published keep their content and are published again, as does the rest of the
    history. After them a new segment begins at `now_ns`, so that downtime is not caught up. Raises UsageError when
    the clock is more than a minute before the last tick.
    """
    last = timeline.segments[-1]
    switch = min(checkpoint + bound, timeline.due(checkpoint, now_ns + CLOCK_SETBACK_MARGIN))
    switch = max(switch, last.first, checkpoint)
    epoch = now_ns
    if switch:
        block, place = divmod(switch - 1, timeline.profile.block)
        epoch = max(epoch, int(timeline.block_times(block)[place]) + 1)
    if epoch > now_ns + 60 * SECOND:
        raise UsageError(
            f"clock: expected a time after the last simulated tick, {iso(epoch)}, was {iso(now_ns)}",
            remedy="Correct the system's clock, or start in a new home: --home DIR.",
        )
    kept = timeline.segments if last.first < switch else timeline.segments[:-1]
    return replace(timeline, segments=(*kept, Segment(switch, epoch, rate, quotes, depth)))
