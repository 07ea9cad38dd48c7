"""The jobs of the mirror, each run under its lease: one whole run, a merge of late ticks, and one verification."""

from __future__ import annotations

from dataclasses import dataclass

from analytics.mirror.late_stream import LateMergeReport, LateStream
from analytics.mirror.reconciliation import Reconciliation
from analytics.mirror.retention import Retention, RetentionReport
from analytics.mirror.session import CopyReport, MirrorProgress, MirrorSession
from analytics.mirror.verification_report import VerificationReport
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus


@dataclass(frozen=True)
class MirrorReport:
    """What one whole run did; `str` gives a one-line summary."""

    copies: CopyReport
    late: LateMergeReport
    retained: RetentionReport

    @property
    def failed(self) -> list[str]:
        """What failed, one line for each day."""
        reasons = {**self.copies.failed, **self.late.failed, **self.retained.kept}
        return [f"{kind} of {day}: {reason}" for (kind, day), reason in sorted(reasons.items())]

    def __str__(self) -> str:
        rows = sum(entry.rows for entry in self.copies.copied)
        parts = [f"{_days(len(self.copies.copied))} copied, {rows:,} rows"]
        if self.copies.waiting:
            parts.append(f"{len(self.copies.waiting)} being written")
        if self.late.merged:
            parts.append(f"{_days(len(self.late.merged))} with late ticks merged")
        if self.retained.handed_over:
            parts.append(f"{len(self.retained.handed_over)} handed over")
        if self.retained.hot_dropped or self.retained.cold_dropped:
            parts.append(
                f"{len(self.retained.hot_dropped)} expired in QuestDB, "
                f"{len(self.retained.cold_dropped)} in ClickHouse"
            )
        if self.late.waiting:
            parts.append(f"late ticks of {len(self.late.waiting)} sealed days wait for their hand-over")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        return "; ".join(parts)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


async def run_once(
    settings: Settings, bus: Bus, progress: MirrorProgress | None = None, *, accepts_loss: bool = False
) -> MirrorReport:
    """Copy days, merge late ticks and apply retention, once no other mirror runs.

    `accepts_loss` also copies days that have fewer rows in QuestDB than their proven copy. The failure of a day is
    in the report; raises ConnectError when NATS or a store does not answer at all.
    """
    progress = progress or MirrorProgress()
    async with MirrorSession.leased(settings, bus) as mirror:
        mirror.copier.accepts_loss = accepts_loss
        copies = await mirror.copy_all(progress)
        late = LateStream(bus, mirror.cold, mirror.merger)
        merged = await late.merge_all(mirror.read_days)
        retained = await Retention(mirror).run(progress)
        if retained.handed_over:
            # Their late ticks had to wait for the hand-over.
            more = await late.merge_all(mirror.read_days)
            merged = LateMergeReport(merged.merged + more.merged, merged.failed | more.failed, more.waiting)
        return MirrorReport(copies, merged, retained)


async def merge_late_once(settings: Settings, bus: Bus) -> LateMergeReport:
    """Merge the ticks on the late stream, once no other mirror runs.

    The failure of a day is in the report; raises ConnectError when NATS or a store does not answer at all.
    """
    async with MirrorSession.leased(settings, bus) as mirror:
        return await LateStream(bus, mirror.cold, mirror.merger).merge_all(mirror.read_days)


async def verify_once(
    settings: Settings, bus: Bus, progress: MirrorProgress | None = None
) -> VerificationReport:
    """Compare all closed days and heal those that differ, once no other mirror runs."""
    async with MirrorSession.leased(settings, bus) as mirror:
        return await Reconciliation(mirror).run(progress or MirrorProgress())
