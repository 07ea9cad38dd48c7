"""The settings of a process: one frozen object, built at the start and passed down.

Later sources win: the defaults here; `connections.toml` in the home folder, which the stack runner writes;
`tapehouse.toml` in the working folder (or the file named by TAPEHOUSE_CONFIG); the environment, as
TAPEHOUSE_SHARDS=4 or TAPEHOUSE_NATS__URL=nats://...; the command line. docs/settings.md lists them.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from tapehouse.errors import SettingsError

LOOPBACK = "127.0.0.1"
CONNECTIONS = "connections.toml"
_PREFIX = "TAPEHOUSE_"
_OTHER_VARIABLES = {"config", "questdb_jar", "questdb_java_options", "test_timescale_dsn"}
"""Variables with the prefix that other code reads."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Nats(_Section):
    """Address of NATS, passwords by user (each role has a user of its name), and limits of the streams."""

    url: str = f"nats://{LOOPBACK}:4222"
    passwords: dict[str, SecretStr] = {}
    stream_max_bytes: int = Field(16 * 2**30, ge=2**20)
    """Size limit of the stream of ticks. When it is reached, feeds wait for the writers; nothing is dropped."""
    late_max_bytes: int = Field(4 * 2**30, ge=2**20)
    """Size limit of the stream of late ticks. When it is reached, writers wait for the mirror to merge them."""
    keep_free_bytes: int = Field(256 * 2**20, ge=0)
    """Free space to keep on the disk of the streams. With less, feeds pause."""
    duplicate_window_s: int = Field(1800, ge=1)
    """How long a batch that is sent again is stored once; longer than any planned outage."""
    replicas: int = Field(1, ge=1, le=5)
    """Copies of each stream in a NATS cluster."""


class QuestDB(_Section):
    """Address and accounts of the hot store: `user` writes, `reader` only reads."""

    host: str = LOOPBACK
    http_port: int = 9000
    pg_port: int = 8812
    user: str = "admin"
    password: SecretStr = SecretStr("quest")
    reader: str = "user"
    reader_password: SecretStr = SecretStr("quest")


