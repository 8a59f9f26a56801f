"""Ctrl-C, SIGTERM and a closed terminal: a request to stop at the next step while a
run trains, an exception everywhere else."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class StopRequest(threading.Event):
    """Set by a signal that asks for a stop."""

    signal: str = ""
    """The name of the signal, such as SIGINT."""


class Terminated(BaseException):
    """SIGTERM, or SIGHUP of a closed terminal, outside the training loop."""


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated`, so that blocks that clean up do.

    Under ``nohup``, SIGHUP goes on being ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(signum, frame):
        raise Terminated(signal.Signals(signum).name)

    with _handled(_terminations(), terminate):
        yield


def _terminations():
    """The signals that end a process from outside."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    ignored = hangup is None or signal.getsignal(hangup) is signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, hangup]


@contextlib.contextmanager
def _handled(kinds, handler):
    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """A request set by Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C interrupts at once.

    Under ``nohup``, SIGHUP stays ignored.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(signum, frame):
        stop.signal = stop.signal or signal.Signals(signum).name
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with _handled([signal.SIGINT, *_terminations()], request):
        yield stop
