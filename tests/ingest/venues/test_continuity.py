"""The sequences of a feed's symbols together."""

from __future__ import annotations

import numpy as np

from ingest.venues.continuity import Continuity
from tapehouse.batch import Batch, Strings
from tapehouse.model import TRADES


def trades(symbol: str, ids: list[int]) -> Batch:
    """Only what continuity reads."""
    seq = np.array(ids, np.int64)
    columns = {"ts_event": seq, "symbol": Strings.constant(symbol, len(ids)), "seq": seq}
    return Batch(TRADES, "any", len(ids), columns)


def test_a_symbol_that_is_new_while_gaps_are_looked_through_does_not_disturb_that() -> None:
    continuity = Continuity(frozenset({"trades"}))
    for symbol in ("A", "B"):
        continuity.filter_new(trades(symbol, [1, 5]), 0)
    found = []
    for _, symbol, gap in continuity.gaps():
        found.append((symbol, gap.first, gap.last))
        continuity.filter_new(trades(f"{symbol} new", [1, 5]), 0)
    assert found == [("A", 2, 4), ("B", 2, 4)]
