"""What a process that passes large answers on does about memory: keep little of it, and give back the rest."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Of glibc's mallopt."""
_KEPT, _LARGE = 2**24, 2**22
"""In bytes: so much of what is freed is kept for the next page, but nothing that is larger than most columns are."""


def keep_little() -> None:
    """Have freed pages of answers be used again or go back to the system, instead of to one of many heaps.

    Without it a few large answers leave hundreds of megabytes behind. Nothing where there is no glibc.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_ARENA_MAX, 2)


def give_back() -> None:
    """Give what is free in the middle of the heaps back to the system: 1 to 30 ms, the longer the more there is."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
