"""Signals outside the training loop."""

import signal
import time

import pytest

from lstm_jax.training.stop import Terminated, interrupt, stop_requests
from lstm_jax.training.stop import termination_raises as raises


def _xla_gc_callback(kind):
    """Has the name of the function in which Python swallows what is raised."""
    signal.raise_signal(kind)
    return "went on"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
        (signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_a_signal_is_not_lost_in_a_collection_of_garbage(kind, error):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with raises():
            assert _xla_gc_callback(kind) == "went on"
            with pytest.raises(error):
                time.sleep(10)
            # Elsewhere it raises at once.
            with pytest.raises(error):
                signal.raise_signal(kind)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_interrupts():
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == "SIGINT"
        assert signal.getsignal(signal.SIGINT) is interrupt
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
