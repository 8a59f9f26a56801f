"""Settings of the process of the command line: memory and log messages."""

import ctypes
import logging
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as in malloc.h


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory for the next allocation.

    By default glibc returns large blocks to the system. Every training step frees and
    allocates the same blocks, and would spend much of its time on new pages. For your
    own scripts, set

        export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647

    Returns:
        Whether it worked. Only glibc has the setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, Windows, musl
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def quiet_after_failed_writes() -> None:
    """Drops what Orbax prints after a checkpoint could not be written.

    The first error, such as a full disk, is raised and told. The other arrays of the
    checkpoint fail later, when nobody waits for them. Each of them prints a traceback.
    """
    log = logging.getLogger("asyncio")
    if _is_news not in log.filters:
        log.addFilter(_is_news)
        sys.unraisablehook = _without_closed_loops(sys.unraisablehook)


def _is_news(record):
    return "exception was never retrieved" not in record.getMessage()


def _without_closed_loops(hook):
    def filtered(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    return filtered
