"""Ctrl-C while the command ``lstm-jax`` imports its libraries, which takes seconds.

`lstm_jax.cli.main` handles Ctrl-C, but is not there yet. So this module is imported
first, and ends the process without a traceback. It does nothing where ``lstm_jax`` is
imported by another program.
"""

import os
import sys

_COMMANDS = ("lstm-jax", "lstm-jax.exe", "-m")
"""``sys.argv[0]`` while the package is imported; "-m" of ``python -m lstm_jax``."""


def quiet(kind, error, traceback):
    """An ``excepthook`` that ends with status 130 for Ctrl-C, without a traceback."""
    cause = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        # A library may turn the interrupt of its import into an ImportError.
        cause = cause.__cause__ or cause.__context__
    if cause is None or not issubclass(kind, KeyboardInterrupt | ImportError):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stderr.write("lstm-jax: interrupted.\n")
    sys.stderr.flush()
    os._exit(130)


if os.path.basename(sys.argv[0] if sys.argv else "") in _COMMANDS:
    sys.excepthook = quiet
