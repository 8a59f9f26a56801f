"""How much of a loss reaches earlier steps, in several cells at initialisation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.core import init
from lstm_jax.core.arguments import check_size
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.gru import GRUCell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.cells.rnn import RNNCell
from lstm_jax.diagnostics.state_gradients import state_gradients

ROWS, FEATURES = 8, 16


class Vanishing(NamedTuple):
    """Gradients of one cell by the states of every step."""

    name: str
    norms: dict[str, np.ndarray]
    """``|dL/dh_t|`` as ``h``, and ``|dL/dc_t|`` as ``c`` if there is one, ``[T]``."""

    def kept(self, state: str = "h") -> float:
        """The gradient at the first step, divided by ``|dL/dh_t|`` at the last step."""
        return float(self.norms[state][0] / self.norms["h"][-1])


def vanishing_gradients(
    steps: int = 200, hidden_size: int = 64, seed: int = 0
) -> list[Vanishing]:
    """Measures how gradients vanish over time in fresh cells, in float64.

    The cells read normal random numbers. The loss is a random linear function of the
    last output, so a gradient at step ``t`` has come back through ``T - 1 - t`` steps.
    Norms are means over 8 sequences.

    The cells: a plain RNN, a GRU, and LSTMs with forget biases 0, 1 and 3 and with the
    chrono initialisation of Tallec & Ollivier 2018. A forget bias of ``b`` lets the
    cell state keep about ``sigmoid(b)`` per step: 0.5, 0.73 and 0.95.

    Args:
        steps: ``T``.
        hidden_size: ``H``.
        seed: seed of weights and inputs.

    Raises:
        TypeError, ValueError: ``steps`` or ``hidden_size`` is not a positive integer.

    >>> from lstm_jax.diagnostics import vanishing_gradients
    >>> rnn, *_, chrono = vanishing_gradients(steps=20, hidden_size=8)
    >>> rnn.kept("h") < chrono.kept("c")
    True
    """
    check_size("steps", steps)
    check_size("hidden_size", hidden_size)
    with jax.enable_x64(True):
        return [
            _measure(name, *given, steps, hidden_size, seed)
            for name, given in _cells(hidden_size, max(steps, 2)).items()
        ]


def _cells(size, steps) -> dict[str, tuple[Cell, dict]]:
    lstm = LSTMCell(size)
    return {
        "RNN": (RNNCell(size), {}),
        "GRU": (GRUCell(size), {}),
        "LSTM, forget bias 0": (lstm, {"forget_bias": 0.0}),
        "LSTM, forget bias 1": (lstm, {"forget_bias": 1.0}),
        "LSTM, forget bias 3": (lstm, {"forget_bias": 3.0}),
        "LSTM, chrono": (lstm, {"forget_bias": init.chrono(steps)}),
    }


def _measure(name, cell, options, steps, size, seed):
    weights, inputs, readout = jax.random.split(jax.random.key(seed), 3)
    params = cell.init(weights, FEATURES, dtype=jnp.float64, **options)
    xs = jax.random.normal(inputs, (steps, ROWS, FEATURES), jnp.float64)
    v = jax.random.normal(readout, (ROWS, size), jnp.float64)
    run = jax.jit(
        lambda p, xs: state_gradients(cell, p, xs, lambda hs: (hs[-1] * v).sum())
    )
    found = run(params, xs)
    means = {n: np.asarray(a).mean(1) for n, a in found._asdict().items()}
    return Vanishing(name, means)
