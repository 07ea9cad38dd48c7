"""The moments of a drill."""

from __future__ import annotations

import pytest

from ops.drill.plan import LOADS, plan_faults, plan_mixed_faults


def test_a_seed_gives_the_same_moments_and_more_of_them_go_on_where_fewer_end() -> None:
    assert plan_faults(1, "kill", "nats", 20)[:5] == plan_faults(1, "kill", "nats", 5)
    assert plan_faults(1, "kill", "nats", 5) != plan_faults(2, "kill", "nats", 5)
    assert plan_mixed_faults(1, ["kill"], ["nats", "sim"], 9) == plan_mixed_faults(
        1, ["kill"], ["nats", "sim"], 9
    )


@pytest.mark.parametrize("fault", ["pause", "cut"])
def test_what_lasts_is_short_or_longer_than_pings_and_leases(fault: str) -> None:
    lasting = [moment.seconds for moment in plan_faults(1, fault, "questdb", 8)]
    assert [seconds > 10 for seconds in lasting] == [False, False, False, True] * 2
    assert min(lasting) > 0


def test_a_kill_lasts_no_time_and_nothing_is_silent_but_a_cut() -> None:
    assert {(moment.seconds, moment.silent) for moment in plan_faults(1, "kill", "writer", 8)} == {
        (0.0, False)
    }
    assert {moment.silent for moment in plan_faults(1, "pause", "writer", 8)} == {False}
    assert {moment.silent for moment in plan_faults(1, "cut", "writer", 8)} == {False, True}


def test_servers_are_struck_under_every_load_and_a_load_under_itself() -> None:
    assert {moment.load for moment in plan_faults(1, "kill", "nats", 4)} == set(LOADS)
    assert {moment.load for moment in plan_faults(1, "kill", "sim", 4)} == {"sim"}
