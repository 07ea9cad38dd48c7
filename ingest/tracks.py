"""The continuity of all that a live feed takes from one venue, by kind and symbol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.continuity import Chain, Hole, Rising, Track
from ingest.numbering import by_symbol
from tapehouse.batch import Batch
from tapehouse.clock import Nanos
from tapehouse.model import DEPTH, NULL_LONG


@dataclass(frozen=True)
class Sifted:
    """What of a batch goes on, and the rows whose ids went back although their time did not."""

    fresh: Batch
    back: Batch


class Tracks:
    """One track a (kind, symbol). `contiguous` names the kinds whose ids rise by one."""

    def __init__(self, contiguous: frozenset[str]) -> None:
        self._contiguous = contiguous
        self._tracks: dict[tuple[str, str], Track] = {}

    def sift(self, batch: Batch, now_ns: int) -> Sifted:
        """The rows not seen before. Snapshots of a book all go on: they are no part of its chain."""
        # A row without a symbol has no track: validation refuses it further on.
        fresh = batch.strings("symbol").codes < 0
        back = np.zeros(batch.rows, np.bool_)
        if batch.kind is DEPTH:
            fresh |= batch.array("snapshot")
        before = self._before(batch)
        seq, ts = batch.array("seq"), batch.array("ts_event")
        for rows, symbol in by_symbol(batch.strings("symbol")):
            if batch.kind is DEPTH:
                rows = np.flatnonzero(~fresh) if isinstance(rows, slice) else rows[~fresh[rows]]
            track = self._track(batch.kind.name, symbol, batch)
            if isinstance(track, Chain):
                assert before is not None
                fresh[rows], back[rows] = track.sift(before[rows], seq[rows], ts[rows], now_ns)
            else:
                fresh[rows], back[rows] = track.sift(seq[rows], ts[rows], now_ns)
        return Sifted(batch if fresh.all() else batch.take(fresh), batch.take(back))

    def _before(self, batch: Batch) -> Nanos | None:
        """The id that comes directly before each row; None for a kind whose ids only rise."""
        if batch.kind is DEPTH:
            previous = batch.array("seq_previous")
            before: Nanos = np.where(previous == NULL_LONG, batch.array("seq_first") - 1, previous)
            return before
        return batch.array("seq") - 1 if batch.kind.name in self._contiguous else None

    def _track(self, kind: str, symbol: str, batch: Batch) -> Track:
        track = self._tracks.get((kind, symbol))
        if track is None:
            chained = kind in self._contiguous or batch.kind is DEPTH
            # Where a row names the id before it, ids jump by nature.
            counted = batch.kind is not DEPTH or bool(batch.array("seq_previous")[0] == NULL_LONG)
            track = self._tracks[kind, symbol] = Chain(counted) if chained else Rising()
        return track

    def last(self, kind: str, symbol: str) -> tuple[int, int] | None:
        """(id, ts_event) of the last row let through; None before the first."""
        track = self._tracks.get((kind, symbol))
        return None if track is None or track.last is None else (track.last, track.ts)

    def broken(self, kind: str, symbol: str, reason: str) -> None:
        """No connection brings these rows now."""
        track = self._tracks.get((kind, symbol))
        if track is not None:
            track.broken(reason)

    def holes(self) -> Iterator[tuple[str, str, Hole]]:
        """(kind, symbol, hole) for all that is known to be missing."""
        for (kind, symbol), track in self._tracks.items():
            for hole in list(track.holes):
                yield kind, symbol, hole

    def forget(self, kind: str, symbol: str, hole: Hole) -> None:
        """Nothing more is done about a hole."""
        self._tracks[kind, symbol].holes.remove(hole)

    def sequences(self, kind: str) -> dict[str, int]:
        """The last seq of each symbol of a kind."""
        return {
            symbol: track.last
            for (name, symbol), track in self._tracks.items()
            if name == kind and track.last is not None
        }

    def state(self) -> list[dict[str, Any]]:
        """What `restore` needs, of JSON's types."""
        return [
            {"kind": kind, "symbol": symbol, "counted": getattr(track, "counted", None), **track.state()}
            for (kind, symbol), track in self._tracks.items()
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from where `state` was taken."""
        for saved in state:
            track: Track = Rising() if saved["counted"] is None else Chain(saved["counted"])
            track.restore(saved)
            self._tracks[saved["kind"], saved["symbol"]] = track
