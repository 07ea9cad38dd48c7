"""The settings of a process: one frozen object, built in main and handed down.

Later sources win: the defaults here; `connections.toml` in the home folder, which the stack runner writes;
`tapehouse.toml` in the working folder (or the file named by TAPEHOUSE_CONFIG); the environment, as
TAPEHOUSE_SHARDS=4 or TAPEHOUSE_NATS__URL=nats://...; the command line. README.md lists them.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from tapehouse.errors import SettingsError

CONNECTIONS = "connections.toml"
_PREFIX = "TAPEHOUSE_"
_NO_FIELDS = {"config", "questdb_jar"}
"""Variables with the prefix that are read elsewhere."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Nats(_Part):
    """Where JetStream is and the password of each role's user (the user's name is the role's)."""

    url: str = "nats://127.0.0.1:4222"
    passwords: dict[str, SecretStr] = {}
    stream_max_bytes: int = Field(16 * 2**30, ge=2**20)
    """A fuller stream slows the feeds down until the writers catch up."""
    late_max_bytes: int = Field(4 * 2**30, ge=2**20)
    """Of rows of sealed days; with more the writers wait until they are merged."""
    keep_free_bytes: int = Field(256 * 2**20, ge=0)
    """Of the disk where its streams are: with less the feeds wait."""
    duplicate_window_s: int = Field(1800, ge=1)
    """Longer than any outage planned for: within it a batch sent again is stored once."""
    replicas: int = Field(1, ge=1, le=5)


class QuestDB(_Part):
    """Where the hot store is; `user` writes, `reader` may only read."""

    host: str = "127.0.0.1"
    http_port: int = 9000
    pg_port: int = 8812
    user: str = "admin"
    password: SecretStr = SecretStr("quest")
    reader: str = "user"
    reader_password: SecretStr = SecretStr("quest")


