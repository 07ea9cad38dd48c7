"""What must exist on JetStream before a role starts: the streams and the shared state.

TICKS        ticks.<kind>.<venue>.<shard>   batches; durable consumers writer_<shard>; takes the present shards
QUARANTINE   quarantine.<kind>.<venue>      what was refused, with its reason
LATE         late.<kind>.<shard>            batches of rows of sealed days
state        key-value: shards, seal, mark. floor. sealed. lease. numbering. checkpoint.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BucketNotFoundError, NotFoundError

from tapehouse import sharding
from tapehouse.bus import LATE, QUARANTINE, STATE, TICKS, Bus, State, server_version
from tapehouse.errors import StackError
from tapehouse.seal import LATE_SUBJECTS
from tapehouse.settings import Settings
from tapehouse.sharding import Sharding, Shards, done_with

_QUARANTINE_BYTES = 2**30
_log = structlog.get_logger()


def writer_name(shard: int) -> str:
    """The durable consumer of a shard's writer."""
    return f"writer_{shard}"


async def provision(bus: Bus, settings: Settings) -> None:
    """Create or bring up to date all that is needed; safe to repeat, also while roles run, by one at a time.

    Needs the admin's connection. Where the settings have another number of shards than the stream, it is
    changed here. Raises StackError when the server is too old for what the writer relies on.
    """
    version = await server_version(bus.client)
    if version < (2, 14):
        raise StackError(
            f"nats: expected server 2.14 or newer, was {version[0]}.{version[1]}",
            remedy="Older servers cannot reset a consumer, and a batch could be lost in silence.",
        )
    state = await _ensure_state(bus, settings)
    value, revision = await state.get_revised(sharding.KEY)
    before = await _kept(bus, state, Sharding.of(value)) if value else None
    wanted = before.changed(settings.shards) if before else Sharding(0, (Shards(0, settings.shards),))
    ticks = StreamConfig(
        name=TICKS,
        subjects=[sharding.subjects(shard) for shard in wanted.present.numbers],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=settings.nats.stream_max_bytes,
        duplicate_window=settings.nats.duplicate_window_s,
        num_replicas=settings.nats.replicas,
        allow_direct=True,
    )
    quarantine = replace(ticks, name=QUARANTINE, subjects=["quarantine.>"], max_bytes=_QUARANTINE_BYTES)
    late = replace(ticks, name=LATE, subjects=[LATE_SUBJECTS], max_bytes=settings.nats.late_max_bytes)
    for stream in (ticks, quarantine, late):
        await _ensure_stream(bus.js, stream)
    for shard in wanted.present.numbers:
        await bus.js.add_consumer(
            TICKS,
            ConsumerConfig(
                durable_name=writer_name(shard),
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.ALL,
                # The writer resets the consumer on every connect, so redelivery by time is never wanted.
                ack_wait=3600,
                max_ack_pending=100_000,
                filter_subject=sharding.subjects(shard),
            ),
        )
    # Recorded last: who reads it finds a stream that takes no more for the earlier shards.
    created = sharding.created_ns(await bus.js.stream_info(TICKS))
    wanted = replace(wanted, created_ns=created)
    if wanted.value() != value:
        await state.replace(sharding.KEY, wanted.value(), revision)
    if before and wanted.present != before.present:
        _log.info("shards changed", before=before.present.count, now=wanted.present.count)


async def _kept(bus: Bus, state: State, recorded: Sharding) -> Sharding:
    """Without the earlier shards that nobody needs any more."""
    try:
        created = sharding.created_ns(await bus.js.stream_info(TICKS))
    except NotFoundError:
        created = 0
    if created != recorded.created_ns:
        return Sharding(created, recorded.generations[-1:])
    kept = []
    for shards in recorded.generations[:-1]:
        if all([await done_with(bus, state, recorded, shard) for shard in shards.numbers]):
            for shard in shards.numbers:
                await _drop_consumer(bus.js, writer_name(shard))
        else:
            kept.append(shards)
    return Sharding(created, (*kept, recorded.present))


async def _drop_consumer(js: JetStreamContext, name: str) -> None:
    with contextlib.suppress(NotFoundError):
        await js.delete_consumer(TICKS, name)


async def _ensure_state(bus: Bus, settings: Settings) -> State:
    try:
        await bus.js.key_value(STATE)
    except BucketNotFoundError:
        await bus.js.create_key_value(
            # Of several servers one that is behind must not answer: marks and floors have to be those of now.
            KeyValueConfig(
                bucket=STATE,
                history=1,
                replicas=settings.nats.replicas,
                direct=settings.nats.replicas == 1,
            )
        )
    return await bus.state()


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    assert config.name is not None
    try:
        await js.stream_info(config.name)
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)
