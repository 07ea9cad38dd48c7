"""What all parts of one live feed share: what it feeds, and the connections of its current run."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from ingest.publisher import Publisher
from ingest.venues.venue import Venue, VenueStream
from tapehouse.settings import Feed, VenueSettings
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.health import Health
from tapehouse.stream.sharding import Shards


@dataclass(frozen=True)
class FeedContext:
    """A venue, what is subscribed to, and the settings."""

    venue: Venue
    name: str
    """The venue of the rows; not `venue.name` where settings give the venue another name."""
    streams: tuple[VenueStream, ...]
    settings: Feed
    overrides: VenueSettings
    """Addresses, API key and pace."""

    @property
    def kinds(self) -> list[str]:
        """The kinds subscribed to, in the order of the streams."""
        return list(dict.fromkeys(stream.kind for stream in self.streams))

    @property
    def websocket_url(self) -> str:
        """The address to connect to."""
        return self.venue.websocket_url(self.overrides.socket or self.venue.socket)

    @property
    def rest_url(self) -> str:
        """The address of the REST interface."""
        return self.overrides.rest or self.venue.rest

    @property
    def api_key(self) -> str:
        """For REST requests; empty where there is none."""
        return self.overrides.key.get_secret_value()

    def message_place(self, index: int) -> str:
        """Where a rejected message came from."""
        return f"{self.name} socket"


@dataclass(frozen=True)
class FeedResources:
    """The open connections of one run."""

    bus: Bus
    state: State
    shards: Shards
    publisher: Publisher
    session: aiohttp.ClientSession
    health: Health
