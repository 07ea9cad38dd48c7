"""What came for sealed days: read from the late stream, merged into the cold store, and let go of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import polars as pl
import structlog
from nats.errors import Error as NatsError

from analytics.coldstore import ColdStore
from analytics.days import Day, takes_late
from analytics.handover import kept_seal
from analytics.laterows import PLACE, LateRows
from analytics.ledger import Key, Late
from analytics.merging import Merged, Merger
from tapehouse import direct, sharding
from tapehouse.bus import LATE, Bus
from tapehouse.clock import day_of
from tapehouse.errors import ConnectError, TapehouseError, WireError
from tapehouse.model import KINDS, Kind
from tapehouse.seal import Seal
from tapehouse.tabular import as_frame
from tapehouse.wire import ROWS_MAX, unpack

_MESSAGES = 256
_BYTES = 8 * 2**20
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Message:
    seq: int
    day: str
    rows: pl.DataFrame
    merged: bool
    """Whether its day holds it, by the ledger."""


@dataclass
class LateReport:
    """What one run did with the late stream."""

    merged: list[Merged] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)
    waiting: set[Key] = field(default_factory=set)
    """Days that are not the cold store's yet: their rows stay in the stream."""


class LateStream:
    """Merges what the late stream holds. For whoever holds the mirror's lease."""

    def __init__(self, bus: Bus, cold: ColdStore, merger: Merger) -> None:
        self._bus = bus
        self._cold = cold
        self._merger = merger

    async def merge_all(self, survey: Callable[[], Awaitable[Mapping[Key, Day]]]) -> LateReport:
        """Merge what is there now, one kind after another; then the stream is freed of it.

        A day that fails, and days that are still the hot store's, keep their messages. `survey` tells what is
        known of all days.
        """
        info = await self._bus.js.stream_info(LATE, subjects_filter=">")
        if not info.state.messages:
            return LateReport()
        # What all writers keep to, read before the days are.
        seal = await kept_seal(self._bus)
        days = await survey()
        last = Late(sharding.created_ns(info), info.state.last_seq)
        report = LateReport()
        done: set[int] = set()
        for kind in sorted({subject.split(".")[1] for subject in info.state.subjects or ()}):
            try:
                done |= await self._merge(KINDS[kind], last, info.state.messages, days, seal, report)
            except (TapehouseError, NatsError) as reason:
                report.failed[kind, ""] = str(reason)
                _log.warning("late ticks not read", kind=kind, reason=str(reason))
        if done:
            await self._free(info.state.first_seq, done)
        return report

    async def _free(self, first: int, done: set[int]) -> None:
        """Let go of messages: those below all that must stay at once, the others one by one."""
        kept = first
        while kept in done:
            kept += 1
        if kept > first:
            await self._bus.js.purge_stream(LATE, seq=kept)
        for seq in sorted(seq for seq in done if seq > kept):
            await self._bus.js.delete_msg(LATE, seq)

    async def _merge(
        self, kind: Kind, last: Late, held: int, days: Mapping[Key, Day], seal: Seal, report: LateReport
    ) -> set[int]:
        """Merge one kind; returns the messages that nobody needs any more."""
        done: set[int] = set()
        messages: dict[str, list[int]] = defaultdict(list)
        async with LateRows.opened(self._cold, kind) as late:
            async for message in self._messages(kind, last, held, days):
                if message.merged:
                    done.add(message.seq)
                elif takes_late(days.get((kind.name, message.day)), message.day, kind.name, seal):
                    messages[message.day].append(message.seq)
                    await late.hold(message.rows)
                else:
                    report.waiting.add((kind.name, message.day))
            await late.send()
            for day, seqs in sorted(messages.items()):
                try:
                    report.merged.append(await self._merger.merge(day, late, last))
                    done.update(seqs)
                except (TapehouseError, NatsError) as reason:
                    report.failed[kind.name, day] = str(reason)
                    _log.warning("late ticks not merged", kind=kind.name, day=day, reason=str(reason))
        return done

    async def _messages(
        self, kind: Kind, last: Late, held: int, days: Mapping[Key, Day]
    ) -> AsyncIterator[_Message]:
        """The messages of a kind up to the last one.

        Raises ConnectError where the stream does not give all `held` messages that it says it has.
        """
        seq = seen = 0
        while seq < last.seq:
            found = await direct.following(self._bus, LATE, seq + 1, _MESSAGES, _BYTES)
            if not found:
                break
            for seq, subject, data in found:
                if seq <= last.seq:
                    seen += 1
                    if subject.split(".")[1] == kind.name:
                        yield _read(kind, seq, data, last, days)
        if seen < held:
            raise ConnectError(
                f"nats: expected {held:,} messages of {LATE} up to {last.seq}, was {seen:,}",
                remedy="A server of the cluster is behind: the next run of the mirror tries again.",
            )


def _read(kind: Kind, seq: int, data: bytes, last: Late, days: Mapping[Key, Day]) -> _Message:
    """A message, which writers fill with rows of one day."""
    try:
        batch = unpack(data)
    except WireError as reason:
        raise WireError(f"{LATE}, message {seq}: {reason.message}", seq=seq) from reason
    rows = as_frame(batch).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt64).add(seq * ROWS_MAX).alias(PLACE)
    )
    day = day_of(int(batch.array(kind.time)[0]))
    known = days.get((kind.name, day))
    entry = known.entry if known else None
    merged = entry is not None and entry.late.created_ns == last.created_ns and seq <= entry.late.seq
    return _Message(seq, day, rows, merged)
