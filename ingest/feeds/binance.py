"""Binance's messages -> batches: spot, USD-M and COIN-M futures, single and combined streams, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any

from ingest.feeds.binance_messages import BARE_SNAPSHOT, QUOTE, SNAPSHOT, Call, Held
from ingest.feeds.binance_rows import FORMS, Bodies, instant
from ingest.feeds.fields import Fault, is_name
from ingest.feeds.parsed import Message, Parsed
from ingest.feeds.skew import WINDOW, Skew
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND
from tapehouse.errors import UsageError

HELD = 1_000
"""Untimed messages that wait for the first timed one, at most."""
HELD_SNAPSHOTS = 16
"""Snapshots that wait for a symbol, at most."""
_TOGETHER = 2_048


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
        self.told: dict[str, int] = {}
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
        if len(messages) <= _TOGETHER:
            return self._parse(messages, where, last=False)
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
        self._held = [call.hold(place) for place in sorted(waiting)]
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
        for form in [form for form in call.rows if not self._asked(form)]:
            call.ignored[form.partition(" ")[0]] += len(call.rows[form])
            if form in (SNAPSHOT, BARE_SNAPSHOT):
                del call.rows[form]

    def _asked(self, form: str) -> bool:
        return FORMS[form][0].name in self.kinds

    def _name_snapshots(self, call: Call, last: bool) -> set[int]:
        """Give snapshots their symbols; the places of those that have to wait for one."""
        named = self._named(call)
        waiting: set[int] = set()
        if SNAPSHOT not in call.rows and BARE_SNAPSHOT not in call.rows:
            return waiting
        for form in (SNAPSHOT, BARE_SNAPSHOT):
            for place in call.rows.get(form, ()):
                if "symbol" in call.bodies[place]:
                    continue
                before = [symbol for first, symbol in named if first < place]
                if len(before) > 1:
                    reason = f"symbol: expected one symbol before the snapshot, was {' and '.join(before)}"
                    call.reject(place, reason)
                elif named:
                    call.bodies[place]["symbol"] = named[0][1]
                elif last or len(waiting) == HELD_SNAPSHOTS:
                    call.reject(place, "symbol: expected the snapshot of a known symbol, was without one")
                else:
                    waiting.add(place)
        return waiting

    def _named(self, call: Call) -> list[tuple[int, str]]:
        """The first two symbols named up to the end of the call: (place of the first message, symbol)."""
        if self.symbol is not None:
            return [(-1, self.symbol)]
        named = [(-1, symbol) for symbol in self._symbols]
        if len(named) < 2:
            firsts: dict[str, int] = {}
            for form, places in call.rows.items():
                name = "symbol" if form in (SNAPSHOT, BARE_SNAPSHOT) else "s"
                bodies, _ = call.part(places)
                for symbol in _distinct(name, bodies).difference(self._symbols):
                    if is_name(symbol):
                        place = next(place for place in places if call.bodies[place].get(name) == symbol)
                        firsts[symbol] = min(place, firsts.get(symbol, place))
            named += sorted((place, symbol) for symbol, place in firsts.items())
            self._symbols = [symbol for _, symbol in named[:2]]
        return named[:2]

    def _estimate(self, call: Call, waiting: set[int], last: bool) -> dict[int, int]:
        """Estimated event times by place, ns; adds to `waiting` what has to wait for the venue's time."""
        forms = [form for form in (QUOTE, BARE_SNAPSHOT) if form in call.rows and self._asked(form)]
        untimed = sorted(place for form in forms for place in call.rows[form])
        # What was held had its say on the time when it came.
        timing = [places for form, places in call.rows.items() if form not in (QUOTE, BARE_SNAPSHOT)]
        timed = sorted(place for places in timing for place in places if place >= len(call.held))
        if not untimed:
            self._skew.extend([late for _, late in islice(_differences(call, reversed(timed)), WINDOW)][::-1])
            return {}
        differences = list(_differences(call, timed))
        if not self._skew.known:
            first = differences[0][0] if differences else len(call.messages)
            early = [place for place in untimed if place < first]
            self._skew_assumed |= len(early) > HELD
            if not (self._skew_assumed or differences or last):
                waiting.update(early)
        at_first = differences[0][1] if differences and not self._skew_assumed else 0
        estimated: dict[int, int] = {}
        coming = iter([*differences, (len(call.messages), 0)])
        following, late = next(coming)
        for place in untimed:
            while following < place:
                self._skew.add(late)
                following, late = next(coming)
            skew = self._skew.median if self._skew.known else at_first
            estimated[place] = (call.messages[place][0] - skew) // self.unit_ns * self.unit_ns
        self._skew.extend([late for place, late in differences if place >= following])
        return estimated

    def _runs(self, call: Call, waiting: set[int]) -> Iterator[tuple[str, list[int]]]:
        """Places of one form that follow on each other within their kind, in order."""
        by_kind: dict[str, list[str]] = {}
        for form in call.rows:
            if self._asked(form):
                by_kind.setdefault(FORMS[form][0].name, []).append(form)
        for forms in by_kind.values():
            if len(forms) == 1 and not waiting:
                yield forms[0], call.rows[forms[0]]
                continue
            merged = [(place, form) for form in forms for place in call.rows[form] if place not in waiting]
            merged.sort()
            for form, run in groupby(merged, key=lambda item: item[1]):
                yield form, [place for place, _ in run]

    def _read(self, call: Call, form: str, run: list[int], estimated: dict[int, int]) -> list[Batch]:
        """The sound rows of a run; the others are rejected."""
        kind, numbering, _ = FORMS[form]
        expected = self.numbering.get(kind.name, numbering)
        if expected != numbering:
            for place in run:
                call.reject(place, f"{kind.name}: expected numbering by {expected}, was by {numbering}")
            return []
        batches = list(self._halve(call, form, run, estimated))
        if batches:
            self.numbering[kind.name] = numbering
        return batches

    def _halve(self, call: Call, form: str, run: list[int], estimated: dict[int, int]) -> Iterator[Batch]:
        """The rows as a batch; where one is at fault, those of each half, down to the row alone."""
        kind, _, reader = FORMS[form]
        bodies, received = call.part(run)
        ts = [estimated[place] for place in run] if form in (QUOTE, BARE_SNAPSHOT) else None
        try:
            columns = reader(bodies, received, self.unit_ns, ts)
        except Fault as fault:
            if len(run) == 1:
                call.reject(run[0], str(fault))
                return
            middle = len(run) // 2
            yield from self._halve(call, form, run[:middle], estimated)
            yield from self._halve(call, form, run[middle:], estimated)
        else:
            yield Batch(kind, self.venue, len(run), columns)


def _moved(where: Callable[[int], str], start: int, place: int) -> str:
    return where(start + place)


def _distinct(name: str, bodies: Bodies) -> set[Any]:
    try:
        return {body.get(name) for body in bodies}
    except TypeError:  # a list or an object is no name
        return {body.get(name) for body in bodies if isinstance(body.get(name), str)}


def _differences(call: Call, places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(place, receive clock less the venue's, ns) of the messages that tell the time."""
    for place in places:
        sent = instant(call.bodies[place].get("E"))
        if sent is not None:
            yield place, call.messages[place][0] - sent
