"""The ledger: owner, proof and marks of every (kind, day), in ClickHouse's table `ledger`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stream.mark import DayMark

Owner = Literal["hot", "cold"]
MarksByShard = dict[int, DayMark]
"""By shard."""
DayKey = tuple[str, str]
"""(kind, day)."""


@dataclass(frozen=True)
class LateStreamPosition:
    """A sequence of the late stream; comparable only within the stream created at `created_ns`."""

    created_ns: int = 0
    seq: int = 0


@dataclass(frozen=True)
class LedgerEntry:
    """The record of one (kind, day)."""

    kind: str
    day: str
    owner: Owner = "hot"
    """The store whose rows are authoritative, and which receives ticks of the day."""
    rows: int = 0
    fingerprint: str = ""
    """The digest of the rows that ClickHouse was proven to have."""
    marks: MarksByShard = field(default_factory=dict)
    """The marks, read before the rows were: the copy contains every row that they refer to."""
    late_position: LateStreamPosition = LateStreamPosition()
    """The last message of the late stream that is merged into the copy."""
    fault: str = ""
    """Why the copy must not be used; empty when it is sound."""
    pending: str = ""
    """The digest of the rows that a merge is about to replace the day with; empty when none is."""
    seconds: float = 0.0
    """Duration of the last copy or merge."""
    bytes: int = 0
    """Bytes sent to ClickHouse for it."""
    proven_ns: int = 0
    """When the copy was last proven, ns UTC; 0: never."""
    revision: int = 0
    """Rises with every write; the highest one counts."""

    @property
    def key(self) -> DayKey:
        """(kind, day)."""
        return self.kind, self.day


_COLUMNS = (
    "kind, day, owner, rows, fingerprint, marks, late, fault, pending, seconds, bytes, "
    "toUnixTimestamp64Nano(proven), revision"
)
_INSERT = (
    "INSERT INTO ledger VALUES ({kind:String}, {day:Date}, {owner:String}, {rows:UInt64}, {fingerprint:String}, "
    "{marks:String}, {late:String}, {fault:String}, {pending:String}, {seconds:Float64}, "
    "{bytes:UInt64}, fromUnixTimestamp64Nano({proven:Int64}, 'UTC'), {revision:UInt64})"
)


class Ledger:
    """Reads and writes entries. Safe for several threads; one mirror writes at a time."""

    def __init__(self, client: ClickHouseClient) -> None:
        self._client = client

    def read(self) -> dict[DayKey, LedgerEntry]:
        """All entries by (kind, day)."""
        return {
            entry.key: entry
            for entry in map(_entry, self._client.fetch(f"SELECT {_COLUMNS} FROM ledger FINAL"))
        }

    def get(self, kind: str, day: str) -> LedgerEntry:
        """The entry of one day; a new one owned by QuestDB when there is none."""
        found = self._client.fetch(
            f"SELECT {_COLUMNS} FROM ledger FINAL WHERE kind = {{kind:String}} AND day = {{day:Date}}",
            {"kind": kind, "day": date.fromisoformat(day)},
        )
        return _entry(found[0]) if found else LedgerEntry(kind, day)

    def put(self, entry: LedgerEntry, confirmed_ns: int = 0) -> LedgerEntry:
        """Replace the entry of a day; returns it with its revision.

        `confirmed_ns` is when the mirror's lease was last confirmed, ns UTC by this machine's clock; the entry must
        have been read before that. The write of a mirror that was paused for longer than its lease thus has a
        lower revision than anything that the next mirror wrote.
        """
        entry = replace(entry, revision=max(confirmed_ns, entry.revision + 1))
        self._client.command(
            _INSERT,
            {
                "kind": entry.kind,
                "day": date.fromisoformat(entry.day),
                "owner": entry.owner,
                "rows": entry.rows,
                "fingerprint": entry.fingerprint,
                "marks": json.dumps({shard: mark.value() for shard, mark in sorted(entry.marks.items())}),
                "late": json.dumps([entry.late_position.created_ns, entry.late_position.seq]),
                "fault": entry.fault,
                "pending": entry.pending,
                "seconds": entry.seconds,
                "bytes": entry.bytes,
                "proven": entry.proven_ns,
                "revision": entry.revision,
            },
        )
        return entry


def _entry(row: Iterable[Any]) -> LedgerEntry:
    kind, day, owner, rows, fingerprint, marks, late, fault, pending, seconds, size, proven, revision = row
    return LedgerEntry(
        kind,
        day.isoformat(),
        owner,
        rows,
        fingerprint,
        {int(shard): DayMark.of(value) for shard, value in json.loads(marks).items()},
        LateStreamPosition(*json.loads(late)),
        fault,
        pending,
        seconds,
        size,
        proven,
        revision,
    )
