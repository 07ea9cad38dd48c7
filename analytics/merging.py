"""Rows merged into a day that the cold store owns: the late ones take the place of those with their keys.

The day is made anew from its rows and the late ones, proven, and put in the place of the old one at once. What
it must be is known beforehand: the fingerprint of the day as the ledger has it, less that of the rows that are
replaced, and that of the late rows, less those that later ones with the same key replace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from analytics.coldstore import ColdStore
from analytics.copying import Held
from analytics.fingerprint import Fingerprint
from analytics.laterows import PLACE, LateRows
from analytics.ledger import Entry, Late, Ledger
from analytics.storage import insertion, selection
from tapehouse.clock import now_ns
from tapehouse.errors import ProofError

Check = Callable[[str, int], None]
"""Told a day and how many of its rows would get other values, before anything is replaced; may refuse by raising."""


@dataclass(frozen=True)
class Merged:
    """What became of the late rows of a day, by their keys."""

    entry: Entry
    accepted: int
    """The day had no such row."""
    duplicate: int
    """Its row was the same, but for ts_recv."""
    corrected: int
    """Its row had other values."""


@dataclass
class _Sums:
    """What the parts of a day add up to."""

    replaced: Fingerprint = field(default_factory=lambda: Fingerprint({}))
    """The rows of the day whose keys late rows have."""
    repeated: Fingerprint = field(default_factory=lambda: Fingerprint({}))
    """The late rows that later ones replace."""
    duplicate: int = 0
    corrected: int = 0


def matches(entry: Entry, found: Fingerprint) -> bool:
    """Whether a day of the cold store is what the ledger says of it, or what it was about to become."""
    known = found.rows == entry.rows and (not entry.rows or found.digest == entry.fingerprint)
    return known or bool(entry.pending and found.digest == entry.pending)


class Merger:
    """Merges late rows into days."""

    def __init__(self, cold: ColdStore, ledger: Ledger, held: Held, most: int) -> None:
        """`most` late rows are looked up at a time."""
        self._cold = cold
        self._ledger = ledger
        self._held = held
        self._most = most

    async def merge(
        self, day: str, late: LateRows, until: Late | None = None, check: Check = lambda day, rows: None
    ) -> Merged:
        """Merge the late rows of a day that the cold store owns, or that no store has; then it is the cold store's.

        `until` is the place in the late stream up to which the day holds what came, where that is their source.
        Raises ProofError where the day is not what the ledger says, or the merged one not what it must be:
        then it was left as it was.
        """
        began = time.monotonic()
        kind = late.kind
        before = await asyncio.to_thread(self._ledger.get, kind.name, day)
        async with self._cold.staged(kind, day) as staging:
            sums, old, made = await asyncio.to_thread(self._make, day, late, before, staging, check)
            held_ns = await self._held()
            # Whoever is killed between the two writes leaves a day that is known all the same: what is there now
            # may be what an earlier merge was about to put there.
            pending = replace(
                before, owner="cold", rows=old.rows, fingerprint=old.digest, pending=made.digest
            )
            pending = await asyncio.to_thread(self._ledger.put, pending, held_ns)
            await asyncio.to_thread(self._cold.replace, kind, day, staging)
        entry = replace(
            pending,
            rows=made.rows,
            fingerprint=made.digest,
            late=until or before.late,
            fault="",
            pending="",
            seconds=time.monotonic() - began,
            bytes=late.bytes[day],
            proven_ns=now_ns(),
        )
        entry = await asyncio.to_thread(self._ledger.put, entry, held_ns)
        keys = late.fingerprints[day].rows - sums.repeated.rows
        return Merged(entry, keys - sums.replaced.rows, sums.duplicate, sums.corrected)

    def _make(
        self, day: str, late: LateRows, before: Entry, staging: str, check: Check
    ) -> tuple[_Sums, Fingerprint, Fingerprint]:
        """Fill the staging table with the merged day, and prove it: (what was counted, the day before, and after)."""
        kind = late.kind
        old = self._cold.fingerprint(kind, kind.name, day)
        if not matches(before, old):
            raise ProofError(
                f"{kind.name} of {day}: expected {before.rows:,} rows as the ledger has them, was {old.rows:,}, "
                "not the same: the day is damaged, and nothing is merged into it",
                remedy="`tapehouse mirror verify` tells more. Bring the day back from a backup.",
            )
        sent = late.fingerprints[day]
        if names := sent.differs(self._cold.fingerprint(kind, late.table, day)):
            raise ProofError(f"{kind.name} of {day}: late rows did not come in as sent, of {names[:3]}")
        sums = _Sums()
        for start_ns, end_ns in late.cuts(day, self._most):
            self._take(late, staging, start_ns, end_ns, sums)
        if sums.corrected:
            check(day, sums.corrected)
        expected = Fingerprint.sum([old, sent]).less(sums.replaced).less(sums.repeated)
        made = self._cold.fingerprint(kind, staging)
        if names := expected.differs(made):
            raise ProofError(
                f"{kind.name} of {day}: expected {expected.rows:,} rows after the merge, was {made.rows:,}, "
                f"not the same of {names[:3]}",
                remedy="The day was left as it was. The next run merges it again.",
            )
        return sums, old, made

    def _take(self, late: LateRows, staging: str, start_ns: int, end_ns: int, sums: _Sums) -> None:
        """Bring the rows of one part of a day into the staging table, and add up what became of them."""
        kind = late.kind
        columns, key = ", ".join(kind.names), ", ".join(kind.key)
        span = (
            f"{kind.time} >= fromUnixTimestamp64Nano({start_ns}, 'UTC') "
            f"AND {kind.time} < fromUnixTimestamp64Nano({end_ns}, 'UTC')"
        )
        known = f"({key}) IN (SELECT {key} FROM {late.table} WHERE {span})"
        stays = f"(SELECT {columns} FROM {kind.name} WHERE {span} AND NOT ({known}))"
        comes = (
            f"(SELECT {columns} FROM {late.table} WHERE {span} ORDER BY {key}, {PLACE} DESC LIMIT 1 BY {key})"
        )
        goes = (
            f"(SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {PLACE} DESC) AS turn "
            f"FROM {late.table} WHERE {span}) WHERE turn > 1"
        )
        for source in (stays, comes):
            self._cold.client.command(f"INSERT INTO {insertion(kind, staging)} {selection(kind, source)}")
        replaced = self._cold.fingerprint(kind, f"{kind.name} WHERE {span} AND {known}")
        sums.replaced = Fingerprint.sum([sums.replaced, replaced])
        sums.repeated = Fingerprint.sum([sums.repeated, self._cold.fingerprint(kind, goes)])
        values = ", ".join(name for name in kind.names if name not in (*kind.key, "ts_recv"))
        told = f"SELECT {key}, toString(tuple({values})) AS told FROM"
        (duplicate, corrected), *_ = self._cold.client.fetch(
            f"SELECT countIf(a.told = b.told), countIf(a.told != b.told) "
            f"FROM ({told} {kind.name} WHERE {span} AND {known}) AS a INNER JOIN ({told} {comes}) AS b USING ({key})"
        )
        sums.duplicate += int(duplicate)
        sums.corrected += int(corrected)
