"""The memory of how a store was stopped."""

from __future__ import annotations

from ops.stack.cleanstop import CleanStop
from ops.stack.home import Home
from tapehouse.clock import now_ns


def test_a_store_never_written_has_lost_nothing(home: Home) -> None:
    stop = CleanStop(home, "questdb", fresh=True)
    stop.starting()
    assert stop.was_clean
    assert stop.unclean_ns == 0


def test_a_graceful_stop_is_remembered_once(home: Home) -> None:
    CleanStop(home, "questdb", fresh=False).stopped()
    again = CleanStop(home, "questdb", fresh=False)
    assert (home.folder / "questdb.clean").exists()
    again.starting()
    assert again.was_clean
    assert not (home.folder / "questdb.clean").exists()


def test_a_start_without_a_graceful_stop_is_remembered_for_good(home: Home) -> None:
    before = now_ns()
    stop = CleanStop(home, "questdb", fresh=False)
    stop.starting()
    assert not stop.was_clean
    assert before <= stop.unclean_ns <= now_ns()
    stop.stopped()
    later = CleanStop(home, "questdb", fresh=False)
    later.starting()
    assert later.was_clean
    assert later.unclean_ns == stop.unclean_ns
