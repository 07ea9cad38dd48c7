"""What a drill tells."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from ops.drill.injection import FaultResult
from ops.drill.plan import PlannedFault
from ops.drill.proof import Verdict
from ops.drill.report import DrillReport, UnrecoveredFault, describe_outcome
from ops.drill.run import Outcome, sum_verdicts

MOMENT = PlannedFault("pause", "nats", "feed", at=0.5, seconds=2.0, silent=False, seed=7)
GOOD = Verdict(1000, 0, 0, 0)


def outcome(verdict: Verdict, *notes: str) -> Outcome:
    return Outcome(MOMENT, FaultResult(1.5, 500, 2.5), verdict, notes)


def test_a_report_is_good_where_nothing_is_wrong() -> None:
    report = DrillReport()
    report.alone.append(outcome(GOOD))
    assert report.good
    assert report.done == 1


@pytest.mark.parametrize("bad", [Verdict(1000, 1, 0, 0), Verdict(1000, 0, 1, 0), Verdict(1000, 0, 0, 1)])
def test_a_row_lost_or_doubled_or_another_bar_is_not_good(bad: Verdict) -> None:
    report = DrillReport()
    report.together.append(outcome(bad))
    assert not report.good


def test_a_platform_that_did_not_recover_is_not_good() -> None:
    report = DrillReport()
    report.alone.append(outcome(GOOD))
    report.broken.append(UnrecoveredFault(MOMENT, "the reason"))
    assert not report.good
    assert report.done == 2
    assert json.loads(report.as_json())["broken"][0]["reason"] == "the reason"


def test_all_is_told_to_people_and_to_programs() -> None:
    report = DrillReport()
    report.alone += [outcome(GOOD, "a note"), outcome(Verdict(1000, 3, 4, 5))]
    console = Console(width=160)
    with console.capture() as shown:
        for table in report.tables():
            console.print(table)
    assert "a note" in shown.get()
    assert "pause  nats        2      2.50       2.50     3        4     5" in shown.get()
    told = json.loads(report.as_json())["alone"][1]
    assert (told["fault"], told["part"], told["rows_in"], told["lost"]) == ("pause", "nats", 500, 3)
    assert "3 lost, 4 doubled, 5 bars differ" in describe_outcome(report.alone[1])


def test_verdicts_on_several_loads_add_up() -> None:
    assert sum_verdicts([GOOD, Verdict(1, 2, 3, 4)]) == Verdict(1001, 2, 3, 4)
