"""The parts for the `--feed` options of `tapehouse up`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.replay.recordings import Recording
    from ops.stack.home import Home
    from ops.stack.part import Part
    from tapehouse.settings import Settings

WORDS = "sim, none, replay:PATH, or VENUE:SYMBOL,SYMBOL..."
_REPLAY_PORT = 9100
_FOUND: dict[str, Sequence[Recording]] = {}
"""Opened recordings by their text: opening captures takes seconds."""


def check(feeds: tuple[str, ...], settings: Settings) -> None:
    """UsageError where a feed is not one that there is, SourceError where a recording cannot be read."""
    from ingest.replay.faults import parse_faults
    from tapehouse.errors import UsageError

    for feed in feeds:
        name, _, rest = feed.partition(":")
        if feed in ("sim", "none"):
            continue
        if not rest:
            raise UsageError(f"--feed: expected {WORDS}, was {feed!r}")
        if name == "replay":
            parse_faults(settings.replay.faults)
            _recordings(rest, settings)
        else:
            venue_of(name, settings)
    if len(set(feeds)) < len(feeds) or ("none" in feeds and len(feeds) > 1):
        raise UsageError(f"--feed: expected each once, and none alone, was {' '.join(feeds)}")


def phases(feeds: tuple[str, ...], home: Home, settings: Settings) -> Iterator[list[Part]]:
    """The parts of all feeds, in the order in which they are started."""
    from ops.stack.phases import feed_part, role_part

    later: list[Part] = []
    for feed in feeds:
        name, _, rest = feed.partition(":")
        if name == "replay":
            found = _recordings(rest, settings)
            replay, venues = _replay_part(rest, found, home, settings)
            yield [replay]
            for recording in found:
                venue = f"replay_{recording.emulator.name}"
                symbols = ",".join(recording.symbols)
                later.append(feed_part(venue, symbols, settings, {"TAPEHOUSE_VENUES": json.dumps(venues)}))
        elif rest:
            later.append(feed_part(name, rest, settings, {}))
        elif name == "sim":
            later.append(role_part(name, settings))
    if later:
        yield later


def venue_of(name: str, settings: Settings) -> str:
    """The protocol of the venue called `name`; UsageError lists those there are."""
    from ingest.venues.registry import VENUES
    from tapehouse.errors import UsageError

    at = settings.venues.get(name)
    protocol = at.protocol if at else name
    if protocol not in VENUES:
        known = ", ".join([*VENUES, *settings.venues])
        raise UsageError(f"venue: expected one of {known}, was {name!r}")
    return protocol


def _recordings(text: str, settings: Settings) -> Sequence[Recording]:
    from ingest.replay.recordings import open_recordings

    if text not in _FOUND:
        _FOUND[text] = open_recordings(text, settings.questdb)
    return _FOUND[text]


def _replay_part(
    what: str, found: Sequence[Recording], home: Home, settings: Settings
) -> tuple[Part, dict[str, dict[str, object]]]:
    """The replay server as a part, and the venue settings for its feeds."""
    from ops.stack.part import Part
    from ops.stack.ports import Ports
    from tapehouse.errors import ConnectError
    from tapehouse.settings import LOOPBACK

    port = settings.replay.port or Ports(home).take("replay", _REPLAY_PORT)
    base = f"{LOOPBACK}:{port}"

    async def answers() -> None:
        import aiohttp

        try:
            async with aiohttp.request("GET", f"http://{base}/{found[0].emulator.name}") as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, OSError) as reason:
            raise ConnectError(f"replay: no answer from 127.0.0.1:{port}: {reason}") from None

    part = Part(
        name="replay",
        command=(sys.executable, "-m", "ops", "run", f"replay:{what}", "--home", str(home.folder)),
        answers=answers,
        address=f"ws://{base}",
        ports=(port,),
        environment={"TAPEHOUSE_REPLAY__PORT": str(port)},
        start_within=120,
    )
    venues: dict[str, dict[str, object]] = {
        f"replay_{recording.emulator.name}": {
            "protocol": recording.emulator.name,
            "socket": f"ws://{base}/{recording.emulator.name}",
            "rest": f"http://{base}/{recording.emulator.name}",
            "pace": 0,
            "key": "rehearsal",
        }
        for recording in found
    }
    return part, venues