class ClickHouse(_Section):
    """Address and accounts of the cold store: `user` copies and merges, `reader` only reads."""

    host: str = LOOPBACK
    http_port: int = 8123
    user: str = "admin"
    password: SecretStr = SecretStr("")
    reader: str = "reader"
    reader_password: SecretStr = SecretStr("")
    gate: SecretStr = SecretStr("")
    """Value of the header X-Gate, which the bundled server requires."""
    database: str = Field("cold", pattern=r"^[a-z_][a-z0-9_]*$")
    cluster: str = Field("", pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$")
    """If set, tables are Replicated on this cluster, with a Distributed table in front of each."""


class Timescale(_Section):
    """A TimescaleDB server that also stores account trades and their candles; nothing is stored there without `dsn`."""

    dsn: SecretStr = SecretStr("")
    """Its address and account, such as postgresql://tapehouse:PASSWORD@host:5432/trading; empty: none. A file that
    holds one must not be readable by others."""
    load: Literal["copy", "unnest"] = "copy"
    """How rows are sent: by COPY, or in arrays for a server that has no COPY."""
    load_bytes: int = Field(4 * 2**20, ge=2**10)
    """Largest total size of the messages in one transaction."""
    lease_s: float = Field(10, gt=0)
    """Lifetime of the lease that lets one process load at a time."""


class Writer(_Section):
    """Commits to QuestDB."""

    commit_bytes: int = Field(4 * 2**20, ge=2**10)
    """Largest total size of the messages in one transaction; a row takes about 40 bytes."""
    commit_ms: int = Field(25, ge=0, le=1000)
    """Least time between commits, in ms: fewer transactions cost QuestDB less. 0: whenever rows wait. After that long
    without rows, and while a backlog is worked off, it commits at once."""
    replay_margin_s: int = Field(600, ge=0)
    """How far back a writer replays the stream after QuestDB was not stopped gracefully."""
    lease_s: float = Field(10, gt=0)
    """Lifetime of a shard's lease: another writer takes the shard over when it has not been renewed for so long."""


class BarMaker(_Section):
    """Live bars, rankings and features."""

    max_symbols: int = Field(5000, ge=1, le=1_000_000)
    """Symbols of one process, about 120 KB each. Trades of further symbols are counted and ignored."""
    grace_s: float = Field(2, ge=0)
    """How long after its end, by the venue's clock, a bar becomes final."""
    frame_ms: int = Field(50, ge=0, le=1000)
    """Interval of the frames that publish changes; 0: at once."""
    rankings_s: float = Field(1, gt=0)
    """Interval of the rankings."""
    ranked: int = Field(100, ge=1, le=500)
    """Symbols published for each measure of a ranking."""
    features: int = Field(200, ge=0)
    """Series whose features may be subscribed to at a time."""
    rings: dict[str, int] = {}
    """Ring size (closed bars) by interval, such as {"1m": 1440}; overrides the defaults."""


class Mirror(_Section):
    """Copies of closed days to the cold store, and how long each store keeps its days."""

    every_s: float = Field(300, gt=0)
    """Interval of the runs."""
    at: str = Field("00:05", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """Time of day (UTC) of one more run; empty: none."""
    verify_at: str = Field("03:00", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """Time of day (UTC) at which all days of both stores are compared; empty: never."""
    side_by_side: int = Field(2, ge=1, le=32)
    """Days copied in parallel."""
    slice_rows: int = Field(500_000, ge=1)
    """Rows that one copy holds in memory at a time, about 200 bytes each."""
    hot_days: int = Field(0, ge=0)
    """Closed days that the hot store keeps; 0: all. Older days are handed over to the cold store."""
    cold_years: int = Field(0, ge=0)
    """Years that the cold store keeps; 0: all."""
    lease_s: float = Field(10, gt=0)
    """Lifetime of the lease that lets one mirror run at a time."""


class Gateway(_Section):
    """The HTTP server that answers queries, on 127.0.0.1."""

    port: int = Field(8000, ge=0, le=65_535)
    """Port to listen on; 0: any free one."""
    url: str = ""
    """Address that clients connect to."""
    hosts: tuple[str, ...] = ()
    """Names besides localhost, 127.0.0.1, ::1 and that of `url` by which clients and web pages may call it."""
    max_connections: int = Field(768, ge=1)
    """Connections at once; one more is refused with status 503."""


class Simulator(_Section):
    """The simulated venue."""

    seed: int = 1
    """Random seed of the ticks."""
    rate: int = Field(1000, ge=1, le=1_000_000)
    """Trades a second, of all symbols together."""
    quotes_rate: int = Field(100, ge=0, le=100_000)
    """Quotes a second, of all symbols together; 0: none."""
    depth_rate: int = Field(100, ge=0, le=100_000)
    """Updates of order books a second, of all symbols together; 0: no books."""
    symbols: int = Field(200, ge=1, le=100_000)
    """Number of symbols."""
    late: float = Field(0.001, ge=0, le=0.5)
    """Share of trades that are published late."""
    duplicate: float = Field(0.001, ge=0, le=0.5)
    """Share of trades that are published twice."""
    history_days: int = Field(0, ge=0, le=30)
    """Whole days (UTC) of history before today that a new home starts with, and today so far."""


class Feed(_Section):
    """Feeds of live venues."""

    kinds: tuple[str, ...] = ("trades", "quotes", "depth")
    """Kinds to subscribe to, as far as the venue offers them."""
    gap_grace_s: float = Field(2, ge=0)
    """How long ids may be missing before a gap is recorded: two connections may deliver them out of order."""
    silence_s: float = Field(60, gt=0)
    """A connection without a message for so long is replaced."""
    overlap_s: float = Field(10, ge=0)
    """How long a connection stays open beside the one that replaces it."""
    snapshot_every_s: int = Field(300, ge=1, le=86_400)
    """Interval at which a whole book is written as a snapshot row; it must divide the day."""
    backfill_pages: int = Field(100, ge=1)
    """Most REST requests made to fill one gap."""

    @field_validator("snapshot_every_s")
    @classmethod
    def _divides_the_day(cls, seconds: int) -> int:
        if 86_400 % seconds:
            raise ValueError(f"expected seconds that divide the day, such as 300, was {seconds}")
        return seconds


class Replay(_Section):
    """The local server that replays recordings in a venue's protocol."""

    port: int = Field(0, ge=0, le=65_535)
    """Port to listen on; 0: 9100 or the next free one."""
    speed: str = Field("1x", pattern=r"^(max|[1-9][0-9]*x)$")
    """Multiple of the recording's own pace, such as 60x; or max."""
    faults: str = ""
    """Faults to inject, by sort, such as cut=10,skip=5,double=5,damage=5,stall=1."""
    seed: int = 1
    """Random seed of the faults' times."""

    @property
    def multiple(self) -> float | None:
        """The speed as a number; None for max."""
        return None if self.speed == "max" else float(self.speed[:-1])


class VenueSettings(_Section):
    """A venue under another name, or at other addresses."""

    protocol: str
    """Name of the venue whose protocol it speaks, such as binance_spot."""
    socket: str = ""
    """WebSocket address; empty: the venue's usual one."""
    rest: str = ""
    """REST address; empty: the venue's usual one."""
    key: SecretStr = SecretStr("")
    """API key for REST requests that need one."""
    pace: float = Field(1, ge=0)
    """Factor of the pauses between REST requests and before a reconnect; 0: no pauses."""


class Settings(BaseSettings):
    """All settings; the module's docstring says where they come from."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=_PREFIX, env_nested_delimiter="__"
    )

    home: Path = Path(".tapehouse")
    """Folder of the platform's data, logs and passwords."""
    shards: int = Field(1, ge=1, le=1024)
    """Number of shards the symbols are divided into; each has a writer."""
    nats: Nats = Nats()
    questdb: QuestDB = QuestDB()
    clickhouse: ClickHouse = ClickHouse()
    timescale: Timescale = Timescale()
    writer: Writer = Writer()
    barmaker: BarMaker = BarMaker()
    mirror: Mirror = Mirror()
    gateway: Gateway = Gateway()
    simulator: Simulator = Simulator()
    feed: Feed = Feed()
    replay: Replay = Replay()
    venues: dict[str, VenueSettings] = {}
    """Venues under names of your own."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides what `load` passes in, which is what the files hold."""
        return env_settings, init_settings


def load(home: Path | None = None) -> Settings:
    """Read the files and the environment; `home`, if given, overrides both.

    Raises SettingsError that names each invalid field.
    """
    named = os.environ.get("TAPEHOUSE_CONFIG")
    config = Path(named or "tapehouse.toml")
    if named and not config.exists():
        raise SettingsError(
            f"settings: expected a file, was none: {config}", remedy="Correct TAPEHOUSE_CONFIG."
        )
    from_file = _read_toml(config)
    if from_file.get("timescale", {}).get("dsn") and config.stat().st_mode & 0o077:
        raise SettingsError(
            f"settings: expected {config} with the mode 0600, for timescale.dsn is secret, "
            f"was {config.stat().st_mode & 0o777:04o}",
            remedy=f"chmod 600 {config}",
        )
    folder = home or Path(os.environ.get("TAPEHOUSE_HOME") or str(from_file.get("home", ".tapehouse")))
    values = _merged(_read_toml(folder / CONNECTIONS), from_file)
    try:
        settings = Settings(**values)
        faults = _unknown_variables()
    except ValidationError as reason:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in reason.errors()
        ]
    except UnreadableError as reason:
        faults = [str(reason)]
    if faults:
        raise SettingsError(
            "settings: " + "; ".join(faults), remedy=f"Correct {config} or the TAPEHOUSE_* variables."
        )
    return settings.model_copy(update={"home": folder.absolute()})


def _unknown_variables() -> list[str]:
    """Errors for variables that no setting reads, such as TAPEHOUSE_NATS_URL."""
    known = {*Settings.model_fields, *_OTHER_VARIABLES}
    names = [
        name.lower().removeprefix(_PREFIX.lower()) for name in os.environ if name.upper().startswith(_PREFIX)
    ]
    return [
        f"{_PREFIX.lower()}{name}: no such setting; join a section and its field by two underscores"
        for name in names
        if name.partition("__")[0] not in known
    ]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as reason:
        raise SettingsError(f"settings: {path} cannot be read: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise SettingsError(
            f"settings: {path} is not TOML: {reason}", remedy=f"Correct or remove {path}."
        ) from None


def _merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
