from pathlib import Path

import pytest

from ingest.simulator.timeline import Profile, Segment, Timeline
from ingest.simulator.timeline_file import load, open_timeline
from tapehouse.clock import DAY
from tapehouse.errors import SettingsError, UsageError

NOW = 1_723_161_600_000_000_000


def opened(
    path: Path, profile: Profile, *, checkpoint: int = 0, now_ns: int = NOW, history_days: int = 0
) -> Timeline:
    return open_timeline(
        path,
        profile,
        1_000,
        checkpoint=checkpoint,
        bound=5_000,
        now_ns=now_ns,
        history_days=history_days,
    )


def test_a_new_home_begins_at_position_0(tmp_path: Path) -> None:
    timeline = opened(tmp_path / "simulator.json", Profile())
    assert timeline.segments == (Segment(0, NOW, 1_000),)
    assert load(tmp_path / "simulator.json") == timeline
    assert [path.name for path in tmp_path.iterdir()] == ["simulator.json"]


def test_a_known_home_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "simulator.json"
    opened(path, Profile())
    timeline = opened(path, Profile(), checkpoint=70_000, now_ns=NOW + DAY)
    assert timeline.segments == (Segment(0, NOW, 1_000), Segment(75_000, NOW + DAY, 1_000))
    assert load(path) == timeline


def test_a_history_is_what_a_home_is_born_with(tmp_path: Path) -> None:
    born = opened(tmp_path / "with.json", Profile(), history_days=2)
    assert born.history > 0
    assert opened(tmp_path / "with.json", Profile(), checkpoint=5, history_days=0).history == born.history
    opened(tmp_path / "without.json", Profile())
    assert opened(tmp_path / "without.json", Profile(), checkpoint=5, history_days=2).history == 0


def test_another_profile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "simulator.json"
    opened(path, Profile())
    before = path.read_bytes()
    with pytest.raises(
        UsageError, match=r"expected seed 1 as before, was 2, late 0\.01 as before, was 0\.2"
    ) as found:
        opened(path, Profile(seed=2, late=0.2))
    assert "Set seed and late back, or start in a new home" in found.value.remedy
    assert path.read_bytes() == before


def test_a_lost_timeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="was absent, although 5 ticks are stored"):
        opened(tmp_path / "simulator.json", Profile(), checkpoint=5)


def test_a_broken_timeline_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "simulator.json"
    opened(path, Profile())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SettingsError, match=r"simulator\.json: "):
        opened(path, Profile())
