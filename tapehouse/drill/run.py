"""The drill itself: load, fault, end of the load, proof; one fault after the other, or many in one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tapehouse.drill.plan import LOADS, Moment
from tapehouse.drill.proof import Verdict, prove
from tapehouse.drill.source import Source
from tapehouse.drill.stand import Stand
from tapehouse.drill.strike import Struck, first, strike
from tapehouse.errors import TapehouseError
from tapehouse.questdb import QuestReader

_ROUND_S = 400
_TRIES = 5
_OVERLAP_S = 2.5
"""In a run of many faults the next one does not wait longer for rows: they may strike while others last."""


@dataclass(frozen=True)
class Outcome:
    """What came of one moment. In a run of many faults its verdict is that of the whole run."""

    moment: Moment
    struck: Struck
    verdict: Verdict
    notes: tuple[str, ...]
    """Of the source; and how often the moment came too late and was tried again."""


class _TooLateError(Exception):
    """The load had published all its rows before the fault struck."""


Make = Callable[[Stand, str, int, int], Source]
"""A new source on a stand: by its load's name, its seed and about how many rows it has."""


class Drill:
    """Rounds on one platform. `say` is told what goes on."""

    def __init__(self, stand: Stand, make: Make, rows: int, say: Callable[[str], None]) -> None:
        self._stand = stand
        self._make = make
        self._rows = rows
        self._say = say

    async def one(self, moment: Moment) -> Outcome:
        """A round with one fault. One that came too late does not count, and is tried again with new rows.

        Raises TapehouseError where the platform does not recover.
        """
        for again in range(_TRIES):
            try:
                async with asyncio.timeout(_ROUND_S):
                    return await self._round(moment, again)
            except _TooLateError:
                self._say("came too late to count, again")
            except TimeoutError:
                raise self._stuck(f"{moment.fault} of {moment.part}") from None
        raise TapehouseError(
            f"drill: {moment.fault} of {moment.part}: came too late {_TRIES} times",
            remedy="Give the load more rows with --rows.",
        )

    async def together(self, moments: Sequence[Moment]) -> list[Outcome]:
        """One run with all these faults, under all loads, with one proof of each load at its end."""
        rows = self._rows * max(1, len(moments) // 4)
        sources = {name: self._make(self._stand, name, moments[0].seed, rows) for name in LOADS}
        pace = sources[LOADS[0]]
        strikes: list[asyncio.Task[Struck]] = []
        try:
            async with asyncio.timeout(_ROUND_S + 60 * len(moments)):
                began, before = await self._begin(*sources.values())
                for moment in moments:
                    # The first one waits until rows flow; the others may strike while none do.
                    patience = _OVERLAP_S if strikes else None
                    await self._reached(moment.at * pace.rows, pace, before[pace.venue], patience)
                    self._say(f"{moment.fault} of {moment.part}")
                    source = sources[moment.load]
                    work = strike(moment, self._stand, source, began, before[source.venue])
                    strikes.append(asyncio.create_task(work))
                struck = await asyncio.gather(*strikes)
                verdicts = await self._proved(*sources.values())
        except TimeoutError:
            raise self._stuck("many faults") from None
        finally:
            for task in strikes:
                task.cancel()
            await asyncio.gather(*strikes, return_exceptions=True)
            for source in sources.values():
                await source.close()
        notes = tuple(note for source in sources.values() for note in source.notes)
        return [
            Outcome(moment, hit, total(verdicts), notes) for moment, hit in zip(moments, struck, strict=True)
        ]

    async def _round(self, moment: Moment, again: int) -> Outcome:
        source = self._make(self._stand, moment.load, moment.seed + again, self._rows)
        try:
            began, before = await self._begin(source)
            await self._reached(moment.at * source.rows, source, before[source.venue])
            struck = await strike(moment, self._stand, source, began, before[source.venue])
            if struck.rows_in >= source.rows and not source.endless:
                raise _TooLateError
            self._say("bringing the rest in")
            [verdict] = await self._proved(source)
        finally:
            await source.close()
        late = (f"came too late {again} times before",) if again else ()
        return Outcome(moment, struck, verdict, (*source.notes, *late))

    async def _begin(self, *sources: Source) -> tuple[float, Counter[str]]:
        """Start the loads; when that was, on the loop's clock, and the rows seen of their venues before."""
        began = asyncio.get_running_loop().time()
        for source in sources:
            await source.start()
        # What a feed without an end makes up for when it starts comes at once, and is no moment's measure.
        seen = self._stand.tap.published
        before = {source.venue: seen[source.venue] if source.endless else 0 for source in sources}
        return began, Counter(before)

    async def _reached(
        self, rows: float, source: Source, before: int, patience_s: float | None = None
    ) -> None:
        """Wait until the source has published so many rows, or has ended."""
        tap = self._stand.tap
        self._say(f"until {rows:,.0f} rows are in")
        await first(
            tap.until(lambda: tap.published[source.venue] - before >= rows),
            source.ended(),
            within=patience_s,
        )

    async def _proved(self, *sources: Source) -> list[Verdict]:
        for source in sources:
            await source.finish()
        await self._stand.drained()
        self._say("comparing")
        return [await asyncio.to_thread(self._compared, source) for source in sources]

    def _compared(self, source: Source) -> Verdict:
        with QuestReader(self._stand.settings.questdb) as reader:
            return prove(reader, source.venue, source.expected())

    def _stuck(self, what: str) -> TapehouseError:
        return TapehouseError(
            f"drill: {what}: expected all rows to be in by now, was still waiting: {self._stand.seen()}",
            remedy="Look at the logs in the drill's home.",
        )


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several venues."""
    found = [*verdicts]
    return Verdict(
        sum(each.rows for each in found),
        sum(each.lost for each in found),
        sum(each.doubled for each in found),
        sum(each.bars for each in found),
    )
