"""What a process that passes large answers on does about memory: give it back."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Of glibc's mallopt."""
_KEPT, _LARGE = 2**25, 2**23
"""In bytes: of what is freed so much is kept, for the next page; what is larger than a page is given back at once."""


def give_back() -> None:
    """Have freed pages of answers go back to the system at once, instead of to one of many heaps.

    Without it a few large answers leave hundreds of megabytes behind. Nothing where there is no glibc.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_ARENA_MAX, 2)
