"""What a drill found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from rich.table import Table

from tapehouse.drill.plan import Moment
from tapehouse.drill.run import Outcome

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
class Broken:
    """A moment from which the platform did not recover."""

    moment: Moment
    reason: str


class Report:
    """What came of the moments of a drill, in their order."""

    def __init__(self) -> None:
        self.alone: list[Outcome] = []
        """Each the one fault of its run."""
        self.together: list[Outcome] = []
        """All of one run, with one verdict."""
        self.broken: list[Broken] = []

    @property
    def good(self) -> bool:
        """Whether all recovered, nothing was lost or doubled, and no bar differs."""
        return not self.broken and all(outcome.verdict.good for outcome in self.alone + self.together)

    @property
    def done(self) -> int:
        """Moments that are over."""
        return len(self.alone) + len(self.together) + len(self.broken)

    def tables(self) -> list[Table]:
        """Every moment, and a summary by fault and part."""
        found = [_moments(self.alone, "one fault at a time"), _summary(self.alone)] if self.alone else []
        if self.together:
            found.append(_moments(self.together, "many faults in one run, one verdict on all"))
        return found

    def as_json(self) -> str:
        """All of it."""
        return json.dumps(
            {
                "good": self.good,
                "alone": [_flat(outcome) for outcome in self.alone],
                "together": [_flat(outcome) for outcome in self.together],
                "broken": [asdict(broken) for broken in self.broken],
            },
            indent=1,
        )


def line(outcome: Outcome) -> str:
    """One outcome in one line."""
    moment, struck, verdict = outcome.moment, outcome.struck, outcome.verdict
    lasting = f" for {moment.seconds:.1f} s" if moment.seconds else ""
    return (
        f"{moment.fault} of {moment.part}{lasting} under {moment.load}, at {struck.at_s:.2f} s and "
        f"{struck.rows_in:,} rows: outage {struck.outage_s:.2f} s; {verdict.rows:,} rows, {verdict.lost} lost, "
        f"{verdict.doubled} doubled, {verdict.bars} bars differ"
        + "".join(f"; {note}" for note in outcome.notes)
    )


def _flat(outcome: Outcome) -> dict[str, Any]:
    flat = asdict(outcome)
    return {**flat["moment"], **flat["struck"], **flat["verdict"], "notes": list(outcome.notes)}


def _moments(outcomes: Sequence[Outcome], title: str) -> Table:
    table = _table(
        title,
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
    )
    for outcome in outcomes:
        moment, struck, verdict = outcome.moment, outcome.struck, outcome.verdict
        lasts = f"{moment.seconds:.1f}{' silent' if moment.silent else ''}" if moment.seconds else ""
        table.add_row(
            *(moment.fault, moment.part, moment.load, lasts),
            *(f"{struck.at_s:.2f}", f"{struck.rows_in:,}", f"{struck.outage_s:.2f}", f"{verdict.rows:,}"),
            *(f"{verdict.lost:,}", f"{verdict.doubled:,}", f"{verdict.bars:,}", "; ".join(outcome.notes)),
            style="" if verdict.good else "bold red",
        )
    return table


def _summary(outcomes: Sequence[Outcome]) -> Table:
    table = _table("summary", "fault", "part", "moments", "median s", "longest s", "lost", "doubled", "bars")
    for (fault, part), group in groupby(
        outcomes, lambda outcome: (outcome.moment.fault, outcome.moment.part)
    ):
        found = [*group]
        outages = [outcome.struck.outage_s for outcome in found]
        table.add_row(
            *(fault, part, str(len(found)), f"{statistics.median(outages):.2f}", f"{max(outages):.2f}"),
            *(
                f"{sum(getattr(outcome.verdict, name) for outcome in found):,}"
                for name in ("lost", "doubled", "bars")
            ),
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _RIGHT else "left", no_wrap=heading != "")
    return table
