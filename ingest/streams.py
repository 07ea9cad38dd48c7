"""What must exist on JetStream before a role starts: the tick stream, the quarantine, the shared state.

TICKS        ticks.<kind>.<venue>.<shard>   batches; durable consumers writer_<shard>
QUARANTINE   quarantine.<kind>.<venue>      what was refused, with its reason
state        key-value: mark. floor. lease. numbering. checkpoint.
"""

from __future__ import annotations

from dataclasses import replace

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

from tapehouse.bus import QUARANTINE, STATE, TICKS, Bus, server_version
from tapehouse.errors import StackError
from tapehouse.settings import Settings

_QUARANTINE_BYTES = 2**30


def writer_name(shard: int) -> str:
    """The durable consumer of a shard's writer."""
    return f"writer_{shard}"


async def provision(bus: Bus, settings: Settings) -> None:
    """Create or bring up to date all that is needed; safe to repeat. Needs the admin's connection.

    Raises StackError when the server is too old for what the writer relies on.
    """
    version = await server_version(bus.client)
    if version < (2, 14):
        raise StackError(
            f"nats: expected server 2.14 or newer, was {version[0]}.{version[1]}",
            remedy="Older servers cannot reset a consumer, and a batch could be lost in silence.",
        )
    ticks = StreamConfig(
        name=TICKS,
        subjects=["ticks.*.*.*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=settings.nats.stream_max_bytes,
        duplicate_window=settings.nats.duplicate_window_s,
        num_replicas=settings.nats.replicas,
        allow_direct=True,
    )
    quarantine = replace(ticks, name=QUARANTINE, subjects=["quarantine.>"], max_bytes=_QUARANTINE_BYTES)
    for stream in (ticks, quarantine):
        await _ensure_stream(bus.js, stream)
    try:
        await bus.js.key_value(STATE)
    except BucketNotFoundError:
        await bus.js.create_key_value(
            KeyValueConfig(bucket=STATE, history=1, replicas=settings.nats.replicas, direct=True)
        )
    for shard in range(settings.shards):
        await bus.js.add_consumer(
            TICKS,
            ConsumerConfig(
                durable_name=writer_name(shard),
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.ALL,
                # The writer resets the consumer on every connect, so redelivery by time is never wanted.
                ack_wait=3600,
                max_ack_pending=100_000,
                filter_subject=f"ticks.*.*.{shard}",
            ),
        )


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    assert config.name is not None
    try:
        await js.stream_info(config.name)
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)
