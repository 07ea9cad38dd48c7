"""Batched reads of a JetStream stream: the last message of each subject, or messages from a sequence on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import TimeoutError as NatsTimeoutError

from tapehouse.errors import ConnectError
from tapehouse.stream.bus import STATE, Bus

_SUBJECTS = 500
"""Subjects in one request; the server allows at most 1,024."""
_RESPONSE_TIMEOUT_S = 5
_RETRY_FOR_S = 60
_KEYS = f"$KV.{STATE}."


async def state_values(bus: Bus, keys: str) -> dict[str, Any]:
    """The values of all keys of the shared state that match `keys` (such as mark.>); deleted keys are left out."""
    info = await bus.js.stream_info(f"KV_{STATE}", subjects_filter=_KEYS + keys)
    subjects = sorted(info.state.subjects or ())
    found: dict[str, Any] = {}
    if not info.config.allow_direct:
        state = await bus.shared_state()
        for key in (subject.removeprefix(_KEYS) for subject in subjects):
            value = await state.get(key)
            if value is not None:
                found[key] = value
        return found
    for start in range(0, len(subjects), _SUBJECTS):
        page = subjects[start : start + _SUBJECTS]
        for message in await _request(bus, f"KV_{STATE}", {"multi_last": page, "batch": len(page)}):
            headers = message.headers or {}
            if "KV-Operation" not in headers:
                found[headers["Nats-Subject"].removeprefix(_KEYS)] = json.loads(message.data)
    return found


async def messages_from(
    bus: Bus, stream: str, seq: int, max_messages: int, max_bytes: int
) -> list[tuple[int, str, bytes]]:
    """(sequence, subject, data) of the messages from `seq` (inclusive) on, in order of sequence.

    Stops after `max_messages` or about `max_bytes`, but returns at least one message if there is one.
    """
    request = {"seq": max(seq, 1), "next_by_subj": ">", "batch": max_messages, "max_bytes": max_bytes}
    return [
        (int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)
        for message in await _request(bus, stream, request)
        if (headers := message.headers)
    ]


async def _request(bus: Bus, stream: str, request: dict[str, Any]) -> list[Msg]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RETRY_FOR_S
    while True:
        try:
            return await _request_once(bus, stream, request)
        except NatsTimeoutError:
            if loop.time() > deadline:
                raise
            await bus.until_connected()


async def _request_once(bus: Bus, stream: str, request: dict[str, Any]) -> list[Msg]:
    inbox = bus.client.new_inbox()
    found: list[Msg] = []
    async with bus.subscribed(inbox) as responses:
        await bus.client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), inbox)
        while True:
            message = await _next(responses)
            status = (message.headers or {}).get("Status")
            if status in ("204", "404"):
                return found
            if status is not None:
                description = (message.headers or {}).get("Description", "")
                raise ConnectError(f"nats: {stream} answered {status} {description} to {str(request)[:200]}")
            found.append(message)


async def _next(responses: Subscription) -> Msg:
    """The next response. Raises the client's TimeoutError."""
    # Before Python 3.12 the client's own timeout swallows a cancellation that coincides with a message.
    try:
        async with asyncio.timeout(_RESPONSE_TIMEOUT_S):
            return await responses.next_msg(timeout=None)
    except TimeoutError:
        raise NatsTimeoutError from None
