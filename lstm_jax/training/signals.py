"""Signals that wait until the work in hand is safe."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Caught:
    """Which signal has come, None so far."""

    signum: int | None = None


@contextmanager
def deferred_signals(active: bool = True) -> Iterator[Caught]:
    """Holds SIGINT and SIGTERM back inside the block, and lets them act at its end.

    Then SIGINT raises KeyboardInterrupt and SIGTERM raises SystemExit(143), whatever their handlers were; these are in
    place again by that time. A SIGINT that follows another signal acts at once. Nothing is held back outside the main
    thread, where Python has no say over signals, nor a signal that the process ignores.
    """
    caught = Caught()
    previous = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and caught.signum is not None:
            raise KeyboardInterrupt
        caught.signum = signum

    if active and threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                previous[signum] = signal.signal(signum, handle)
    try:
        yield caught
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if caught.signum == signal.SIGINT:
        raise KeyboardInterrupt
    if caught.signum == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
