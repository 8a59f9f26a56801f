"""Turns Ctrl-C, SIGTERM and a closed terminal into a request to stop after a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event set by Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C interrupts at once.

    Under ``nohup``, SIGHUP stays ignored.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(signum, frame):
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    kinds = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has no SIGHUP
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        kinds.append(hangup)
    before = {kind: signal.signal(kind, request) for kind in kinds}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
