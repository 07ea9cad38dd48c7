"""The ledger: what is known of every day of a kind, in the cold store's table `ledger`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

from tapehouse.clickhouse import ClickHouseClient
from tapehouse.mark import Mark

Owner = Literal["hot", "cold"]
Marks = dict[int, Mark]
"""By shard."""
Key = tuple[str, str]
"""(kind, day)."""


@dataclass(frozen=True)
class Late:
    """A place in the late stream. A sequence counts only with the creation time of its stream."""

    created_ns: int = 0
    seq: int = 0


@dataclass(frozen=True)
class Entry:
    """What is known of one day of one kind."""

    kind: str
    day: str
    owner: Owner = "hot"
    """Whose rows count, and who takes its late ticks."""
    rows: int = 0
    fingerprint: str = ""
    """The digest of the rows that the cold store was proven to hold."""
    marks: Marks = field(default_factory=dict)
    """The marks as they were read before the rows were: the copy holds all that they stand for."""
    late: Late = Late()
    """Up to where late ticks are merged in."""
    fault: str = ""
    """Why the copy must not be trusted; empty where it may."""
    pending: str = ""
    """The digest of the rows that are being put in the place of these; empty where none are."""
    seconds: float = 0.0
    """What the last copy or merge took."""
    bytes: int = 0
    """What was moved for it."""
    proven_ns: int = 0
    """When it was proven."""
    revision: int = 0

    @property
    def key(self) -> Key:
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
    """Reads and writes entries. For several threads at a time; one mirror writes at a time."""

    def __init__(self, client: ClickHouseClient) -> None:
        self._client = client

    def read(self) -> dict[Key, Entry]:
        """All entries."""
        return {
            entry.key: entry
            for entry in map(_entry, self._client.fetch(f"SELECT {_COLUMNS} FROM ledger FINAL"))
        }

    def get(self, kind: str, day: str) -> Entry:
        """The entry of one day; a new one of the hot store where there is none."""
        found = self._client.fetch(
            f"SELECT {_COLUMNS} FROM ledger FINAL WHERE kind = {{kind:String}} AND day = {{day:Date}}",
            {"kind": kind, "day": date.fromisoformat(day)},
        )
        return _entry(found[0]) if found else Entry(kind, day)

    def put(self, entry: Entry, held_ns: int = 0) -> Entry:
        """Write an entry in the place of that of its day, and return it with its revision.

        `held_ns` is when the mirror's lease was last known to be held, by this clock; the entry must have been
        read before. So what a mirror writes that was paused for longer than its lease, counts less than
        anything that the next one wrote.
        """
        entry = replace(entry, revision=max(held_ns, entry.revision + 1))
        self._client.command(
            _INSERT,
            {
                "kind": entry.kind,
                "day": date.fromisoformat(entry.day),
                "owner": entry.owner,
                "rows": entry.rows,
                "fingerprint": entry.fingerprint,
                "marks": json.dumps({shard: mark.value() for shard, mark in sorted(entry.marks.items())}),
                "late": json.dumps([entry.late.created_ns, entry.late.seq]),
                "fault": entry.fault,
                "pending": entry.pending,
                "seconds": entry.seconds,
                "bytes": entry.bytes,
                "proven": entry.proven_ns,
                "revision": entry.revision,
            },
        )
        return entry


def _entry(row: Iterable[Any]) -> Entry:
    kind, day, owner, rows, fingerprint, marks, late, fault, pending, seconds, size, proven, revision = row
    return Entry(
        kind,
        day.isoformat(),
        owner,
        rows,
        fingerprint,
        {int(shard): Mark.of(value) for shard, value in json.loads(marks).items()},
        Late(*json.loads(late)),
        fault,
        pending,
        seconds,
        size,
        proven,
        revision,
    )