class ClickHouse(_Part):
    """Where the cold store is; `reader` may only read; `gate` is the header X-Gate where the server asks for it."""

    host: str = "127.0.0.1"
    http_port: int = 8123
    user: str = "admin"
    password: SecretStr = SecretStr("")
    reader: str = "reader"
    reader_password: SecretStr = SecretStr("")
    gate: SecretStr = SecretStr("")
    database: str = Field("cold", pattern=r"^[a-z_][a-z0-9_]*$")
    cluster: str = Field("", pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$")
    """Where set, the tables are made Replicated on this cluster, with a Distributed one before each."""


class Writer(_Part):
    """How much a writer commits at once, and how far back it goes after an unclean start of QuestDB."""

    commit_bytes: int = Field(4 * 2**20, ge=2**10)
    """Of messages in one transaction; a row takes about 40."""
    replay_margin_s: int = Field(600, ge=0)
    lease_s: float = Field(10, gt=0)


class BarMaker(_Part):
    """The bars that are kept live."""

    max_symbols: int = Field(5000, ge=1, le=1_000_000)
    """Of one process; trades of further ones are counted and not taken. A symbol takes about 120 KB."""
    grace_s: float = Field(2, ge=0)
    """How long after its end, on the venue's event clock, a bar becomes final."""
    frame_ms: int = Field(50, ge=0, le=1000)
    """How often changes are told; 0: at once."""
    rankings_s: float = Field(1, gt=0)
    ranked: int = Field(100, ge=1, le=500)
    """Symbols told of each measure of a ranking."""
    features: int = Field(200, ge=0)
    """Series whose features may be asked for at a time."""
    rings: dict[str, int] = {}
    """Closed bars kept, by interval, where not as usual."""


class Mirror(_Part):
    """When closed days are copied to the cold store, and how long each store keeps its days."""

    every_s: float = Field(300, gt=0)
    """From one run to the next."""
    at: str = Field("00:05", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """A time of day, UTC, of one more run; empty for none."""
    verify_at: str = Field("03:00", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """When all days are compared, whatever is known of them; empty for never."""
    side_by_side: int = Field(2, ge=1, le=32)
    """Days copied at a time."""
    slice_rows: int = Field(500_000, ge=1)
    """Rows of a day that are under way at a time; a copy takes about 200 bytes of memory for each."""
    hot_days: int = Field(0, ge=0)
    """Closed days that the hot store keeps; 0 for all. Older ones are handed over to the cold store."""
    cold_years: int = Field(0, ge=0)
    """Years that the cold store keeps; 0 for all."""
    lease_s: float = Field(10, gt=0)


class Gateway(_Part):
    """Where queries are answered: on `port` of this machine alone; clients go to `url`."""

    port: int = Field(8000, ge=0, le=65_535)
    """0: any free one."""
    url: str = ""


class Simulator(_Part):
    """The simulated venue. Rates are a second; shares are of all ticks, 0 to 0.5."""

    seed: int = 1
    rate: int = Field(1000, ge=1, le=1_000_000)
    symbols: int = Field(200, ge=1, le=100_000)
    late: float = Field(0.001, ge=0, le=0.5)
    duplicate: float = Field(0.001, ge=0, le=0.5)
    history_days: int = Field(0, ge=0, le=30)
    """Whole days of UTC before today that a new home begins with, and today until then."""


class Feed(_Part):
    """The feeds of live venues."""

    kinds: tuple[str, ...] = ("trades", "quotes", "depth")
    """What is taken, as far as the venue offers it."""
    gap_grace_s: float = Field(2, ge=0)
    """How long ids may be missing before that is a gap: two connections may bring them out of order."""
    silence_s: float = Field(60, gt=0)
    """Without a message for so long a connection is replaced."""
    overlap_s: float = Field(10, ge=0)
    """How long a connection goes on beside its successor."""
    snapshot_every_s: int = Field(300, ge=1, le=86_400)
    """How often a book is written out; it must divide the day."""
    backfill_pages: int = Field(100, ge=1)
    """REST answers asked for to fill one gap, at most."""

    @field_validator("snapshot_every_s")
    @classmethod
    def _divides_the_day(cls, seconds: int) -> int:
        if 86_400 % seconds:
            raise ValueError(f"expected seconds that divide the day, such as 300, was {seconds}")
        return seconds


class Replay(_Part):
    """The venue that replays recordings."""

    port: int = Field(0, ge=0, le=65_535)
    """0: the usual one or the next free."""
    speed: str = Field("1x", pattern=r"^(max|[1-9][0-9]*x)$")
    """max for flat out."""
    faults: str = ""
    """Such as cut=10,skip=5,double=5,damage=5,stall=1."""
    seed: int = 1

    @property
    def multiple(self) -> float | None:
        """Of the recording's own time; None for flat out."""
        return None if self.speed == "max" else float(self.speed[:-1])


class VenueAt(_Part):
    """A venue by another name or at other addresses: `protocol` is that of one of the venues there are."""

    protocol: str
    socket: str = ""
    rest: str = ""
    key: SecretStr = SecretStr("")
    """For requests that the venue answers to known users alone."""
    pace: float = Field(1, ge=0)
    """A factor of the pauses between requests and before connecting again; 0 where there are no limits."""


class Settings(BaseSettings):
    """Everything a role needs to know; see the module's docstring for where it comes from."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=_PREFIX, env_nested_delimiter="__"
    )

    home: Path = Path(".tapehouse")
    shards: int = Field(1, ge=1, le=1024)
    nats: Nats = Nats()
    questdb: QuestDB = QuestDB()
    clickhouse: ClickHouse = ClickHouse()
    writer: Writer = Writer()
    barmaker: BarMaker = BarMaker()
    mirror: Mirror = Mirror()
    gateway: Gateway = Gateway()
    simulator: Simulator = Simulator()
    feed: Feed = Feed()
    replay: Replay = Replay()
    venues: dict[str, VenueAt] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment above what `load` passes in, which is what the files hold."""
        return env_settings, init_settings


def load(home: Path | None = None) -> Settings:
    """Read the files and the environment; `home`, where given, wins over both.

    Raises SettingsError naming each field that is wrong.
    """
    named = os.environ.get("TAPEHOUSE_CONFIG")
    config = Path(named or "tapehouse.toml")
    if named and not config.exists():
        raise SettingsError(f"settings: expected a file, was none: {config}", remedy="Mend TAPEHOUSE_CONFIG.")
    from_file = _table(config)
    folder = home or Path(os.environ.get("TAPEHOUSE_HOME") or str(from_file.get("home", ".tapehouse")))
    values = _merged(_table(folder / CONNECTIONS), from_file)
    try:
        settings = Settings(**values)
        faults = _unread()
    except ValidationError as reason:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in reason.errors()
        ]
    except UnreadableError as reason:
        faults = [str(reason)]
    if faults:
        raise SettingsError(
            "settings: " + "; ".join(faults), remedy=f"Mend {config} or the TAPEHOUSE_* variables."
        )
    return settings.model_copy(update={"home": folder.absolute()})


def _unread() -> list[str]:
    """What is wrong with variables that would change nothing, such as TAPEHOUSE_NATS_URL."""
    known = {*Settings.model_fields, *_NO_FIELDS}
    names = [
        name.lower().removeprefix(_PREFIX.lower()) for name in os.environ if name.upper().startswith(_PREFIX)
    ]
    return [
        f"{_PREFIX.lower()}{name}: no such setting; a part and its field are joined by two underscores"
        for name in names
        if name.partition("__")[0] not in known
    ]


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as reason:
        raise SettingsError(f"settings: {path} cannot be read: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise SettingsError(
            f"settings: {path} is no TOML: {reason}", remedy=f"Mend or remove {path}."
        ) from None


def _merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
