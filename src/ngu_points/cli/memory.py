"""How the C library keeps the memory that arrays free."""

from __future__ import annotations

import ctypes

_ARENA_MAX = -8  # of glibc's malloc.h


def one_heap() -> None:
    """Let all threads share one heap; without effect where the C library is not glibc.

    By itself glibc gives each thread a heap of its own, and what the arrays of one thread leave
    free is of no use to another: a sync of 1,000,000 events took 70 MB more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
