"""Memory that stays with the process from one call to the next."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of mallopt


def keep_memory() -> bool:
    """Tells the C library of Linux to keep freed memory for the next call; returns whether it does.

    XLA's CPU backend asks for the arrays of every call anew. Large ones then come from the kernel page by page,
    each cleared first, which costs a training step of many steps and units as much as a sixth of its time.
    Afterwards the process holds what it once needed, and up to as much again where freed pieces do not fit what is
    asked for next, and all of its threads share one pool. To be called once, before the first computation, by a
    program that may decide this for all its libraries.

    References: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 -- others take the call and do nothing
    except (AttributeError, OSError, TypeError):
        return False
    return all([libc.mallopt(_ARENA_MAX, 1), libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, -1)])
