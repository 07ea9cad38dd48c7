"""The drill itself: start a load, inject faults, finish the load, verify the rows; one fault a run, or many in one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ops.drill.injection import FaultResult, inject_fault, wait_for_first
from ops.drill.plan import LOADS, PlannedFault
from ops.drill.platform import DrillPlatform
from ops.drill.proof import Verdict, verify_rows
from ops.drill.source import LoadSource
from tapehouse.errors import TapehouseError

_RUN_TIMEOUT_S = 400
_MAX_REPEATS = 5
_OVERLAP_S = 2.5
"""In a run of many faults, how long each waits for its row count: then it overlaps the one before."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one planned fault. In a run of many faults, the verdict is that of the whole run."""

    moment: PlannedFault
    result: FaultResult
    verdict: Verdict
    notes: tuple[str, ...]
    """From the source, and how often the fault came too late and was injected again."""


class _TooLateError(Exception):
    """The load had published all its rows before the fault was injected."""


SourceFactory = Callable[[DrillPlatform, str, int, int], LoadSource]
"""Makes a source from the platform, the name of the load, the seed and the approximate number of rows."""


class Drill:
    """Runs planned faults on one platform. `say` is called with each step, as text for people."""

    def __init__(
        self, platform: DrillPlatform, make: SourceFactory, rows: int, say: Callable[[str], None]
    ) -> None:
        self._platform = platform
        self._make = make
        self._rows = rows
        self._say = say

    async def one(self, moment: PlannedFault) -> Outcome:
        """Run a load with one fault. A fault that came too late does not count and is repeated with new rows.

        Raises TapehouseError where the platform does not recover.
        """
        for again in range(_MAX_REPEATS):
            try:
                async with asyncio.timeout(_RUN_TIMEOUT_S):
                    return await self._run_with_fault(moment, again)
            except _TooLateError:
                self._say("the load ended before the fault; repeating")
            except TimeoutError:
                raise self._timeout_error(f"{moment.fault} of {moment.part}") from None
        raise TapehouseError(
            f"drill: {moment.fault} of {moment.part}: the load ended before the fault {_MAX_REPEATS} times",
            remedy="Give the load more rows with --rows.",
        )

    async def together(self, moments: Sequence[PlannedFault]) -> list[Outcome]:
        """One run with all these faults, under all loads; the rows of each load are verified at its end."""
        rows = self._rows * max(1, len(moments) // 4)
        sources = {name: self._make(self._platform, name, moments[0].seed, rows) for name in LOADS}
        pace = sources[LOADS[0]]
        injections: list[asyncio.Task[FaultResult]] = []
        try:
            async with asyncio.timeout(_RUN_TIMEOUT_S + 60 * len(moments)):
                began, before = await self._start(*sources.values())
                for moment in moments:
                    # The first one waits until rows flow; the others may come during an outage.
                    patience = _OVERLAP_S if injections else None
                    await self._wait_for_rows(moment.at * pace.rows, pace, before[pace.venue], patience)
                    self._say(f"{moment.fault} of {moment.part}")
                    source = sources[moment.load]
                    work = inject_fault(moment, self._platform, source, began, before[source.venue])
                    injections.append(asyncio.create_task(work))
                results = await asyncio.gather(*injections)
                verdicts = await self._verify(*sources.values())
        except TimeoutError:
            raise self._timeout_error("many faults") from None
        finally:
            for task in injections:
                task.cancel()
            await asyncio.gather(*injections, return_exceptions=True)
            for source in sources.values():
                await source.close()
        notes = tuple(note for source in sources.values() for note in source.notes)
        return [
            Outcome(moment, result, sum_verdicts(verdicts), notes)
            for moment, result in zip(moments, results, strict=True)
        ]

    async def _run_with_fault(self, moment: PlannedFault, again: int) -> Outcome:
        source = self._make(self._platform, moment.load, moment.seed + again, self._rows)
        try:
            began, before = await self._start(source)
            await self._wait_for_rows(moment.at * source.rows, source, before[source.venue])
            result = await inject_fault(moment, self._platform, source, began, before[source.venue])
            if result.rows_in >= source.rows and not source.endless:
                raise _TooLateError
            self._say("waiting for the rest of the load")
            [verdict] = await self._verify(source)
        finally:
            await source.close()
        late = (f"repeated {again} times because the load ended before the fault",) if again else ()
        return Outcome(moment, result, verdict, (*source.notes, *late))

    async def _start(self, *sources: LoadSource) -> tuple[float, Counter[str]]:
        """Start the loads; returns the start on the loop's clock and, by venue, the rows observed before."""
        began = asyncio.get_running_loop().time()
        for source in sources:
            await source.start()
        # An endless feed publishes its backlog at once when it starts: those rows do not count.
        seen = self._platform.observer.published
        before = {source.venue: seen[source.venue] if source.endless else 0 for source in sources}
        return began, Counter(before)

    async def _wait_for_rows(
        self, rows: float, source: LoadSource, before: int, patience_s: float | None = None
    ) -> None:
        """Wait until the source has published so many rows, or has ended."""
        observer = self._platform.observer
        self._say(f"waiting until {rows:,.0f} rows are published")
        await wait_for_first(
            observer.until(lambda: observer.published[source.venue] - before >= rows),
            source.ended(),
            within=patience_s,
        )

    async def _verify(self, *sources: LoadSource) -> list[Verdict]:
        for source in sources:
            await source.finish()
        await self._platform.drained()
        self._say("comparing stored rows")
        return [await asyncio.to_thread(self._compare, source) for source in sources]

    def _compare(self, source: LoadSource) -> Verdict:
        return verify_rows(self._platform.settings.questdb, source.venue, source.expected())

    def _timeout_error(self, what: str) -> TapehouseError:
        return TapehouseError(
            f"drill: {what}: expected all rows to be stored by now, was still waiting: {self._platform.seen()}",
            remedy="Look at the logs in the drill's home.",
        )


def sum_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several venues."""
    found = [*verdicts]
    return Verdict(
        sum(each.rows for each in found),
        sum(each.lost for each in found),
        sum(each.doubled for each in found),
        sum(each.bars for each in found),
    )
