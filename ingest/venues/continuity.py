"""Continuity of all rows that a live feed receives from one venue: one id sequence per (kind, symbol)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.numbering import rows_by_symbol
from ingest.venues.sequences import Gap, IncreasingSequence, LinkedSequence, SequenceState
from tapehouse.batch import Batch
from tapehouse.clock import Nanos
from tapehouse.model import DEPTH, NULL_LONG


@dataclass(frozen=True)
class FilteredBatch:
    """The rows of a batch not seen before, and those whose ids went back although their time did not."""

    new: Batch
    regressed: Batch


class Continuity:
    """The sequences by (kind, symbol). `contiguous` names the kinds whose ids rise by one."""

    def __init__(self, contiguous: frozenset[str]) -> None:
        self._contiguous = contiguous
        self._sequences: dict[tuple[str, str], SequenceState] = {}

    def filter_new(self, batch: Batch, now_ns: int) -> FilteredBatch:
        """The rows not seen before. All snapshots of a book pass: they are no part of its sequence."""
        # A row without a symbol has no sequence: validation rejects it later.
        new = batch.strings("symbol").codes < 0
        regressed = np.zeros(batch.rows, np.bool_)
        if batch.kind is DEPTH:
            new |= batch.array("snapshot")
        before = self._ids_before(batch)
        seq, ts = batch.array("seq"), batch.array("ts_event")
        for rows, symbol in rows_by_symbol(batch.strings("symbol")):
            if batch.kind is DEPTH:
                rows = np.flatnonzero(~new) if isinstance(rows, slice) else rows[~new[rows]]
            sequence = self._sequence(batch.kind.name, symbol, batch)
            if isinstance(sequence, LinkedSequence):
                assert before is not None
                new[rows], regressed[rows] = sequence.filter_new(before[rows], seq[rows], ts[rows], now_ns)
            else:
                new[rows], regressed[rows] = sequence.filter_new(seq[rows], ts[rows], now_ns)
        return FilteredBatch(batch if new.all() else batch.take(new), batch.take(regressed))

    def _ids_before(self, batch: Batch) -> Nanos | None:
        """The id directly before each row; None for a kind whose ids only rise."""
        if batch.kind is DEPTH:
            previous = batch.array("seq_previous")
            before: Nanos = np.where(previous == NULL_LONG, batch.array("seq_first") - 1, previous)
            return before
        return batch.array("seq") - 1 if batch.kind.name in self._contiguous else None

    def _sequence(self, kind: str, symbol: str, batch: Batch) -> SequenceState:
        sequence = self._sequences.get((kind, symbol))
        if sequence is None:
            linked = kind in self._contiguous or batch.kind is DEPTH
            # Where a row names the id before it, ids jump by nature.
            countable = batch.kind is not DEPTH or bool(batch.array("seq_previous")[0] == NULL_LONG)
            sequence = LinkedSequence(countable) if linked else IncreasingSequence()
            self._sequences[kind, symbol] = sequence
        return sequence

    def last_row(self, kind: str, symbol: str) -> tuple[int, int] | None:
        """(id, ts_event) of the last row let through; None before the first."""
        sequence = self._sequences.get((kind, symbol))
        return None if sequence is None or sequence.last is None else (sequence.last, sequence.ts)

    def mark_disconnected(self, kind: str, symbol: str, reason: str) -> None:
        """No connection carries these rows now."""
        sequence = self._sequences.get((kind, symbol))
        if sequence is not None:
            sequence.mark_disconnected(reason)

    def gaps(self) -> Iterator[tuple[str, str, Gap]]:
        """(kind, symbol, gap) for every known gap; rows may be filtered in between."""
        for (kind, symbol), sequence in list(self._sequences.items()):
            for gap in list(sequence.gaps):
                yield kind, symbol, gap

    def drop_gap(self, kind: str, symbol: str, gap: Gap) -> None:
        """Forget a gap that is closed or given up."""
        self._sequences[kind, symbol].gaps.remove(gap)

    def last_ids(self, kind: str) -> dict[str, int]:
        """The last seq of each symbol of a kind."""
        return {
            symbol: sequence.last
            for (name, symbol), sequence in self._sequences.items()
            if name == kind and sequence.last is not None
        }

    def state(self) -> list[dict[str, Any]]:
        """What `restore` needs, of JSON's types."""
        return [
            {
                "kind": kind,
                "symbol": symbol,
                "counted": getattr(sequence, "countable", None),
                **sequence.state(),
            }
            for (kind, symbol), sequence in self._sequences.items()
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from where `state` was taken."""
        for saved in state:
            sequence: SequenceState = (
                IncreasingSequence() if saved["counted"] is None else LinkedSequence(saved["counted"])
            )
            sequence.restore(saved)
            self._sequences[saved["kind"], saved["symbol"]] = sequence
