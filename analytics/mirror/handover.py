"""Hands days over from QuestDB to ClickHouse.

The days are sealed, every writer confirms the seal, days that are not proven are copied again, and the ledger makes
ClickHouse their owner. Every step may be interrupted and repeated.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from nats.js.errors import KeyWrongLastSequenceError

from analytics.mirror.decisions import days_to_hand_over
from analytics.mirror.ledger import LedgerEntry
from analytics.mirror.session import CopyReport, MirrorProgress, MirrorSession
from tapehouse.errors import ProofError
from tapehouse.stream import reads, sharding
from tapehouse.stream.bus import Bus
from tapehouse.stream.progress import active_shards
from tapehouse.stream.seal import SEAL, Seal, common_seal, confirmed_key, seal_covers

_POLL_S = 0.1


async def read_requested_seal(bus: Bus) -> Seal:
    """The seal that writers are requested to confirm."""
    return await (await bus.shared_state()).get(SEAL) or {}


async def request_seal(bus: Bus, kind: str, before: str) -> Seal:
    """Request a seal of all days of a kind before `before`, YYYY-MM-DD; returns the resulting seal.

    A seal that already covers more days is not changed.
    """
    state = await bus.shared_state()
    while True:
        seal, revision = await state.get_revised(SEAL)
        seal = seal or {}
        if seal.get(kind, "") >= before:
            return dict(seal)
        try:
            await state.replace(SEAL, {**seal, kind: before}, revision)
        except KeyWrongLastSequenceError:
            continue
        return {**seal, kind: before}


async def read_confirmed_seal(bus: Bus) -> Seal:
    """The seal that every writer has confirmed, which may cover less than the requested one.

    QuestDB gets no further rows of its days: whatever is read after it shows their final rows, or a mark for rows
    that are still to become visible.
    """
    return common_seal((await _read_confirmed(bus)).values())


async def wait_until_confirmed(bus: Bus, seal: Seal, timeout_s: float) -> None:
    """Wait until every writer has confirmed a seal.

    Raises ProofError, which names the shards, when one has not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        confirmed = await _read_confirmed(bus)
        missing = [shard for shard, by_writer in confirmed.items() if not seal_covers(by_writer, seal)]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise ProofError(
                "hand-over: expected every writer to confirm the seal, was not confirmed by shard "
                f"{', '.join(map(str, missing))}",
                remedy="Nothing was handed over. Start the writers; the next run tries again.",
            )
        await asyncio.sleep(_POLL_S)


async def _read_confirmed(bus: Bus) -> dict[int, Seal]:
    """The seal that the writer of each active shard has confirmed."""
    state = await bus.shared_state()
    known = await sharding.read(state)
    found = await reads.state_values(bus, confirmed_key("*"))
    active = await active_shards(bus, state, known)
    return {shard: found.get(confirmed_key(shard)) or {} for shard in active}


async def hand_over(
    mirror: MirrorSession, kind: str, before: str, progress: MirrorProgress, timeout_s: float
) -> tuple[list[LedgerEntry], CopyReport]:
    """Hand over all days of a kind before `before`, YYYY-MM-DD; returns (ledger entries of those days, copy report).

    Days that could not be proven remain QuestDB's. Raises ProofError when a writer does not confirm the seal.
    """
    seal = await request_seal(mirror.bus, kind, before)
    await wait_until_confirmed(mirror.bus, {kind: before}, timeout_s)
    report = await mirror.copy_all(progress, lambda day: day.kind == kind and day.day < before)
    days = await mirror.read_days()
    entries = []
    for day in sorted(
        days_to_hand_over(days, kind, {kind: min(before, seal[kind])}), key=lambda day: day.day
    ):
        assert day.entry is not None
        confirmed_ns = await mirror.confirm_lease()
        entries.append(
            await asyncio.to_thread(mirror.ledger.put, replace(day.entry, owner="cold"), confirmed_ns)
        )
    return entries, report
