"""A stage of which something goes wrong in every case but the first and the last."""

import os
import signal
import time


def fine():
    yield {"seconds": 1.5}


def refused():
    yield {"rows": 1}
    raise NotImplementedError("no such kernel")


def broken():
    yield from ()
    raise ValueError("planted")


def killed():
    yield {"rows": 1}
    os.kill(os.getpid(), signal.SIGKILL)


def silent():
    time.sleep(60)
    yield {"never": True}


def cases(setting):
    del setting
    return {f.__name__: f for f in (fine, refused, broken, killed, silent, fine_again)}


def fine_again():
    yield {"seconds": 2}
