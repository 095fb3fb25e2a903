"""How the C library hands out memory: kept between the steps of a command, not fetched anew for every tensor."""

import ctypes
import sys


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h


def reuse_memory() -> None:
    """Make glibc keep large blocks for the next allocation instead of giving each back to the system.

    By default every large tensor is mapped anew and zeroed by the kernel page by page, in every layer of every step. This is for
    commands, whose process is their own: memory once used stays with it. Where there is no glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
