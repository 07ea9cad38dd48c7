"""Days handed over from the hot store to the cold one.

A day is sealed; every writer confirms that it keeps to the seal; then the day is copied once more where it is
not proven; then the ledger calls the cold store its owner. Each step may die and be begun again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from nats.js.errors import KeyWrongLastSequenceError

from analytics.days import handed_over
from analytics.ledger import Entry
from analytics.mirror import Mirror, Progress, Report
from tapehouse import direct, sharding
from tapehouse.bus import Bus
from tapehouse.errors import ProofError
from tapehouse.seal import SEAL, Seal, confirmed_key, covers, kept

_LOOK_S = 0.1


async def read_seal(bus: Bus) -> Seal:
    """The seal that is asked for."""
    return await (await bus.state()).get(SEAL) or {}


async def ask_seal(bus: Bus, kind: str, before: str) -> Seal:
    """Seal all days of a kind before one; a seal that covers more stays as it is."""
    state = await bus.state()
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


async def kept_seal(bus: Bus) -> Seal:
    """The seal that every writer keeps to, which may be less than what is asked for.

    Days that are read after it show all that the hot store will ever have of the days it seals, or a mark of it.
    """
    return kept((await _confirmed(bus)).values())


async def until_confirmed(bus: Bus, seal: Seal, patience_s: float) -> None:
    """Wait until every writer keeps to a seal.

    Raises ProofError, naming the shards, where one does not within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        confirmed = await _confirmed(bus)
        missing = [shard for shard, seal_kept in confirmed.items() if not covers(seal_kept, seal)]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise ProofError(
                f"hand-over: expected every writer to confirm the seal, shard {', '.join(map(str, missing))} has not",
                remedy="Nothing was handed over. Start the writers; the next run tries again.",
            )
        await asyncio.sleep(_LOOK_S)


async def _confirmed(bus: Bus) -> dict[int, Seal]:
    """What the writer of each shard keeps to."""
    state = await bus.state()
    known = await sharding.read(state)
    present = set(known.present.numbers)
    found = await direct.values(bus, confirmed_key("*"))
    return {
        shard: found.get(confirmed_key(shard)) or {}
        for shard in known.numbers
        # The writer of an earlier shard ends when nothing of it can be written any more.
        if shard in present or not await sharding.done_with(bus, state, known, shard)
    }


async def hand_over(
    mirror: Mirror, kind: str, before: str, progress: Progress, patience_s: float
) -> tuple[list[Entry], Report]:
    """Hand over all days of a kind before one: (what the ledger says of those handed over, the copying's report).

    Days that could not be proven stay the hot store's. Raises ProofError where a writer does not confirm.
    """
    seal = await ask_seal(mirror.bus, kind, before)
    await until_confirmed(mirror.bus, {kind: before}, patience_s)
    report = await mirror.copy_all(progress, lambda day: day.kind == kind and day.day < before)
    days = await mirror.days()
    entries = []
    for day in sorted(handed_over(days, kind, {kind: min(before, seal[kind])}), key=lambda day: day.day):
        assert day.entry is not None
        held_ns = await mirror.held()
        entries.append(await asyncio.to_thread(mirror.ledger.put, replace(day.entry, owner="cold"), held_ns))
    return entries, report
