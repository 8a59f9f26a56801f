"""Ctrl-C, SIGTERM and a closed terminal: a request to stop at the next step while a
run trains, an exception everywhere else."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SWALLOWING = "_xla_gc_callback"
"""The function that JAX runs when Python collects garbage. Python prints what is raised
in it, and goes on."""
AGAIN = 0.02
"""Seconds until a signal that came there comes once more."""


class StopRequest(threading.Event):
    """Set by a signal that asks for a stop."""

    signal: str = ""
    """The name of the signal, such as SIGINT."""


class Terminated(BaseException):
    """SIGTERM, or SIGHUP of a closed terminal, outside the training loop."""


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated`, so that blocks that clean up do. Neither
    they nor Ctrl-C are lost where Python swallows exceptions.

    Under ``nohup``, SIGHUP goes on being ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    terminate = _raising(lambda signum: Terminated(signal.Signals(signum).name))
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with (
        _handled(_terminations(), terminate),
        _handled([signal.SIGINT] if ours else [], interrupt),
    ):
        yield


def _raising(error: Callable[[int], BaseException]) -> Callable[..., None]:
    """A handler that raises an error, now or where it is not swallowed."""

    def handle(signum, frame):
        while frame is not None:
            if frame.f_code.co_name == SWALLOWING:
                later = threading.Timer(AGAIN, os.kill, (os.getpid(), signum))
                later.daemon = True
                later.start()
                return
            frame = frame.f_back
        raise error(signum)

    return handle


interrupt = _raising(lambda signum: KeyboardInterrupt())
"""The handler of Ctrl-C."""


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
        signal.signal(signal.SIGINT, interrupt)

    with _handled([signal.SIGINT, *_terminations()], request):
        yield stop
