"""lstm_jax: the Long Short-Term Memory for JAX.

The house, from the ground up; a room imports only rooms named before it:

    core         the mathematics: cells, `unroll` and its derivative rule, stacks
    data         text and batches, in numpy
    ops          `lstm(...)`: checks arguments, chooses an implementation
    nn           Flax NNX modules
    training     the training loop, checkpoints, metrics
    models       language model
    tasks        data + model + loss, joined
    cli          the command ``lstm-jax``

Importing this package imports JAX and nothing heavier. Flax modules are in
``lstm_jax.nn``.
"""

from lstm_jax.core import init
from lstm_jax.core.bidirectional import Bidirectional, bidirectional
from lstm_jax.core.cell import Cell
from lstm_jax.core.cifg import CIFGLSTMCell, CIFGLSTMParams
from lstm_jax.core.gru import (
    GRUCarry,
    GRUCell,
    GRUParams,
    ResetBeforeGRUCell,
    ResetBeforeGRUParams,
)
from lstm_jax.core.layer_norm import LayerNormLSTMCell, LayerNormLSTMParams
from lstm_jax.core.lstm import LSTMCarry, LSTMCell, LSTMParams, init_lstm, lstm_step
from lstm_jax.core.min_lstm import MinLSTMCarry, MinLSTMCell, MinLSTMParams
from lstm_jax.core.peephole import PeepholeLSTMCell, PeepholeLSTMParams
from lstm_jax.core.projection import LSTMPCell, LSTMPParams
from lstm_jax.core.rnn import RNNCarry, RNNCell, RNNParams
from lstm_jax.core.slstm import SLSTMCarry, SLSTMCell, SLSTMParams
from lstm_jax.core.stack import init_stack, stack
from lstm_jax.core.unroll import unroll
from lstm_jax.core.weight_drop import weight_drop
from lstm_jax.ops import init_lstm_stack, lstm, lstm_stack

__version__ = "0.1.0"

__all__ = [
    "Bidirectional",
    "CIFGLSTMCell",
    "CIFGLSTMParams",
    "Cell",
    "GRUCarry",
    "GRUCell",
    "GRUParams",
    "LSTMCarry",
    "LSTMCell",
    "LSTMPCell",
    "LSTMPParams",
    "LSTMParams",
    "LayerNormLSTMCell",
    "LayerNormLSTMParams",
    "MinLSTMCarry",
    "MinLSTMCell",
    "MinLSTMParams",
    "PeepholeLSTMCell",
    "PeepholeLSTMParams",
    "RNNCarry",
    "RNNCell",
    "RNNParams",
    "ResetBeforeGRUCell",
    "ResetBeforeGRUParams",
    "SLSTMCarry",
    "SLSTMCell",
    "SLSTMParams",
    "bidirectional",
    "init",
    "init_lstm",
    "init_lstm_stack",
    "init_stack",
    "lstm",
    "lstm_stack",
    "lstm_step",
    "stack",
    "unroll",
    "weight_drop",
]
