"""The results of a drill: tables for people, JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from rich.table import Table

from ops.drill.plan import PlannedFault
from ops.drill.run import Outcome
from ops.terminal import add_row, table

_RIGHT = (
    "at s",
    "rows in",
    "outage s",
    "rows",
    "lost",
    "doubled",
    "bars",
    "moments",
    "median s",
    "longest s",
)


@dataclass(frozen=True)
class UnrecoveredFault:
    """A fault from which the platform did not recover."""

    moment: PlannedFault
    reason: str


class DrillReport:
    """The outcomes of a drill's faults, in order."""

    def __init__(self) -> None:
        self.alone: list[Outcome] = []
        """Faults injected one a run."""
        self.together: list[Outcome] = []
        """Faults injected in one run, with one verdict for all."""
        self.broken: list[UnrecoveredFault] = []

    @property
    def good(self) -> bool:
        """Whether all faults were recovered from, no row is lost or duplicated, and no bar differs."""
        return not self.broken and all(outcome.verdict.good for outcome in self.alone + self.together)

    @property
    def done(self) -> int:
        """The number of faults that are over."""
        return len(self.alone) + len(self.together) + len(self.broken)

    def tables(self) -> list[Table]:
        """All faults, and a summary by fault and part."""
        found = [_moments(self.alone, "one fault a run"), _summary(self.alone)] if self.alone else []
        if self.together:
            found.append(_moments(self.together, "many faults in one run, one verdict for all"))
        return found

    def as_json(self) -> str:
        """The whole report as JSON text."""
        return json.dumps(
            {
                "good": self.good,
                "alone": [_flat(outcome) for outcome in self.alone],
                "together": [_flat(outcome) for outcome in self.together],
                "broken": [asdict(broken) for broken in self.broken],
            },
            indent=1,
        )


def describe_outcome(outcome: Outcome) -> str:
    """One outcome in one line."""
    moment, result, verdict = outcome.moment, outcome.result, outcome.verdict
    lasting = f" for {moment.seconds:.1f} s" if moment.seconds else ""
    return (
        f"{moment.fault} of {moment.part}{lasting} under {moment.load}, at {result.at_s:.2f} s and "
        f"{result.rows_in:,} rows: outage {result.outage_s:.2f} s; {verdict.rows:,} rows, {verdict.lost} lost, "
        f"{verdict.doubled} doubled, {verdict.bars} bars differ"
        + "".join(f"; {note}" for note in outcome.notes)
    )


def _flat(outcome: Outcome) -> dict[str, Any]:
    flat = asdict(outcome)
    return {**flat["moment"], **flat["result"], **flat["verdict"], "notes": list(outcome.notes)}


def _moments(outcomes: Sequence[Outcome], title: str) -> Table:
    shown = table(
        "fault",
        "part",
        "load",
        "lasts s",
        "at s",
        "rows in",
        "outage s",
        "rows",
        "lost",
        "doubled",
        "bars",
        "",
        right=_RIGHT,
        title=title,
    )
    for outcome in outcomes:
        moment, result, verdict = outcome.moment, outcome.result, outcome.verdict
        lasts = f"{moment.seconds:.1f}{' silent' if moment.silent else ''}" if moment.seconds else ""
        add_row(
            shown,
            *(moment.fault, moment.part, moment.load, lasts),
            *(f"{result.at_s:.2f}", f"{result.rows_in:,}", f"{result.outage_s:.2f}", f"{verdict.rows:,}"),
            *(f"{verdict.lost:,}", f"{verdict.doubled:,}", f"{verdict.bars:,}", "; ".join(outcome.notes)),
            style="" if verdict.good else "bold red",
        )
    return shown


def _summary(outcomes: Sequence[Outcome]) -> Table:
    headings = ("fault", "part", "moments", "median s", "longest s", "lost", "doubled", "bars")
    shown = table(*headings, right=_RIGHT, title="summary")
    for (fault, part), group in groupby(
        outcomes, lambda outcome: (outcome.moment.fault, outcome.moment.part)
    ):
        found = [*group]
        outages = [outcome.result.outage_s for outcome in found]
        add_row(
            shown,
            *(fault, part, str(len(found)), f"{statistics.median(outages):.2f}", f"{max(outages):.2f}"),
            *(
                f"{sum(getattr(outcome.verdict, name) for outcome in found):,}"
                for name in ("lost", "doubled", "bars")
            ),
        )
    return shown
