"""Binance's messages -> batches: spot, USD-M and COIN-M futures, single and combined streams, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any

from ingest.venues.binance.message_block import (
    QUOTE,
    SNAPSHOT,
    UNTIMED_SNAPSHOT,
    BinanceBlock,
    PendingMessage,
)
from ingest.venues.binance.rows import FORMS, Bodies, parse_time
from ingest.venues.clock_skew import WINDOW, ClockSkew
from ingest.venues.fields import FieldError, is_valid_name
from ingest.venues.message_block import BLOCK_MESSAGES, shifted
from ingest.venues.parse_result import Message, ParseResult
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND
from tapehouse.errors import UsageError

MAX_PENDING = 1_000
"""Most untimed messages that wait for the first timed one."""
MAX_PENDING_SNAPSHOTS = 16
"""Most snapshots that wait for a symbol."""
_UNTIMED = (QUOTE, UNTIMED_SNAPSHOT)
_SNAPSHOTS = (SNAPSHOT, UNTIMED_SNAPSHOT)


class Parser:
    """Parses the messages of one venue. The same messages give the same rows however they are split into calls.

    ts_event is the venue's time, floored to `unit_ns`, whether a message counts in ms or us. Where the venue
    sends none (spot's bookTicker and snapshots), it is the receive time minus the measured clock skew, flagged
    ESTIMATED_TIME. Such messages wait for the first timed one; once more than 1,000 wait, the skew is taken to
    be 0 until a timed one comes.

    A snapshot without a symbol is of `symbol`, of its stream, or of the only symbol seen before it; it waits
    for the first symbol where none was seen.

    `numbering` says by kind what seq is, from the first row on; rows numbered otherwise are rejected. A rejected
    message becomes a line of a capture, `<receive ns> <message>`.
    """

    def __init__(
        self, venue: str, kinds: Iterable[str], symbol: str | None = None, unit_ns: int = MILLISECOND
    ) -> None:
        """Raises UsageError for kinds that Binance's messages do not carry."""
        self.kinds = frozenset(kinds)
        known = {form.kind.name for form in FORMS.values()}
        if not self.kinds or self.kinds - known:
            given = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(sorted(known))}, was {given}")
        self.venue = venue
        self.symbol = symbol
        self.unit_ns = unit_ns
        self.numbering: dict[str, str] = {}
        self.announced_trade_ids: dict[str, int] = {}
        self._skew = ClockSkew()
        self._skew_assumed = False
        self._symbols: list[str] = []  # the first two: with two, no snapshot can be assigned any more
        self._pending: list[PendingMessage] = []

    @property
    def has_pending(self) -> bool:
        """Messages wait for a later one."""
        return bool(self._pending)

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types; only while no message waits."""
        assert not self._pending
        return {
            "numbering": dict(self.numbering),
            "skew": self._skew.state(),
            "skew_assumed": self._skew_assumed,
            "symbols": list(self._symbols),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.numbering = dict(state["numbering"])
        self._skew = ClockSkew(state["skew"])
        self._skew_assumed = bool(state["skew_assumed"])
        self._symbols = list(state["symbols"])
        self._pending = []

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> ParseResult:
        """The rows of messages in the order of receipt; `where(i)` names the origin of message i."""
        if len(messages) <= BLOCK_MESSAGES:
            return self._parse(messages, where, last=False)
        return ParseResult.concat(
            self._parse(messages[start : start + BLOCK_MESSAGES], partial(shifted, where, start), last=False)
            for start in range(0, len(messages), BLOCK_MESSAGES)
        )

    def finish(self) -> ParseResult:
        """The rows of messages that still wait."""
        return self._parse((), str, last=True)

    def _parse(self, messages: Sequence[Message], where: Callable[[int], str], *, last: bool) -> ParseResult:
        block = BinanceBlock(self._pending, messages, where)
        self._ignore_other_kinds(block)
        waiting = self._assign_symbols(block, last)
        estimated = self._estimate_times(block, waiting, last)
        self._pending = [block.keep_pending(index) for index in sorted(waiting)]
        batches: dict[str, list[Batch]] = {}
        for form, run in self._runs(block, waiting):
            batches.setdefault(FORMS[form].kind.name, []).extend(self._read(block, form, run, estimated))
        return ParseResult(
            tuple(Batch.concat(batches[kind]) for kind in sorted(batches) if batches[kind]),
            block.rejected(),
            dict(block.ignored),
        )

    def _ignore_other_kinds(self, block: BinanceBlock) -> None:
        """Count messages of other kinds. Events stay in the block: they carry the time and symbols."""
        for form in [form for form in block.indices_by_form if not self._is_wanted(form)]:
            block.ignored[form.partition(" ")[0]] += len(block.indices_by_form[form])
            if form in _SNAPSHOTS:
                del block.indices_by_form[form]

    def _is_wanted(self, form: str) -> bool:
        return FORMS[form].kind.name in self.kinds

    def _assign_symbols(self, block: BinanceBlock, last: bool) -> set[int]:
        """Give snapshots their symbols; the indices of those that have to wait for one."""
        seen = self._seen_symbols(block)
        waiting: set[int] = set()
        if SNAPSHOT not in block.indices_by_form and UNTIMED_SNAPSHOT not in block.indices_by_form:
            return waiting
        for form in _SNAPSHOTS:
            for index in block.indices_by_form.get(form, ()):
                if "symbol" in block.bodies[index]:
                    continue
                before = [symbol for first, symbol in seen if first < index]
                if len(before) > 1:
                    reason = f"symbol: expected one symbol before the snapshot, was {' and '.join(before)}"
                    block.reject(index, reason)
                elif seen:
                    block.bodies[index]["symbol"] = seen[0][1]
                elif last or len(waiting) == MAX_PENDING_SNAPSHOTS:
                    block.reject(index, "symbol: expected the snapshot of a known symbol, was without one")
                else:
                    waiting.add(index)
        return waiting

    def _seen_symbols(self, block: BinanceBlock) -> list[tuple[int, str]]:
        """The first two symbols up to the end of the block: (index of the first message, symbol)."""
        if self.symbol is not None:
            return [(-1, self.symbol)]
        seen = [(-1, symbol) for symbol in self._symbols]
        if len(seen) < 2:
            firsts: dict[str, int] = {}
            for form, indices in block.indices_by_form.items():
                key = "symbol" if form in _SNAPSHOTS else "s"
                bodies, _ = block.part(indices)
                for symbol in _distinct(key, bodies).difference(self._symbols):
                    if is_valid_name(symbol):
                        first = next(index for index in indices if block.bodies[index].get(key) == symbol)
                        firsts[symbol] = min(first, firsts.get(symbol, first))
            seen += sorted((index, symbol) for symbol, index in firsts.items())
            self._symbols = [symbol for _, symbol in seen[:2]]
        return seen[:2]

    def _estimate_times(self, block: BinanceBlock, waiting: set[int], last: bool) -> dict[int, int]:
        """By index, ts_event of untimed messages; adds to `waiting` those before the first timed message."""
        untimed = self._untimed(block)
        timed = _timed(block)
        if not untimed:
            newest = islice(_clock_differences(block, reversed(timed)), WINDOW)
            self._skew.extend([difference for _, difference in newest][::-1])
            return {}
        differences = list(_clock_differences(block, timed))
        if not self._skew.known:
            waiting.update(self._early(block, untimed, differences, last))
        return self._subtract_skew(block, untimed, differences)

    def _untimed(self, block: BinanceBlock) -> list[int]:
        """Indices of the messages whose time is to be estimated, in order."""
        forms = [form for form in _UNTIMED if form in block.indices_by_form and self._is_wanted(form)]
        return sorted(index for form in forms for index in block.indices_by_form[form])

    def _early(
        self, block: BinanceBlock, untimed: list[int], differences: list[tuple[int, int]], last: bool
    ) -> list[int]:
        """The untimed messages that wait for the first timed one; none once the skew is assumed to be 0."""
        first = differences[0][0] if differences else len(block.messages)
        early = [index for index in untimed if index < first]
        self._skew_assumed |= len(early) > MAX_PENDING
        return [] if self._skew_assumed or differences or last else early

    def _subtract_skew(
        self, block: BinanceBlock, untimed: list[int], differences: list[tuple[int, int]]
    ) -> dict[int, int]:
        """Receive times minus the skew as of each untimed message; measures the skew on the way."""
        initial = differences[0][1] if differences and not self._skew_assumed else 0
        estimated: dict[int, int] = {}
        upcoming = iter([*differences, (len(block.messages), 0)])
        next_timed, difference = next(upcoming)
        for index in untimed:
            while next_timed < index:
                self._skew.add(difference)
                next_timed, difference = next(upcoming)
            skew = self._skew.median if self._skew.known else initial
            estimated[index] = (block.messages[index][0] - skew) // self.unit_ns * self.unit_ns
        self._skew.extend([difference for index, difference in differences if index >= next_timed])
        return estimated

    def _runs(self, block: BinanceBlock, waiting: set[int]) -> Iterator[tuple[str, list[int]]]:
        """(form, indices) of the messages of one form that follow each other within their kind, in order."""
        by_kind: dict[str, list[str]] = {}
        for form in block.indices_by_form:
            if self._is_wanted(form):
                by_kind.setdefault(FORMS[form].kind.name, []).append(form)
        for forms in by_kind.values():
            if len(forms) == 1 and not waiting:
                yield forms[0], block.indices_by_form[forms[0]]
                continue
            merged = [
                (index, form)
                for form in forms
                for index in block.indices_by_form[form]
                if index not in waiting
            ]
            merged.sort()
            for form, run in groupby(merged, key=lambda item: item[1]):
                yield form, [index for index, _ in run]

    def _read(self, block: BinanceBlock, form: str, run: list[int], estimated: dict[int, int]) -> list[Batch]:
        """The rows of a run's well-formed messages; the others are rejected."""
        kind, numbering, _ = FORMS[form]
        expected = self.numbering.get(kind.name, numbering)
        if expected != numbering:
            for index in run:
                block.reject(index, f"{kind.name}: expected numbering by {expected}, was by {numbering}")
            return []
        batches = list(self._read_halving(block, form, run, estimated))
        if batches:
            self.numbering[kind.name] = numbering
        return batches

    def _read_halving(
        self, block: BinanceBlock, form: str, run: list[int], estimated: dict[int, int]
    ) -> Iterator[Batch]:
        """The rows of a run; where a message is malformed, those of each half, down to that message alone."""
        kind, _, read_columns = FORMS[form]
        bodies, received = block.part(run)
        ts = [estimated[index] for index in run] if form in _UNTIMED else None
        try:
            columns = read_columns(bodies, received, self.unit_ns, ts)
        except FieldError as fault:
            if len(run) == 1:
                block.reject(run[0], str(fault))
                return
            middle = len(run) // 2
            yield from self._read_halving(block, form, run[:middle], estimated)
            yield from self._read_halving(block, form, run[middle:], estimated)
        else:
            yield Batch(kind, self.venue, len(run), columns)


def _timed(block: BinanceBlock) -> list[int]:
    """Indices of the messages with an event time, in order."""
    timed = [indices for form, indices in block.indices_by_form.items() if form not in _UNTIMED]
    # Messages that waited were measured when they were received.
    return sorted(index for indices in timed for index in indices if index >= len(block.pending))


def _distinct(key: str, bodies: Bodies) -> set[Any]:
    try:
        return {body.get(key) for body in bodies}
    except TypeError:  # a list or an object is no name
        return {body.get(key) for body in bodies if isinstance(body.get(key), str)}


def _clock_differences(block: BinanceBlock, indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(index, receive clock minus the venue's, ns) of the messages with a valid event time."""
    for index in indices:
        sent = parse_time(block.bodies[index].get("E"))
        if sent is not None:
            yield index, block.messages[index][0] - sent
