"""Many messages of a stream in one answer: the last of each subject, or those from a sequence on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from tapehouse.bus import STATE, Bus
from tapehouse.errors import ConnectError

_SUBJECTS = 500
"""Asked for at a time: the server answers for 1,024 at most."""
_ANSWER_S = 5
_PATIENCE_S = 60
_KEYS = f"$KV.{STATE}."


async def values(bus: Bus, keys: str) -> dict[str, Any]:
    """The keys of the shared state that match `keys` (such as mark.>) with their values, deleted ones left out."""
    info = await bus.js.stream_info(f"KV_{STATE}", subjects_filter=_KEYS + keys)
    subjects = sorted(info.state.subjects or ())
    found: dict[str, Any] = {}
    if not info.config.allow_direct:
        state = await bus.state()
        for key in (subject.removeprefix(_KEYS) for subject in subjects):
            value = await state.get(key)
            if value is not None:
                found[key] = value
        return found
    for start in range(0, len(subjects), _SUBJECTS):
        asked = subjects[start : start + _SUBJECTS]
        for message in await _ask(bus, f"KV_{STATE}", {"multi_last": asked, "batch": len(asked)}):
            headers = message.headers or {}
            if "KV-Operation" not in headers:
                found[headers["Nats-Subject"].removeprefix(_KEYS)] = json.loads(message.data)
    return found


async def following(
    bus: Bus, stream: str, seq: int, most: int, most_bytes: int
) -> list[tuple[int, str, bytes]]:
    """(sequence, subject, data) of the messages from `seq` on, `most` at most, in order.

    As many as hold `most_bytes`, but at least one; empty where there is none.
    """
    question = {"seq": max(seq, 1), "next_by_subj": ">", "batch": most, "max_bytes": most_bytes}
    return [
        (int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data)
        for message in await _ask(bus, stream, question)
        if (headers := message.headers)
    ]


async def _ask(bus: Bus, stream: str, question: dict[str, Any]) -> list[Msg]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_S
    while True:
        try:
            return await _asked(bus, stream, question)
        except NatsTimeoutError:
            if loop.time() > deadline:
                raise
            await bus.until_connected()


async def _asked(bus: Bus, stream: str, question: dict[str, Any]) -> list[Msg]:
    inbox = bus.client.new_inbox()
    found: list[Msg] = []
    async with bus.subscribed(inbox) as answers:
        await bus.client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(question).encode(), inbox)
        while True:
            message = await answers.next_msg(_ANSWER_S)
            status = (message.headers or {}).get("Status")
            if status in ("204", "404"):
                return found
            if status is not None:
                told = (message.headers or {}).get("Description", "")
                raise ConnectError(f"nats: {stream} answered {status} {told} to {str(question)[:200]}")
            found.append(message)
