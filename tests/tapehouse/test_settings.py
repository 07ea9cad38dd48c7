"""Settings: which source wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tapehouse.errors import SettingsError
from tapehouse.settings import CONNECTIONS, Settings, load


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAPEHOUSE_HOME", raising=False)
    monkeypatch.delenv("TAPEHOUSE_CONFIG", raising=False)


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


def test_without_a_source_the_defaults_hold(tmp_path: Path) -> None:
    settings = load()
    assert settings == Settings().model_copy(update={"home": tmp_path / ".tapehouse"})
    assert settings.nats.url == "nats://127.0.0.1:4222"


def test_later_sources_win(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().shards == 1
    _write(f".tapehouse/{CONNECTIONS}", 'shards = 2\n[nats]\nurl = "nats://127.0.0.1:2"\n')
    assert load().shards == 2
    _write("tapehouse.toml", "shards = 3\n")
    assert load().shards == 3
    monkeypatch.setenv("TAPEHOUSE_SHARDS", "4")
    assert load().shards == 4
    # Each source adds to the one below it, field by field.
    assert load().nats.url == "nats://127.0.0.1:2"
    monkeypatch.setenv("TAPEHOUSE_NATS__REPLICAS", "3")
    assert (load().nats.url, load().nats.replicas) == ("nats://127.0.0.1:2", 3)
    monkeypatch.setenv("TAPEHOUSE_NATS__URL", "nats://127.0.0.1:5")
    assert load().nats.url == "nats://127.0.0.1:5"


def test_a_file_with_an_account_of_timescale_is_for_its_owner_alone() -> None:
    _write("tapehouse.toml", '[timescale]\ndsn = "postgresql://u:hidden@h/d"\n')
    Path("tapehouse.toml").chmod(0o640)
    with pytest.raises(SettingsError, match=r"mode 0600.*was 0640\nchmod 600 tapehouse.toml"):
        load()
    Path("tapehouse.toml").chmod(0o600)
    assert load().timescale.dsn.get_secret_value() == "postgresql://u:hidden@h/d"
    assert "hidden" not in repr(load())


def test_passwords_of_several_sources_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    _write(f".tapehouse/{CONNECTIONS}", '[nats.passwords]\nfeed = "a"\nwriter = "b"\n')
    _write("tapehouse.toml", '[nats.passwords]\nwriter = "c"\n')
    passwords = load().nats.passwords
    assert {user: secret.get_secret_value() for user, secret in passwords.items()} == {
        "feed": "a",
        "writer": "c",
    }
    assert "'c'" not in repr(load())
    monkeypatch.setenv("TAPEHOUSE_NATS__PASSWORDS", '{"feed": "d"}')
    assert load().nats.passwords["feed"].get_secret_value() == "d"


def test_the_home_is_that_of_the_caller_the_environment_the_file_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("file", "environment", "caller"):
        _write(f"{name}/{CONNECTIONS}", f'[nats]\nurl = "nats://{name}:1"\n')
    _write("tapehouse.toml", 'home = "file"\n')
    assert (load().home, load().nats.url) == (tmp_path / "file", "nats://file:1")
    monkeypatch.setenv("TAPEHOUSE_HOME", "environment")
    assert (load().home, load().nats.url) == (tmp_path / "environment", "nats://environment:1")
    caller = load(Path("caller"))
    assert (caller.home, caller.nats.url) == (tmp_path / "caller", "nats://caller:1")


def test_another_file_is_read_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _write("tapehouse.toml", "shards = 3\n")
    _write("other.toml", "shards = 7\n")
    monkeypatch.setenv("TAPEHOUSE_CONFIG", "other.toml")
    assert load().shards == 7


def test_a_file_that_was_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHOUSE_CONFIG", "missing.toml")
    with pytest.raises(SettingsError, match=r"expected a file, was none: missing\.toml"):
        load()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("shard = 3", "shard: Extra inputs"),
        ("[nats]\nurls = 'x'", r"nats\.urls: Extra inputs"),
        ("shards = 0", "shards: Input should be greater"),
        ("shards = 'x'", "shards: Input should be a valid integer"),
        ("nats = 5", "nats: Input should be"),
        ("home = 5", "home: "),
        ("[writer]\ncommit_bytes = 1", r"writer\.commit_bytes: "),
        ("[simulator]\nlate = 0.6\nrate = 0", r"simulator\.rate: .*; simulator\.late: "),
        (
            "[simulator]\nquotes_rate = -1\ndepth_rate = 100_001",
            r"simulator\.quotes_rate: .*; simulator\.depth_rate: ",
        ),
    ],
)
def test_a_field_that_is_wrong_is_named_with_the_file_to_mend(text: str, fault: str) -> None:
    _write("tapehouse.toml", text)
    with pytest.raises(SettingsError, match=fault) as refusal:
        load()
    assert "tapehouse.toml" in refusal.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("TAPEHOUSE_SHARDS", "many", "shards: "),
        ("TAPEHOUSE_NATS__URLS", "x", r"nats\.urls: Extra inputs"),
        ("TAPEHOUSE_NATS", "{broken", "nats"),
        ("TAPEHOUSE_NATS__PASSWORDS", "secret", "nats"),
        ("TAPEHOUSE_WRITER__LEASE_S", "0", r"writer\.lease_s: "),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    name: str, value: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=fault) as refusal:
        load()
    assert "TAPEHOUSE_" in refusal.value.remedy
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["TAPEHOUSE_SHARD", "TAPEHOUSE_NATS_URL", "tapehouse_nats_url"])
def test_a_variable_that_nothing_reads_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=name.lower()):
        load()


@pytest.mark.parametrize("content", [b"shards = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(content: bytes) -> None:
    Path("tapehouse.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"tapehouse\.toml is not TOML"):
        load()


def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    monkeypatch.setenv("TAPEHOUSE_CONFIG", "folder")
    with pytest.raises(SettingsError, match="folder"):
        load()


def test_settings_cannot_be_changed() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.shards = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.nats.url = "x"  # type: ignore[misc]


def test_the_example_for_production_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHOUSE_CONFIG", str(Path(__file__).parents[2] / "compose" / "tapehouse.toml"))
    mirror = load().mirror
    assert (mirror.hot_days, mirror.cold_years) == (30, 7)
