"""The connection of a role to NATS, and the names of what is kept there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from tapehouse.errors import ConnectError
from tapehouse.settings import Settings

TICKS = "TICKS"
QUARANTINE = "QUARANTINE"
LATE = "LATE"
"""The stream of rows of days that the hot store takes no more."""
STATE = "state"
"""The key-value bucket of marks, floors, leases, numberings and checkpoints."""

Listener = Callable[[], None]
FaultListener = Callable[[Exception], Awaitable[None]]
_PATIENCE_S = 60
_T = TypeVar("_T")
_log = structlog.get_logger()


class _Client(Client):
    """A client whose requests can be cancelled, and end when the connection does.

    It waits by asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes together with the
    answer: a task asked to end would go on for ever. And it waits for answers that cannot come any more: one
    request would hold its role up for its whole time-out after the broker is back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unanswered: set[asyncio.Future[None]] = set()

    async def request(self, *args: Any, **kwargs: Any) -> Msg:
        asking = asyncio.ensure_future(super().request(*args, **kwargs))
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unanswered.add(lost)
        try:
            await asyncio.wait((asking, lost), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise NatsTimeoutError
        finally:
            self._unanswered.discard(lost)
            asking.cancel()

    def give_up_requests(self) -> None:
        """End what was asked on a connection that is lost."""
        for lost in self._unanswered:
            if not lost.done():
                lost.set_result(None)


class Bus:
    """One connection as one role. It reconnects for ever, until it is closed, by us or by a broker's refusal.

    `on_reconnect` listeners are called each time, `on_fault` listeners with each error that comes unasked.
    """

    def __init__(self, role: str) -> None:
        self.role = role
        self.client = _Client()
        self.js: JetStreamContext = self.client.jetstream(timeout=10)
        self.on_reconnect: list[Listener] = []
        self.on_fault: list[FaultListener] = []
        self._connected = asyncio.Event()
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, settings: Settings, role: str, timeout: float = 5) -> Bus:
        """Connect as the user of `role`; ConnectError when the server does not answer within `timeout` s."""
        bus = cls(role)
        password = settings.nats.passwords.get(role)
        connecting = asyncio.ensure_future(
            bus.client.connect(
                settings.nats.url,
                name=role,
                user=role if password else None,
                password=password.get_secret_value() if password else None,
                inbox_prefix=f"_INBOX_{role}",
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # seconds, and fractions are kept
                ping_interval=5,
                # A message is kept by its sender until it is acknowledged, never by the client.
                pending_size=-1,
                disconnected_cb=bus._lost,
                reconnected_cb=bus._found,
                error_cb=bus._fault,
            )
        )
        try:
            await asyncio.wait(
                (connecting, bus._refused), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stands = connecting.done() and connecting.exception() is None
            if not stands:
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
                await bus.client.close()
        if stands:
            bus._connected.set()
            return bus
        if bus._refused.done():
            said = "does not know the password" if password else "asks for a password, and there is none"
            raise ConnectError(
                f"nats: {settings.nats.url} {said} of {role}",
                remedy=f"Is {settings.home} the platform's home? Name it with --home or TAPEHOUSE_HOME.",
                url=settings.nats.url,
            )
        raise ConnectError(
            f"nats: no answer from {settings.nats.url} within {timeout:g} s",
            remedy="Start the platform with `tapehouse up`, or set TAPEHOUSE_NATS__URL.",
            url=settings.nats.url,
        )

    async def _lost(self) -> None:
        if self.client.is_closed:
            self._connected.set()  # who waits for it must learn that it will not come
        elif self._connected.is_set():
            self._connected.clear()
            self.client.give_up_requests()
            _log.warning("nats connection lost", role=self.role)

    async def _found(self) -> None:
        self._connected.set()
        for listener in self.on_reconnect:
            listener()

    async def _fault(self, reason: Exception) -> None:
        if "authorization violation" in str(reason).lower() and not self._refused.done():
            self._refused.set_result(None)
        elif self._connected.is_set():
            _log.warning("nats error", role=self.role, reason=str(reason) or repr(reason))
            for listener in list(self.on_fault):
                await listener(reason)

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings, role: str, timeout: float = 5) -> AsyncIterator[Bus]:
        """A connection for the length of the context.

        What NATS does not answer inside it is raised as ConnectError.
        """
        bus = await cls.connect(settings, role, timeout)
        try:
            yield bus
        except NatsError as reason:
            raise ConnectError(
                f"nats: {settings.nats.url} did not do what {role} asked: {reason}",
                remedy="Look at `tapehouse status` and at the log of nats in the home folder.",
            ) from reason
        finally:
            await bus.close()

    @property
    def connected(self) -> bool:
        """Whether the connection stands now."""
        return self._connected.is_set() and bool(self.client.is_connected)

    async def until_connected(self) -> None:
        """Wait for as long as the connection is down.

        Raises ConnectError when it is closed: it will not be up again.
        """
        if not self.client.is_connected:
            # The client refuses to send some time before it tells of the loss: who sends again until it is
            # done would never give it the time to.
            await self._lost()
        await self._connected.wait()
        if self.client.is_closed:
            raise ConnectError(f"nats: the connection of {self.role} is closed: {self.client.last_error}")

    @asynccontextmanager
    async def subscribed(
        self, subject: str, heard: Callable[[Msg], Awaitable[None]] | None = None
    ) -> AsyncIterator[Subscription]:
        """A subscription for the length of the context; without `heard` its messages are asked for."""
        subscription = await self.client.subscribe(subject, cb=heard)
        try:
            yield subscription
        finally:
            if not self.client.is_closed:
                with contextlib.suppress(NatsError):
                    await subscription.unsubscribe()

    async def state(self) -> State:
        """The shared key-value bucket."""
        return State(await self.js.key_value(STATE))

    async def close(self) -> None:
        """Close the connection; what was published before is sent first."""
        await self.client.close()


class State:
    """The shared key-value bucket: keys of dotted words, values in JSON."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def get(self, key: str) -> Any:
        """The value of `key`, None when there is none."""
        return (await self.get_revised(key))[0]

    async def get_revised(self, key: str) -> tuple[Any, int]:
        """The value of `key` and its revision, for `replace`; None when there is none, with 0 if never was."""
        try:
            entry = await _patiently(lambda: self._bucket.get(key))
        except KeyNotFoundError as absent:
            # A deleted key has the revision of its deletion.
            return None, (absent.entry and absent.entry.revision) or 0
        return json.loads(entry.value or b"null"), entry.revision or 0

    async def put(self, key: str, value: Any) -> int:
        """Set `key`, whatever it was; returns its revision."""
        data = json.dumps(value, separators=(",", ":")).encode()
        return await _patiently(lambda: self._bucket.put(key, data))

    async def replace(self, key: str, value: Any, revision: int) -> int:
        """Set `key` if its revision is still `revision` (0: it never was there); returns the new revision.

        Raises nats.js.errors.KeyWrongLastSequenceError when another was faster.
        """
        data = json.dumps(value, separators=(",", ":")).encode()
        return await self._bucket.update(key, data, last=revision)

    async def delete(self, key: str) -> None:
        """Remove `key`."""
        await self._bucket.delete(key)


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """The answer to what may be asked twice, asked again while the broker is slow or away."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        try:
            return await ask()
        except (NatsTimeoutError, OutboundBufferLimitError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


def word(text: str) -> str:
    """`text` as one word of a subject or key: letters, digits and - _ stay, the rest becomes =XX."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")


async def server_version(client: Client) -> tuple[int, int]:
    """The server's (major, minor)."""
    version = client.connected_server_version
    return version.major, version.minor
