import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator.noise import SLOW, fast_noise, noise_bounds, slow_noise
from ingest.simulator.pseudo_random import random_words
from tapehouse.clock import DAY, MILLISECOND, SECOND

NOW = 1_723_161_600_000_000_000
SLOW_KEYS = random_words(np.arange(len(SLOW)), 5)
FAST_KEYS = random_words(np.arange(1), 6)


def noise(times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    seconds = times // SECOND
    keys = np.repeat(SLOW_KEYS[:, None], len(times), axis=1)
    before, after = slow_noise(seconds, keys), slow_noise(seconds + 1, keys)
    slow = before + (after - before) * ((times - seconds * SECOND) / SECOND)
    return slow + fast_noise(times, np.repeat(FAST_KEYS, len(times)))


@given(
    st.integers(0, 30 * DAY),
    st.one_of(st.integers(0, 3 * SECOND), st.integers(0, 3_600 * SECOND), st.integers(0, 100 * DAY)),
)
@settings(max_examples=200, deadline=None)
def test_no_value_within_a_span_is_outside_of_its_bounds(since: int, length: int) -> None:
    start = NOW + since
    times = np.unique(np.linspace(start, start + length, 2_000).astype(np.int64).clip(start, start + length))
    # Extremes are at multiples of periods, which are whole and half seconds.
    half = SECOND // 2
    halves = np.arange(start // half * half + half, start + length, max(length // 2_000 // half, 1) * half)
    values = noise(np.sort(np.concatenate((times, halves))))
    low, high = noise_bounds(np.array([start]), np.array([start + length]), SLOW_KEYS[:, None], FAST_KEYS)
    assert low[0] <= values.min() + 1e-12
    assert high[0] >= values.max() - 1e-12


@pytest.mark.parametrize(
    ("length", "times_as_wide"), [(20 * MILLISECOND, 2), (SECOND, 2.5), (60 * SECOND, 4)]
)
def test_bounds_are_near_the_values(length: int, times_as_wide: float) -> None:
    """Wider ones would be sound, and make the spreads of quotes unbelievable."""
    starts = NOW + np.arange(300) * 7 * SECOND
    slow = np.repeat(SLOW_KEYS[:, None], len(starts), axis=1)
    low, high = noise_bounds(starts, starts + length, slow, np.repeat(FAST_KEYS, len(starts)))
    values = [noise(np.linspace(start, start + length, 200).astype(np.int64)) for start in starts.tolist()]
    true = np.array([found.max() - found.min() for found in values])
    assert np.median((high - low) / true) < times_as_wide


def test_the_bounds_of_a_moment_are_its_value() -> None:
    times = NOW + np.arange(0, 100 * SECOND, 333 * MILLISECOND)
    slow = np.repeat(SLOW_KEYS[:, None], len(times), axis=1)
    low, high = noise_bounds(times, times, slow, np.repeat(FAST_KEYS, len(times)))
    assert np.allclose(low, noise(times), rtol=0, atol=1e-12)
    assert np.array_equal(low, high)
