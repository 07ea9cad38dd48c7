"""All days compared, whatever is known of them: what differs is reported, marked, and healed where it can be.

A day of the hot store's is read in both stores. A day of the cold store's is compared with what the ledger says it
was proven to be, and brought back from the hot store where that still holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nats.errors import Error as NatsError

from analytics.copying import read_hot
from analytics.days import Day
from analytics.fingerprint import Fingerprint, Names
from analytics.hotdays import HotDays
from analytics.ledger import Entry, Key, Marks
from analytics.merging import matches
from analytics.mirror import Mirror, Progress
from analytics.survey import marks_of, today
from tapehouse.errors import TapehouseError
from tapehouse.model import KINDS, Kind


@dataclass(frozen=True)
class Difference:
    """A day that is not what it should be."""

    key: Key
    expected: str
    """The rows that should be there, in words."""
    found: str
    where: tuple[Names, ...] = ()
    """The names of the rows that differ, as far as they are known."""
    healed: bool = False

    def __str__(self) -> str:
        names = "; ".join(" ".join(map(str, group)) for group in self.where[:5])
        ended = "healed" if self.healed else "NOT healed"
        return f"{self.key[0]} of {self.key[1]}: expected {self.expected}, was {self.found}; {names or 'all'}; {ended}"


@dataclass
class Verdict:
    """What a comparison of all days found."""

    equal: list[Key] = field(default_factory=list)
    differing: list[Difference] = field(default_factory=list)
    unknown: dict[Key, str] = field(default_factory=dict)
    """Days that could not be compared now, with the reason."""
    failed: dict[Key, str] = field(default_factory=dict)
    """Days that could not be copied, with the reason."""

    @property
    def is_good(self) -> bool:
        """Whether all that was compared is equal now, and nothing failed."""
        return not self.failed and all(difference.healed for difference in self.differing)


class Reconciliation:
    """For whoever holds the mirror's lease."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    async def run(self, progress: Progress) -> Verdict:
        """Copy what is known to need it, compare all closed days, and copy what differs once more."""
        verdict = Verdict(failed=(await self._mirror.copy_all(progress)).failed)
        now = today()
        days = {key: day for key, day in (await self._mirror.days()).items() if day.day < now}
        progress.begins(sum(max(day.hot_rows, day.cold_rows) for day in days.values()))
        for _, day in sorted(days.items()):
            try:
                await self._compare(day, verdict, progress)
            except (TapehouseError, NatsError) as reason:
                verdict.unknown[day.key] = str(reason)
        if verdict.differing:
            await self._heal(verdict, days, progress)
        return verdict

    async def _compare(self, day: Day, verdict: Verdict, progress: Progress) -> None:
        kind = KINDS[day.kind]
        if day.is_cold:
            assert day.entry is not None
            difference = await self._against_ledger(kind, day.entry)
        elif day.is_proven:
            difference = await self._against_hot(kind, day, progress)
        else:
            verdict.unknown[day.key] = f"{day.state(today())}: the next run of the mirror copies it"
            return
        entry = await asyncio.to_thread(self._mirror.ledger.get, *day.key)
        fault = ""
        if difference is None:
            verdict.equal.append(day.key)
        else:
            verdict.differing.append(difference)
            fault = f"expected {difference.expected}, was {difference.found}"
        if fault == entry.fault:
            return
        held_ns = await self._mirror.held()
        await asyncio.to_thread(self._mirror.ledger.put, replace(entry, fault=fault), held_ns)

    async def _against_ledger(self, kind: Kind, entry: Entry) -> Difference | None:
        found = await asyncio.to_thread(self._mirror.cold.fingerprint, kind, kind.name, entry.day)
        if matches(entry, found):
            return None
        said = f"{entry.rows:,} rows with the fingerprint {entry.fingerprint}"
        return Difference(entry.key, said, f"{found.rows:,} with {found.digest}")

    async def _against_hot(self, kind: Kind, day: Day, progress: Progress) -> Difference | None:
        """None where both hold the same, and the ledger says so."""
        assert day.entry is not None
        marks, hot = await self._hot(kind, day.day, progress)
        cold = await asyncio.to_thread(self._mirror.cold.fingerprint, kind, kind.name, day.day)
        if not marks == day.marks == await marks_of(self._mirror.bus, kind, day.day):
            raise TapehouseError("touched while it was compared: the next run of the mirror copies it")
        names = hot.differs(cold)
        if not names and day.entry.rows == hot.rows and day.entry.fingerprint == hot.digest:
            return None
        found = (
            f"{cold.rows:,} others"
            if names
            else f"another fingerprint in the ledger: {day.entry.fingerprint}"
        )
        return Difference(day.key, f"{hot.rows:,} rows as in the hot store", found, tuple(names))

    async def _hot(self, kind: Kind, day: str, progress: Progress) -> tuple[Marks, Fingerprint]:
        hot = HotDays(self._mirror.settings.questdb)
        try:
            written = await self._mirror.copier.written.until(kind, day, hot)
            slices = await asyncio.to_thread(hot.slices, kind, day, self._mirror.settings.mirror.slice_rows)
            found = Fingerprint({})
            async for part, body in hot.export(kind, slices):
                found = Fingerprint.sum([found, await asyncio.to_thread(read_hot, kind, part, body)])
                progress.moved(part.rows)
            return written.marks, found
        finally:
            hot.reader.close()

    async def _heal(self, verdict: Verdict, days: Mapping[Key, Day], progress: Progress) -> None:
        """Copy what differs once more; a day of the cold store's only where the hot store still has what it was."""
        keys = {difference.key for difference in verdict.differing}
        report = await self._mirror.copy_all(progress, lambda day: day.key in keys)
        healed = {entry.key for entry in report.copied}
        for key in sorted(keys - healed):
            if days[key].is_cold and days[key].hot_rows:
                try:
                    await self._mirror.copier.copy(KINDS[key[0]], key[1], progress.moved)
                except (TapehouseError, NatsError) as reason:
                    verdict.failed[key] = str(reason)
                else:
                    healed.add(key)
        verdict.failed.update(report.failed)
        verdict.differing = [replace(one, healed=one.key in healed) for one in verdict.differing]
