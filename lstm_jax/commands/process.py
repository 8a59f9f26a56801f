"""What the command line does for the speed of its own process."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as in malloc.h


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed, for whoever allocates next.

    By default glibc hands large blocks back to the system. A step of training frees and
    allocates the same ones every time, and would spend much of it on touching their
    pages anew. Scripts of your own have the same by

        export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647

    Returns:
        Whether it could be told: only glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, Windows, musl
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
