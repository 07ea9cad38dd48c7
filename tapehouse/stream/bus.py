"""The connection of a role to NATS, and the names of its streams and its key-value bucket."""

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
"""The stream of rows of sealed days, which no longer go to QuestDB."""
STATE = "state"
"""The key-value bucket of marks, floors, leases, numberings and checkpoints."""

Listener = Callable[[], None]
FaultListener = Callable[[Exception], Awaitable[None]]
_RETRY_FOR_S = 60
_CLOSE_WITHIN_S = 5
_T = TypeVar("_T")
_log = structlog.get_logger()


class _Client(Client):
    """A client whose requests can be cancelled, and fail when the connection is lost.

    The base class uses asyncio.wait_for, which before Python 3.12 swallows a cancellation that coincides with the
    response: a cancelled task would run forever. It also waits for responses that were lost with the connection:
    one request would block its role for its whole timeout although the server is back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending_requests: set[asyncio.Future[None]] = set()

    async def request(self, *args: Any, **kwargs: Any) -> Msg:
        response = asyncio.ensure_future(super().request(*args, **kwargs))
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending_requests.add(lost)
        try:
            await asyncio.wait((response, lost), return_when=asyncio.FIRST_COMPLETED)
            if response.done():
                return response.result()
            raise NatsTimeoutError
        finally:
            self._pending_requests.discard(lost)
            response.cancel()

    def fail_pending_requests(self) -> None:
        """Fail the requests that were sent on a lost connection, with TimeoutError."""
        for lost in self._pending_requests:
            if not lost.done():
                lost.set_result(None)


class Bus:
    """One connection as one role. It reconnects until it is closed or the server rejects its credentials.

    `on_reconnect` listeners are called after each reconnect, `on_fault` listeners with each asynchronous error.
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
        """Connect as the user of `role`. Raises ConnectError when the server does not answer within `timeout` s."""
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
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # fractions of a second work
                ping_interval=5,
                # Senders keep their messages until they are acknowledged: the client must not buffer them.
                pending_size=-1,
                disconnected_cb=bus._on_disconnected,
                reconnected_cb=bus._on_reconnected,
                error_cb=bus._on_error,
            )
        )
        try:
            await asyncio.wait(
                (connecting, bus._refused), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            is_connected = connecting.done() and connecting.exception() is None
            if not is_connected:
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
                await bus.client.close()
        if is_connected:
            bus._connected.set()
            return bus
        if bus._refused.done():
            problem = (
                f"rejected the password of {role}"
                if password
                else f"requires a password, and {role} has none"
            )
            raise ConnectError(
                f"nats: {settings.nats.url} {problem}",
                remedy=f"Is {settings.home} the platform's home? Name it with --home or TAPEHOUSE_HOME.",
                url=settings.nats.url,
            )
        raise ConnectError(
            f"nats: no answer from {settings.nats.url} within {timeout:g} s",
            remedy="Start the platform with `tapehouse up`, or set TAPEHOUSE_NATS__URL.",
            url=settings.nats.url,
        )

    async def _on_disconnected(self) -> None:
        if self.client.is_closed:
            self._connected.set()  # wakes up waiters, which then see that it is closed
        elif self._connected.is_set():
            self._connected.clear()
            self.client.fail_pending_requests()
            _log.warning("nats connection lost", role=self.role)

    async def _on_reconnected(self) -> None:
        self._connected.set()
        for listener in self.on_reconnect:
            listener()

    async def _on_error(self, reason: Exception) -> None:
        if "authorization violation" in str(reason).lower() and not self._refused.done():
            self._refused.set_result(None)
        elif self._connected.is_set():
            _log.warning("nats error", role=self.role, reason=str(reason) or repr(reason))
            for listener in list(self.on_fault):
                await listener(reason)

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings, role: str, timeout: float = 5) -> AsyncIterator[Bus]:
        """Context manager of a connection; errors of NATS inside it are raised as ConnectError."""
        bus = await cls.connect(settings, role, timeout)
        try:
            yield bus
        except NatsError as reason:
            raise ConnectError(
                f"nats: {settings.nats.url} did not complete a request of {role}: {reason}",
                remedy="Look at `tapehouse status` and at the log of nats in the home folder.",
            ) from reason
        finally:
            await bus.close()

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return self._connected.is_set() and bool(self.client.is_connected)

    async def until_connected(self) -> None:
        """Wait until the connection is up. Raises ConnectError when it is closed for good."""
        if not self.client.is_connected:
            # The client rejects messages some time before it calls back about the lost connection: a sender
            # that retries in a loop would never let that callback run.
            await self._on_disconnected()
        await self._connected.wait()
        if self.client.is_closed:
            raise ConnectError(f"nats: the connection of {self.role} is closed: {self.client.last_error}")

    @asynccontextmanager
    async def subscribed(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]] | None = None
    ) -> AsyncIterator[Subscription]:
        """Context manager of a subscription; without `callback`, read its messages with `next_msg`."""
        subscription = await self.client.subscribe(subject, cb=callback)
        try:
            yield subscription
        finally:
            if not self.client.is_closed:
                with contextlib.suppress(NatsError):
                    await subscription.unsubscribe()

    async def shared_state(self) -> State:
        """The shared key-value bucket."""
        return State(await self.js.key_value(STATE))

    async def close(self) -> None:
        """Close the connection after sending what was published before; what a server does not take in 5 s is lost."""
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self.client.close()
        except TimeoutError:
            _log.warning("nats connection closed before all was sent", role=self.role)


class State:
    """The shared key-value bucket. Keys are words separated by dots, values are JSON."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def get(self, key: str) -> Any:
        """The value of `key`; None when it is not set."""
        return (await self.get_revised(key))[0]

    async def get_revised(self, key: str) -> tuple[Any, int]:
        """The value of `key` and its revision, for `replace`; (None, 0) when it was never set."""
        try:
            entry = await _retry(lambda: self._bucket.get(key))
        except KeyNotFoundError as absent:
            # A deleted key has the revision of its deletion.
            return None, (absent.entry and absent.entry.revision) or 0
        return json.loads(entry.value or b"null"), entry.revision or 0

    async def put(self, key: str, value: Any) -> int:
        """Set `key` unconditionally; returns its revision."""
        data = json.dumps(value, separators=(",", ":")).encode()
        return await _retry(lambda: self._bucket.put(key, data))

    async def replace(self, key: str, value: Any, revision: int) -> int:
        """Set `key` if its revision is still `revision` (0: never set); returns the new revision.

        Raises nats.js.errors.KeyWrongLastSequenceError when the key has changed since.
        """
        data = json.dumps(value, separators=(",", ":")).encode()
        return await self._bucket.update(key, data, last=revision)

    async def delete(self, key: str) -> None:
        """Remove `key`."""
        await self._bucket.delete(key)


async def _retry(request: Callable[[], Awaitable[_T]]) -> _T:
    """The result of an idempotent request, repeated while the server is slow or away."""
    deadline = asyncio.get_running_loop().time() + _RETRY_FOR_S
    while True:
        try:
            return await request()
        except (NatsTimeoutError, OutboundBufferLimitError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


def word(text: str) -> str:
    """`text` as one word of a subject or key: letters, digits, - and _ are kept, other bytes become =XX."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")


async def server_version(client: Client) -> tuple[int, int]:
    """The server's (major, minor)."""
    version = client.connected_server_version
    return version.major, version.minor
