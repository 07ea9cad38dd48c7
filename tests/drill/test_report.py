"""What a drill tells."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tapehouse.drill.plan import Moment
from tapehouse.drill.proof import Verdict
from tapehouse.drill.report import Broken, Report, line
from tapehouse.drill.run import Outcome, total
from tapehouse.drill.strike import Struck

MOMENT = Moment("pause", "nats", "feed", at=0.5, seconds=2.0, silent=False, seed=7)
GOOD = Verdict(1000, 0, 0, 0)


def outcome(verdict: Verdict, *notes: str) -> Outcome:
    return Outcome(MOMENT, Struck(1.5, 500, 2.5), verdict, notes)


def test_a_report_is_good_where_nothing_is_wrong() -> None:
    report = Report()
    report.alone.append(outcome(GOOD))
    assert report.good
    assert report.done == 1


@pytest.mark.parametrize("bad", [Verdict(1000, 1, 0, 0), Verdict(1000, 0, 1, 0), Verdict(1000, 0, 0, 1)])
def test_a_row_lost_or_doubled_or_another_bar_is_not_good(bad: Verdict) -> None:
    report = Report()
    report.together.append(outcome(bad))
    assert not report.good


def test_a_platform_that_did_not_recover_is_not_good() -> None:
    report = Report()
    report.alone.append(outcome(GOOD))
    report.broken.append(Broken(MOMENT, "the reason"))
    assert not report.good
    assert report.done == 2
    assert json.loads(report.as_json())["broken"][0]["reason"] == "the reason"


def test_all_is_told_to_people_and_to_programs() -> None:
    report = Report()
    report.alone += [outcome(GOOD, "a note"), outcome(Verdict(1000, 3, 4, 5))]
    console = Console(width=160)
    with console.capture() as shown:
        for table in report.tables():
            console.print(table)
    assert "a note" in shown.get()
    assert "pause  nats        2      2.50       2.50     3        4     5" in shown.get()
    told = json.loads(report.as_json())["alone"][1]
    assert (told["fault"], told["part"], told["rows_in"], told["lost"]) == ("pause", "nats", 500, 3)
    assert "3 lost, 4 doubled, 5 bars differ" in line(report.alone[1])


def test_verdicts_on_several_loads_add_up() -> None:
    assert total([GOOD, Verdict(1, 2, 3, 4)]) == Verdict(1001, 2, 3, 4)
