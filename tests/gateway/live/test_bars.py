"""Live bars as the hub sends them are those that the client makes of them: masks, decimals, deletions, reconnects."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live.bars import BarChange, BarRow, BarSeries, BarsTopic
from tapehouse.client.live_bars import BarFollower
from tapehouse.client.live_records import Bar, Reconnected, Revised
from tapehouse.clock import MAX_TS, MINUTE, SECOND, now_ns
from tapehouse.stream.live_messages import BAR_FIELDS, SHORT_FIELDS
from tests.gateway.live.receiving import Receiver

_EPOCH = 7
_NOW = now_ns() // MINUTE * MINUTE
_START = _NOW - 60 * MINUTE
_PRICES = [0.1, 1e-9, 5.0, -0.0, 1e12, 123456789.12345678, -37.63, 7.0, 7.25, 1 / 3]
_SIZES = [0.0, 1.0, 1e15, 0.1, 1 / 3]
_STEPS = ("apply", "apply", "apply", "slow", "taken", "lost", "back", "restart", "revised")


def _any_row(chance: Random) -> BarRow:
    values: dict[str, Any] = {name: chance.choice(_PRICES) for name in ("open", "high", "low", "close")}
    values |= {name: chance.choice(_SIZES) for name in ("volume", "turnover", "buy_volume")}
    values |= {name: chance.randrange(2**62) for name in ("seq_first", "seq_last")}
    values |= {"trades": chance.randrange(3), "final": chance.random() < 0.5, "revision": chance.randrange(9)}
    return tuple(values[name] for name in BAR_FIELDS)


def _any_changes(chance: Random) -> list[tuple[int, BarRow]]:
    """Some bars of six minutes, those with 0 trades removed."""
    return [(_START + chance.randrange(6) * MINUTE, _any_row(chance)) for _ in range(chance.randrange(1, 5))]


class _Hub:
    """One series and its topics, with a version that rises."""

    def __init__(self) -> None:
        self.n = 1
        self.series = BarSeries(self.n)
        self.topics = {full: self._topic(full) for full in (False, True)}

    def _topic(self, full: bool) -> BarsTopic:
        return BarsTopic(1 + full, _EPOCH, self.n, ("V", "A", "1m", full), self.series, _never)

    def restart(self) -> None:
        """A new process, which has the same bars."""
        rows, self.series = self.series.rows, BarSeries(1)
        self.series.apply(list(rows.items()), 1)
        self.topics = {full: self._topic(full) for full in (False, True)}
        for topic in self.topics.values():
            topic.epoch = _EPOCH + self.n

    def apply(self, found: list[tuple[int, BarRow]]) -> None:
        self.n += 1
        self.publish(self.series.apply(found, self.n))

    def publish(self, changes: list[BarChange]) -> None:
        for topic in self.topics.values():
            topic.publish_changes(changes, self.n)

    def revise(self) -> None:
        self.n += 1
        self.note_revised(0, self.series.first - 1)

    def note_revised(self, start: int, end: int) -> None:
        self.series.note_revised(start, end, self.n)
        for topic in self.topics.values():
            topic.publish_revised(start, end, self.n)

    def history(self) -> tuple[int, list[tuple[int, BarRow]]]:
        return self.series.revised_at, []


def _never(end_ns: int, count: int) -> Any:
    raise AssertionError


def _receiver(hub: _Hub, full: bool, last: int = 2000) -> Receiver:
    receiver = Receiver(BarFollower("V", "A", "1m", last, full))
    receiver.subscribe(hub.topics[full], hub.history())
    return receiver


def _known(receiver: Receiver) -> dict[int, Bar]:
    """The series of a user who keeps the newest record of each start."""
    found = {round(bar.ts.timestamp()) * SECOND: bar for bar in receiver.records}
    return {ts: bar for ts, bar in found.items() if not bar.is_removed}


def _expected(hub: _Hub, full: bool) -> dict[int, tuple[Any, ...]]:
    count = len(BAR_FIELDS) if full else SHORT_FIELDS
    return {ts: row[:count] for ts, row in hub.series.rows.items()}


def _values(bars: dict[int, Bar], full: bool) -> dict[int, tuple[Any, ...]]:
    names = BAR_FIELDS if full else BAR_FIELDS[:SHORT_FIELDS]
    return {ts: tuple(getattr(bar, name) for name in names) for ts, bar in bars.items()}


@given(st.integers(0, 2**32), st.booleans())
def test_after_any_changes_slowness_and_reconnects_a_client_has_the_bars_of_the_hub(
    seed: int, full: bool
) -> None:
    chance, hub = Random(seed), _Hub()
    hub.apply(_any_changes(chance))
    receiver = _receiver(hub, full)
    oldest, is_connected = hub.series.first, True
    for name in [*chance.choices(_STEPS, k=12), "back", "taken"]:
        topic = hub.topics[full]
        if name == "apply":
            hub.apply([(ts, row) for ts, row in _any_changes(chance) if oldest == MAX_TS or ts >= oldest])
        elif name == "slow":
            receiver.is_slow = is_connected
        elif name == "taken" and is_connected:
            receiver.catch_up()
        elif name in ("lost", "restart") and is_connected:
            topic.unsubscribe(receiver, 0.0)
            is_connected, receiver.is_slow, receiver.behind = False, False, []
        elif name == "back" and not is_connected:
            receiver.subscribe(topic, hub.history())
            is_connected = True
        elif name == "revised":
            hub.revise()
        if name == "restart":
            hub.restart()
        if is_connected and not receiver.is_slow:
            receiver.ask_again(hub.topics[full], hub.history())
    assert _values(_known(receiver), full) == _expected(hub, full)


def _row(close: float, trades: int = 1, final: bool = False) -> BarRow:
    values = dict.fromkeys(BAR_FIELDS, 1) | dict.fromkeys(("open", "high", "low"), 1.5)
    values |= {"close": close, "trades": trades, "final": final, "volume": 2.0, "turnover": 3.0}
    return tuple(values[name] for name in BAR_FIELDS)


def test_decimals_are_the_same_for_all_whatever_comes_first() -> None:
    hub = _Hub()
    hub.apply([(_START, tuple(5.0 if type(value) is float else value for value in _row(5.0)))])
    before = _receiver(hub, full=False)
    hub.apply([(_START + MINUTE, _row(5.25))])
    after = _receiver(hub, full=False)
    hub.apply([(_START + MINUTE, _row(6.0)), (_START, _row(7.125))])
    assert _known(before) == _known(after)
    assert _known(before)[_START].close == 7.125


def test_a_bar_without_trades_is_told_once_and_comes_again_whole() -> None:
    hub = _Hub()
    hub.apply([(_START, _row(1.0)), (_START + MINUTE, _row(2.0))])
    receiver = _receiver(hub, full=True)
    hub.apply([(_START + MINUTE, _row(0.0, trades=0))])
    hub.apply([(_START + MINUTE, _row(0.0, trades=0))])
    *_, removed = receiver.records
    assert len(receiver.records) == 3
    assert removed.is_removed
    assert removed.close != removed.close
    assert (removed.volume, removed.turnover) == (0.0, None)
    hub.apply([(_START + MINUTE, _row(3.0))])
    assert receiver.records[-1] == _known(receiver)[_START + MINUTE]
    assert receiver.records[-1].open == 1.5


def test_changes_of_bars_older_than_the_snapshot_do_not_come() -> None:
    hub = _Hub()
    hub.apply([(_START + minute * MINUTE, _row(1.0)) for minute in range(5)])
    receiver = _receiver(hub, full=False, last=2)
    assert len(receiver.records) == 2
    hub.apply([(_START, _row(9.0)), (_START - MINUTE, _row(8.0))])
    assert len(receiver.records) == 2


def test_a_change_that_the_short_fields_do_not_have_is_not_sent() -> None:
    hub = _Hub()
    hub.apply([(_START, _row(1.0))])
    short, full = _receiver(hub, full=False), _receiver(hub, full=True)
    changed = list(_row(1.0))
    changed[BAR_FIELDS.index("turnover")] = 99.0
    hub.apply([(_START, tuple(changed))])
    assert len(short.records) == 1
    assert full.records[-1].turnover == 99.0


def test_older_bars_that_changed_in_the_store_are_asked_for_again() -> None:
    hub = _Hub()
    hub.apply([(_START + MINUTE, _row(2.0))])
    receiver = Receiver(BarFollower("V", "A", "1m", 10, False))
    receiver.subscribe(hub.topics[False], (1, [(_START, _row(1.0))]))
    assert [bar.close for bar in receiver.records] == [1.0, 2.0]
    hub.n += 1
    hub.note_revised(_START - MINUTE, _START + 1)
    assert receiver.ask_again(hub.topics[False], (1, [(_START, _row(4.0))]))
    assert [bar.close for bar in receiver.records] == [1.0, 2.0, 4.0]
    assert isinstance(receiver.notices[0], Revised)


@pytest.mark.parametrize("was_told", [True, False])
def test_one_that_comes_back_after_older_bars_changed_gets_a_snapshot(was_told: bool) -> None:
    hub = _Hub()
    hub.apply([(_START + MINUTE, _row(2.0))])
    topic = hub.topics[False]
    receiver = Receiver(BarFollower("V", "A", "1m", 10, False))
    receiver.subscribe(topic, (1, [(_START, _row(1.0))]))
    if not was_told:
        topic.unsubscribe(receiver, 0.0)
    hub.n += 1
    hub.note_revised(_START, _START)
    topic.unsubscribe(receiver, 0.0)
    receiver.subscribe(topic, (hub.n, [(_START, _row(4.0))]))
    assert receiver.notices[-1] == Reconnected(resumed=False)
    assert [bar.close for bar in receiver.records] == [1.0, 2.0, 4.0]


def test_a_slow_one_is_told_of_older_bars_that_changed_meanwhile() -> None:
    hub = _Hub()
    hub.apply([(_START + MINUTE, _row(2.0))])
    receiver = Receiver(BarFollower("V", "A", "1m", 10, False))
    receiver.subscribe(hub.topics[False], (1, [(_START, _row(1.0))]))
    receiver.is_slow = True
    hub.n += 1
    hub.note_revised(_START, _START)
    receiver.catch_up()
    assert receiver.follower.wants_snapshot


@given(st.integers(0, 2**32))
def test_a_snapshot_of_the_maker_replaces_all_and_tells_what_changed_since_its_first_bar(seed: int) -> None:
    chance, series = Random(seed), BarSeries(0)
    series.apply(_any_changes(chance), 1)
    known = dict(series.rows)
    found = {ts: row for ts, row in _any_changes(chance) if row[BAR_FIELDS.index("trades")]}
    changes = series.replace(list(found.items()), 2)
    first = min(found, default=MAX_TS)
    assert series.rows == found
    known = {ts: row for ts, row in known.items() if ts >= first}
    assert [change.ts for change in changes] == sorted(
        ts for ts in {*known, *found} if known.get(ts) != found.get(ts)
    )
