"""Creates the streams and the shared state that must exist on JetStream before a role starts.

TICKS        ticks.<kind>.<venue>.<shard>   batches; present shards only; durable consumers writer_<shard>, timescale
QUARANTINE   quarantine.<kind>.<venue>.<rows>   so many rejected rows, with the reason
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

from tapehouse.errors import StackError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import LATE, QUARANTINE, STATE, TICKS, Bus, State, server_version
from tapehouse.stream.progress import replayable_shards
from tapehouse.stream.seal import LATE_SUBJECTS
from tapehouse.stream.sharding import Sharding, Shards

_QUARANTINE_BYTES = 2**30
_log = structlog.get_logger()


TIMESCALE_CONSUMER = "timescale"
"""The durable consumer of the role that loads TimescaleDB; there is none without `timescale.dsn`."""


def writer_name(shard: int) -> str:
    """The durable consumer of a shard's writer."""
    return f"writer_{shard}"


async def provision(bus: Bus, settings: Settings) -> None:
    """Create or update the streams, consumers and the shared state. Idempotent, also while roles run.

    `bus` must be connected as admin, and only one process may run this at a time. Changes the number of shards to
    that of the settings. Raises StackError when the server is older than 2.14.
    """
    version = await server_version(bus.client)
    if version < (2, 14):
        raise StackError(
            f"nats: expected server 2.14 or newer, was {version[0]}.{version[1]}",
            remedy="Upgrade NATS: older servers cannot reset a consumer, and batches could be lost unnoticed.",
        )
    state = await _ensure_state(bus, settings)
    value, revision = await state.get_revised(sharding.KEY)
    before = await _drop_finished_shards(bus, state, Sharding.of(value)) if value else None
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
                # The writer resets the consumer on every connect, so it needs no redelivery by time.
                ack_wait=3600,
                max_ack_pending=100_000,
                filter_subject=sharding.subjects(shard),
            ),
        )
    if settings.timescale.dsn.get_secret_value():
        await bus.js.add_consumer(
            TICKS,
            ConsumerConfig(
                durable_name=TIMESCALE_CONSUMER,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.ALL,
                ack_wait=3600,
                max_ack_pending=100_000,
                filter_subject=f"ticks.{ACCOUNT_TRADES.name}.>",
            ),
        )
    else:
        # It would keep the stream from being purged.
        await _drop_consumer(bus.js, TIMESCALE_CONSUMER)
    # Stored last: by then the stream accepts no messages for the earlier shards.
    created = sharding.created_ns(await bus.js.stream_info(TICKS))
    wanted = replace(wanted, created_ns=created)
    if wanted.value() != value:
        await state.replace(sharding.KEY, wanted.value(), revision)
    if before and wanted.present != before.present:
        _log.info("number of shards changed", before=before.present.count, now=wanted.present.count)


async def _drop_finished_shards(bus: Bus, state: State, recorded: Sharding) -> Sharding:
    """The sharding without earlier shards of which nothing would be replayed; deletes their consumers."""
    try:
        created = sharding.created_ns(await bus.js.stream_info(TICKS))
    except NotFoundError:
        created = 0
    if created != recorded.created_ns:
        return Sharding(created, recorded.generations[-1:])
    kept = []
    for shards in recorded.generations[:-1]:
        if await replayable_shards(bus, state, recorded, shards.numbers):
            kept.append(shards)
        else:
            for shard in shards.numbers:
                await _drop_consumer(bus.js, writer_name(shard))
    return Sharding(created, (*kept, recorded.present))


async def _drop_consumer(js: JetStreamContext, name: str) -> None:
    with contextlib.suppress(NotFoundError):
        await js.delete_consumer(TICKS, name)


async def _ensure_state(bus: Bus, settings: Settings) -> State:
    try:
        await bus.js.key_value(STATE)
    except BucketNotFoundError:
        await bus.js.create_key_value(
            # With replicas, direct reads may return stale values; marks and floors must be current.
            KeyValueConfig(
                bucket=STATE,
                history=1,
                replicas=settings.nats.replicas,
                direct=settings.nats.replicas == 1,
            )
        )
    return await bus.shared_state()


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    assert config.name is not None
    try:
        await js.stream_info(config.name)
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)
