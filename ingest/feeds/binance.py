"""Binance's messages -> batches: spot, USD-M and COIN-M futures, single and combined streams, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from ingest.feeds.binance_messages import EVENTS, Call, Held, Row
from ingest.feeds.binance_rows import FORMS, times
from ingest.feeds.fields import Fault, is_name
from ingest.feeds.parsed import Message, Parsed
from ingest.feeds.skew import WINDOW, Skew
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND, Nanos
from tapehouse.errors import UsageError

HELD = 1_000
"""Untimed messages that wait for the first timed one, at most."""
HELD_SNAPSHOTS = 16
"""Snapshots that wait for a symbol, at most."""
_TOGETHER = 2_048
_QUOTE, _SNAPSHOT, _BARE_SNAPSHOT = "bookTicker without time", "snapshot", "snapshot without time"


class Parser:
    """Turns messages of one venue into batches; the same messages give the same rows however calls cut them.

    Times are the venue's, floored to `unit_ns`, its clock's unit, whether a message counts in ms or us. Where
    the venue sends none (spot's bookTicker and snapshots), ts_event is the receive clock less the measured
    skew (see `Skew`), flagged ESTIMATED_TIME; such messages before the first timed one are held until it
    comes, or until more than 1,000 wait: then the skew is taken to be 0 until it comes.

    A snapshot that names no symbol is given `symbol`, the one of its stream, the only one seen before it or,
    held, the first one seen after it.

    `numbering` says by kind how rows are numbered, from the first row on; rows numbered otherwise are
    rejected. A rejected message is kept as a line of a capture, `<receive ns> <message>`.
    """

    def __init__(
        self, venue: str, kinds: Iterable[str], symbol: str | None = None, unit_ns: int = MILLISECOND
    ) -> None:
        self.kinds = frozenset(kinds)
        known = {kind.name for kind, _, _ in FORMS.values()}
        if not self.kinds or self.kinds - known:
            asked = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(sorted(known))}, was {asked}")
        self.venue = venue
        self.symbol = symbol
        self.unit_ns = unit_ns
        self.numbering: dict[str, str] = {}
        self._skew = Skew()
        self._skew_assumed = False
        self._symbols: list[str] = []  # the first two: more make no difference
        self._held: list[Held] = []

    @property
    def holding(self) -> bool:
        """Messages are held back."""
        return bool(self._held)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, of JSON's types; only while nothing is held."""
        assert not self._held
        return {
            "numbering": dict(self.numbering),
            "skew": self._skew.state(),
            "skew_assumed": self._skew_assumed,
            "symbols": list(self._symbols),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.numbering = dict(state["numbering"])
        self._skew = Skew(state["skew"])
        self._skew_assumed = bool(state["skew_assumed"])
        self._symbols = list(state["symbols"])
        self._held = []

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> Parsed:
        """The rows of messages in the order they were received; `where` names the place of one of them."""
        # Decoded messages are dropped while they are still in the processor's caches.
        return Parsed.joined(
            self._parse(messages[start : start + _TOGETHER], partial(_moved, where, start), last=False)
            for start in range(0, len(messages), _TOGETHER)
        )

    def finish(self) -> Parsed:
        """The rows of what was held back: no more messages come."""
        return self._parse((), str, last=True)

    def _parse(self, messages: Sequence[Message], where: Callable[[int], str], *, last: bool) -> Parsed:
        call = Call(self._held, messages, where)
        self._pass_over(call)
        waiting = self._name_snapshots(call, last)
        estimated = self._estimate(call, waiting, last)
        self._held = [call.hold(row, form) for row, form in sorted(waiting.values(), key=_place)]
        batches: dict[str, list[Batch]] = {}
        for form, run in self._runs(call, waiting):
            batches.setdefault(FORMS[form][0].name, []).extend(self._read(call, form, run, estimated))
        return Parsed(
            tuple(Batch.concat(batches[kind]) for kind in sorted(batches) if batches[kind]),
            call.rejected(),
            dict(call.ignored),
        )

    def _pass_over(self, call: Call) -> None:
        """Count what was not asked for. Its events stay: they tell the time and name symbols."""
        for form, (kind, _, _) in FORMS.items():
            if kind.name not in self.kinds and call.rows[form]:
                call.ignored[form.partition(" ")[0]] += len(call.rows[form])
                if form in (_SNAPSHOT, _BARE_SNAPSHOT):
                    call.rows[form] = []

    def _name_snapshots(self, call: Call, last: bool) -> dict[int, tuple[Row, str]]:
        """Give snapshots their symbols; those that have to wait for one, by place."""
        named = self._named(call)
        waiting: dict[int, tuple[Row, str]] = {}
        for form in (_SNAPSHOT, _BARE_SNAPSHOT):
            for row in call.rows[form]:
                place, _, body = row
                if "symbol" in body:
                    continue
                before = [symbol for first, symbol in named if first < place]
                if len(before) > 1:
                    reason = f"symbol: expected one symbol before the snapshot, was {' and '.join(before)}"
                    call.reject(place, reason)
                elif named:
                    body["symbol"] = named[0][1]
                elif last or len(waiting) == HELD_SNAPSHOTS:
                    call.reject(place, "symbol: expected the snapshot of a known symbol, was without one")
                else:
                    waiting[place] = row, form
        return waiting

    def _named(self, call: Call) -> list[tuple[int, str]]:
        """The first two symbols named up to the end of the call: (place of the first message, symbol)."""
        start = -len(call.held) - 1
        if self.symbol is not None:
            return [(start, self.symbol)]
        named = [(start, symbol) for symbol in self._symbols]
        if len(named) < 2:
            firsts: dict[str, int] = {}
            for form in FORMS:
                name = "symbol" if form.startswith(_SNAPSHOT) else "s"
                for symbol in _distinct(name, call.rows[form]).difference(self._symbols):
                    if is_name(symbol):
                        place = next(row[0] for row in call.rows[form] if row[2].get(name) == symbol)
                        firsts[symbol] = min(place, firsts.get(symbol, place))
            named += sorted((place, symbol) for symbol, place in firsts.items())
            self._symbols = [symbol for _, symbol in named[:2]]
        return named[:2]

    def _estimate(self, call: Call, waiting: dict[int, tuple[Row, str]], last: bool) -> Nanos:
        """Estimated event times by place (held messages first); adds to `waiting` what has to wait."""
        offset = len(call.held)
        estimated = np.zeros(offset + len(call.messages), np.int64)
        untimed = [
            (row, form)
            for form in (_QUOTE, _BARE_SNAPSHOT)
            if FORMS[form][0].name in self.kinds
            for row in call.rows[form]
        ]
        timed, differences = self._timed(call, all_of_them=bool(untimed))
        known = self._skew.known
        places = np.array([row[0] for row, _ in untimed], np.int64)
        skews = self._skew.measure(timed, differences, places)
        if not known:
            first = int(timed[0]) if len(timed) else len(call.messages)
            early = [(row, form) for row, form in untimed if row[0] < first]
            if len(early) > HELD:
                self._skew_assumed = True
            if self._skew_assumed:
                skews[places < first] = 0
            elif not len(timed) and not last:
                waiting.update((row[0], (row, form)) for row, form in early)
        received = np.array([row[1] for row, _ in untimed], np.int64)
        estimated[places + offset] = (received - skews) // self.unit_ns * self.unit_ns
        return estimated

    def _timed(self, call: Call, *, all_of_them: bool) -> tuple[Nanos, Nanos]:
        """Places, and receive clock less the venue's, of messages that tell the time: all or the last."""
        rows: list[Row] = []
        for form in (*EVENTS, _SNAPSHOT):
            rows += call.rows[form] if all_of_them else call.rows[form][-WINDOW:]
        rows.sort(key=_first)
        try:
            sent = times("E", [body.get("E") for _, _, body in rows], 1)
        except Fault:
            rows = [row for form in (*EVENTS, _SNAPSHOT) for row in call.rows[form] if _tells_time(row[2])]
            rows.sort(key=_first)
            sent = times("E", [body["E"] for _, _, body in rows], 1)
        places = np.array([place for place, _, _ in rows], np.int64)
        return places, np.array([received for _, received, _ in rows], np.int64) - sent

    def _runs(self, call: Call, waiting: dict[int, tuple[Row, str]]) -> Iterator[tuple[str, list[Row]]]:
        """Rows of one form that follow on each other within their kind, in order."""
        by_kind: dict[str, list[str]] = {}
        for form, rows in call.rows.items():
            if rows and FORMS[form][0].name in self.kinds:
                by_kind.setdefault(FORMS[form][0].name, []).append(form)
        for forms in by_kind.values():
            if len(forms) == 1 and not waiting:
                yield forms[0], call.rows[forms[0]]
                continue
            merged = [(row, form) for form in forms for row in call.rows[form] if row[0] not in waiting]
            merged.sort(key=_place)
            for form, run in groupby(merged, key=lambda item: item[1]):
                yield form, [row for row, _ in run]

    def _read(self, call: Call, form: str, run: list[Row], estimated: Nanos) -> list[Batch]:
        """The sound rows of a run; the others are rejected."""
        kind, numbering, _ = FORMS[form]
        expected = self.numbering.get(kind.name, numbering)
        if expected != numbering:
            for place, _, _ in run:
                call.reject(place, f"{kind.name}: expected numbering by {expected}, was by {numbering}")
            return []
        batches = list(self._halve(call, form, run, estimated))
        if batches:
            self.numbering[kind.name] = numbering
        return batches

    def _halve(self, call: Call, form: str, run: list[Row], estimated: Nanos) -> Iterator[Batch]:
        """The rows as a batch; where one is at fault, those of each half, down to the row alone."""
        kind, _, reader = FORMS[form]
        places, received, bodies = zip(*run, strict=True)
        ts = estimated[np.array(places) + len(call.held)] if form.endswith("without time") else None
        try:
            columns = reader(bodies, np.array(received, np.int64), self.unit_ns, ts)
        except Fault as fault:
            if len(run) == 1:
                call.reject(places[0], str(fault))
                return
            middle = len(run) // 2
            yield from self._halve(call, form, run[:middle], estimated)
            yield from self._halve(call, form, run[middle:], estimated)
        else:
            yield Batch(kind, self.venue, len(run), columns)


def _moved(where: Callable[[int], str], start: int, place: int) -> str:
    return where(start + place)


def _distinct(name: str, rows: list[Row]) -> set[Any]:
    try:
        return {body.get(name) for _, _, body in rows}
    except TypeError:  # a list or an object is no name
        return {body.get(name) for _, _, body in rows if isinstance(body.get(name), str)}


def _first(row: Row) -> int:
    return row[0]


def _place(item: tuple[Row, str]) -> int:
    return item[0][0]


def _tells_time(body: dict[str, Any]) -> bool:
    try:
        times("E", [body.get("E")], 1)
    except Fault:
        return False
    return True
