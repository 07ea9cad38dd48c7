"""When the simulator's ticks happen: a function of their positions, kept through stops and kills.

Position i is one moment. Positions are cut into blocks of a power of two. A segment gives the positions from
its first one on their times, by its rate: each second has exactly `rate` positions, in eight parts of equal
count and unequal length (bursts), and some positions share the moment of the one before (ties).
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ingest.feeds.chance import fractions, key, words
from tapehouse.clock import DAY, SECOND, Nanos, iso
from tapehouse.errors import UsageError

RATE_MAX = 1_000_000
SYMBOLS_MAX = 100_000
SHARE_MAX = 0.5
MARGIN = 2 * SECOND
"""How far the wall clock may be set back between two runs without harm."""
HISTORY_RATE = 10
"""Positions a second of the past: three days and today are about three million, published in seconds."""
_BLOCK_MIN = 4_096
_PARTS = 8
_PACKET = 500_000
_WAY = 200_000
_BURSTS, _TIES, _PACKETS = 1, 2, 3


@dataclass(frozen=True)
class Profile:
    """What the simulator is told once for a home; another profile is another source."""

    seed: int = 1
    symbols: int = 200
    late: float = 0.01
    """Share of ticks that come later than they happened."""
    duplicates: float = 0.005
    """Share of ticks that come twice."""
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
        """Positions in a block: enough for every symbol to have several."""
        return max(_BLOCK_MIN, 1 << (4 * self.symbols - 1).bit_length())


@dataclass(frozen=True)
class Segment:
    """From position `first` on, at `epoch_ns` (ns UTC), `rate` positions a second."""

    first: int
    epoch_ns: int
    rate: int

    def __post_init__(self) -> None:
        if not 1 <= self.rate <= RATE_MAX:
            raise UsageError(f"simulator rate: expected 1 to {RATE_MAX:,} a second, was {self.rate}")


@dataclass(frozen=True)
class Timeline:
    """A profile and its segments, by first position."""

    profile: Profile
    segments: tuple[Segment, ...]
    history: int = 0
    """The positions below are of the time before the home was made; a segment begins here."""

    def to_json(self) -> bytes:
        """As JSON, for `from_json`."""
        segments = [astuple(segment) for segment in self.segments]
        values = {"version": 1, **asdict(self.profile), "history": self.history, "segments": segments}
        return json.dumps(values, indent=1).encode()

    @staticmethod
    def from_json(text: bytes) -> Timeline:
        """What `to_json` wrote; ValueError for anything else."""
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
        """Positions a second from the last segment on."""
        return self.segments[-1].rate

    def block_times(self, block: int) -> Nanos:
        """When each position of a block happens, ns UTC, never falling from one to the next."""
        size = self.profile.block
        places = np.arange(block * size, (block + 1) * size, dtype=np.int64)
        times = self._times(places)
        chance = fractions(words(places, key(self.profile.seed, _TIES)))
        own = chance >= self.profile.ties
        own[0] = True
        for segment in self.segments:
            if places[0] <= segment.first <= places[-1]:
                own[segment.first - places[0]] = True
        leaders = np.maximum.accumulate(np.where(own, np.arange(size), 0))
        tied: Nanos = times[leaders]
        return tied

    def received(self, times: Nanos) -> Nanos:
        """When what happened at `times` is received: 0.2 to 1.2 ms later, packed, never falling either."""
        packets = times // _PACKET
        jitter = words(packets, key(self.profile.seed, _PACKETS)) % np.uint64(_PACKET // 2)
        return (packets + 1) * _PACKET + _WAY + jitter.astype(np.int64)

    def due(self, position: int, now_ns: int) -> int:
        """The first position from `position` on that is received after `now_ns`."""
        size = self.profile.block
        block, step = position // size, 1
        # Blocks whose successor has begun are due as a whole: gallop to the last one that has begun.
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

    def _times(self, places: NDArray[np.int64]) -> Nanos:
        """Times of rising positions before ties."""
        firsts = np.array([segment.first for segment in self.segments], np.int64)
        bounds = [*np.searchsorted(places, firsts[1:]).tolist(), len(places)]
        times = np.empty(len(places), np.int64)
        start = 0
        for segment, stop in zip(self.segments, bounds, strict=True):
            if stop > start:
                times[start:stop] = self._within(segment, places[start:stop])
                start = stop
        return times

    def _within(self, segment: Segment, places: NDArray[np.int64]) -> Nanos:
        since = places - segment.first
        # Much faster than divmod, which does not see that the divisor is one number.
        seconds = since // segment.rate
        counts = since - seconds * segment.rate
        first, last = int(seconds[0]), int(seconds[-1])
        parts = np.arange(first * _PARTS, (last + 1) * _PARTS, dtype=np.int64)
        chance = words(parts, key(self.profile.seed, _BURSTS, segment.first))
        lengths = (1 + chance % np.uint64(_PARTS)).astype(np.int64).reshape(-1, _PARTS)
        ends = np.cumsum(lengths, axis=1)
        edges = np.zeros((len(ends), _PARTS + 1), np.int64)
        edges[:, 1:] = ends * SECOND // ends[:, -1:]
        part = counts * _PARTS // segment.rate
        rest = counts * _PARTS - part * segment.rate
        at = (seconds - first) * (_PARTS + 1) + part
        begin, end = edges.ravel()[at], edges.ravel()[at + 1]
        times: Nanos = segment.epoch_ns + seconds * SECOND + begin + (end - begin) * rest // segment.rate
        return times


def begin(profile: Profile, rate: int, now_ns: int, history_days: int = 0) -> Timeline:
    """The timeline of a new home: `rate` positions a second from `now_ns` on.

    With `history_days` it has a past at HISTORY_RATE too, from 00:00 UTC so many days ago to `now_ns`.
    """
    if not history_days:
        return Timeline(profile, (Segment(0, now_ns, rate),))
    past = Segment(0, (now_ns // DAY - history_days) * DAY, HISTORY_RATE)
    history = Timeline(profile, (past,)).due(0, now_ns)
    return Timeline(profile, (past, Segment(history, now_ns, rate)), history)


def resume(timeline: Timeline, checkpoint: int, bound: int, now_ns: int, rate: int) -> Timeline:
    """The timeline to go on with after a stop or a kill.

    All positions below `checkpoint` are stored, and of those from the last segment's first on none from
    `checkpoint + bound` on was published. What may have been published lies below the switch: it keeps its
    content and is published again, and so does what is left of the history. From the switch on a new
    segment begins at `now_ns`, so that the time between is not caught up. Raises UsageError when the clock is
    more than a minute behind the last tick.
    """
    last = timeline.segments[-1]
    switch = min(checkpoint + bound, timeline.due(checkpoint, now_ns + MARGIN))
    switch = max(switch, last.first, checkpoint)
    epoch = now_ns
    if switch:
        block, place = divmod(switch - 1, timeline.profile.block)
        epoch = max(epoch, int(timeline.block_times(block)[place]) + 1)
    if epoch > now_ns + 60 * SECOND:
        raise UsageError(
            f"clock: expected a time from {iso(epoch)} on, where the simulator stopped, was {iso(now_ns)}",
            remedy="Set the clock right, or start in a new home.",
        )
    kept = timeline.segments if last.first < switch else timeline.segments[:-1]
    return replace(timeline, segments=(*kept, Segment(switch, epoch, rate)))
