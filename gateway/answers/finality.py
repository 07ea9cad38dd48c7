"""Whether a bar is final: its interval ended the grace time ago (`barmaker.grace_s`), so that late ticks are in it.

Frames of bar makers say the same by the clock of the venue, which goes on in quiet markets; answers by the clock of the
gateway, since a store does not know what a venue has sent.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from gateway import arrow
from gateway.query import Query
from tapehouse.clock import Interval, parse_interval
from tapehouse.model import BARS


def add_final(bars: pa.RecordBatch, interval: Interval, closed_ns: int) -> pa.RecordBatch:
    """Bars with the column `final`: whether they ended at or before `closed_ns`."""
    final = interval.following(arrow.times_ns(bars, BARS)) <= closed_ns
    wanted = arrow.schema(BARS.name, BARS.answer_names)
    return pa.RecordBatch.from_arrays([*bars.columns, pa.array(final)], schema=wanted)


def without_open(query: Query, closed_ns: int) -> Query:
    """The query of bars for those that ended at or before `closed_ns`."""
    assert query.interval is not None
    interval = parse_interval(query.interval)
    end = interval.start_of(closed_ns)
    if query.start_ns < end:
        return replace(query, end_ns=min(query.end_ns, end))
    # A span in which no bar starts.
    start = interval.start_of(query.start_ns)
    return replace(query, start_ns=start + 1, end_ns=start + 2)
