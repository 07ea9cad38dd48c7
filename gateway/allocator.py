"""Memory allocator settings for a process that streams large results: limit heap growth, return free memory."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt."""
_MAX_FREE_BYTES, _MMAP_BYTES = 2**24, 2**22
"""Free memory kept at the top of the heap for the next page, and the size from which blocks are mapped: most columns
of a page are smaller."""


def limit_heap_growth() -> None:
    """Allocate Arrow buffers with malloc, from at most two arenas; no effect without glibc.

    With the default settings, a few large results leave hundreds of megabytes of free memory in the process.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, _MAX_FREE_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_ARENA_MAX, 2)


def return_free_memory() -> None:
    """Return free heap memory to the system; takes 1 to 30 ms, more the more is free."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
