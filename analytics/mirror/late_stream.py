"""Merges ticks of sealed days from the late stream into ClickHouse, then deletes their messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import polars as pl
import structlog
from nats.errors import Error as NatsError

from analytics.mirror.cold_store import ColdStore
from analytics.mirror.decisions import DayInfo, accepts_late_rows
from analytics.mirror.handover import read_confirmed_seal
from analytics.mirror.late_rows import PLACE, LateRowsTable
from analytics.mirror.ledger import DayKey, LateStreamPosition
from analytics.mirror.merger import Merger, MergeReport
from tapehouse.clock import day_of
from tapehouse.errors import ConnectError, TapehouseError, WireError
from tapehouse.model import KINDS, Kind
from tapehouse.stream import reads, sharding
from tapehouse.stream.bus import LATE, Bus
from tapehouse.stream.seal import Seal
from tapehouse.stream.wire import ROWS_MAX, unpack
from tapehouse.tabular import as_frame

_READ_MESSAGES = 256
_READ_BYTES = 8 * 2**20
_log = structlog.get_logger()


@dataclass(frozen=True)
class _LateMessage:
    seq: int
    day: str
    rows: pl.DataFrame
    merged: bool
    """Whether its rows are in ClickHouse already, by the ledger."""


@dataclass(frozen=True)
class _StreamState:
    """The late stream when a run began."""

    last: LateStreamPosition
    messages: int
    seal: Seal
    """The seal that all writers have confirmed."""


@dataclass
class LateMergeReport:
    """What one run did with the late stream."""

    merged: list[MergeReport] = field(default_factory=list)
    failed: dict[DayKey, str] = field(default_factory=dict)
    waiting: set[DayKey] = field(default_factory=set)
    """Days that ClickHouse does not own yet; their rows stay in the stream."""


class LateStream:
    """Merges the late stream. Requires the mirror's lease."""

    def __init__(self, bus: Bus, cold: ColdStore, merger: Merger) -> None:
        self._bus = bus
        self._cold = cold
        self._merger = merger

    async def merge_all(
        self, read_days: Callable[[], Awaitable[Mapping[DayKey, DayInfo]]]
    ) -> LateMergeReport:
        """Merge the present messages, kind by kind, then delete those that were merged.

        Messages of days that failed, or that QuestDB still owns, stay. `read_days` reads all known days.
        """
        info = await self._bus.js.stream_info(LATE, subjects_filter=">")
        if not info.state.messages:
            return LateMergeReport()
        # Must be read before the days are.
        seal = await read_confirmed_seal(self._bus)
        days = await read_days()
        last = LateStreamPosition(sharding.created_ns(info), info.state.last_seq)
        stream = _StreamState(last, info.state.messages, seal)
        report = LateMergeReport()
        done: set[int] = set()
        for kind in sorted({subject.split(".")[1] for subject in info.state.subjects or ()}):
            try:
                done |= await self._merge(KINDS[kind], stream, days, report)
            except (TapehouseError, NatsError) as reason:
                report.failed[kind, ""] = str(reason)
                _log.warning("late stream not read", kind=kind, reason=str(reason))
        if done:
            await self._delete(info.state.first_seq, done)
        return report

    async def _delete(self, first: int, done: set[int]) -> None:
        """Delete messages: those below the first that must stay in one purge, the others one by one."""
        first_kept = first
        while first_kept in done:
            first_kept += 1
        if first_kept > first:
            await self._bus.js.purge_stream(LATE, seq=first_kept)
        for seq in sorted(seq for seq in done if seq > first_kept):
            await self._bus.js.delete_msg(LATE, seq)

    async def _merge(
        self, kind: Kind, stream: _StreamState, days: Mapping[DayKey, DayInfo], report: LateMergeReport
    ) -> set[int]:
        """Merge one kind; returns the sequences of the messages that may be deleted."""
        done: set[int] = set()
        messages: dict[str, list[int]] = defaultdict(list)
        async with LateRowsTable.opened(self._cold, kind) as late:
            async for message in self._messages(kind, stream, days):
                if message.merged:
                    done.add(message.seq)
                elif accepts_late_rows(
                    days.get((kind.name, message.day)), message.day, kind.name, stream.seal
                ):
                    messages[message.day].append(message.seq)
                    await late.append(message.rows)
                else:
                    report.waiting.add((kind.name, message.day))
            await late.flush()
            for day, seqs in sorted(messages.items()):
                try:
                    report.merged.append(await self._merger.merge(day, late, stream.last))
                    done.update(seqs)
                except (TapehouseError, NatsError) as reason:
                    report.failed[kind.name, day] = str(reason)
                    _log.warning("late ticks not merged", kind=kind.name, day=day, reason=str(reason))
        return done

    async def _messages(
        self, kind: Kind, stream: _StreamState, days: Mapping[DayKey, DayInfo]
    ) -> AsyncIterator[_LateMessage]:
        """The messages of a kind up to the last one.

        Raises ConnectError when the stream returns fewer messages than it says it has.
        """
        last = stream.last
        seq = seen = 0
        while seq < last.seq:
            found = await reads.messages_from(self._bus, LATE, seq + 1, _READ_MESSAGES, _READ_BYTES)
            if not found:
                break
            for seq, subject, data in found:
                if seq <= last.seq:
                    seen += 1
                    if subject.split(".")[1] == kind.name:
                        yield _decode(kind, seq, data, last, days)
        if seen < stream.messages:
            raise ConnectError(
                f"nats: expected {stream.messages:,} messages of {LATE} up to {last.seq}, was {seen:,}",
                remedy="A NATS server of the cluster has not caught up; the next run of the mirror tries again.",
            )


def _decode(
    kind: Kind, seq: int, data: bytes, last: LateStreamPosition, days: Mapping[DayKey, DayInfo]
) -> _LateMessage:
    """Decode a message; writers put rows of a single day into each."""
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
    merged = (
        entry is not None
        and entry.late_position.created_ns == last.created_ns
        and seq <= entry.late_position.seq
    )
    return _LateMessage(seq, day, rows, merged)
