"""lstm_jax: LSTMs for JAX.

The subpackages ("rooms"), from the ground up. A room imports only the rooms above it in
this list:

    core         the equations, in four rooms: primitives, cells, recurrence, layers
    data         text, batches, ragged and labelled sequences, in numpy
    scores       metrics of predictions, in numpy
    kernels      faster loops of the LSTM: C++ for CPUs; Pallas and cuDNN for GPUs
    ops          `lstm(...)` and `lstm_stack(...)`, which the modules call
    nn, linen    Flax NNX and Linen modules
    programs     descriptions of models, for export
    interop      weights to and from other frameworks
    diagnostics  gates, states and gradients of cells and models
    inference    generation, beam search, loss on a long stream
    training     the training loop, checkpoints, metrics
    models       language model, memory model, classifier, tagger
    tasks        data, model and loss together
    runs         a run from its config to its results, and back into Python
    report       reports of runs as HTML
    bench        timings of our LSTM and of other libraries
    commands     the commands of the command line
    cli          the command ``lstm-jax``

Importing this package imports nothing heavier than JAX. Flax modules are in
``lstm_jax.nn`` and ``lstm_jax.linen``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lstm_jax import _starting  # noqa: F401  first: it handles Ctrl-C from here on
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.cifg import CIFGLSTMCell, CIFGLSTMParams
from lstm_jax.core.cells.conv import ConvLSTMCell, ConvLSTMParams
from lstm_jax.core.cells.gru import (
    GRUCarry,
    GRUCell,
    GRUParams,
    ResetBeforeGRUCell,
    ResetBeforeGRUParams,
)
from lstm_jax.core.cells.layer_norm import LayerNormLSTMCell, LayerNormLSTMParams
from lstm_jax.core.cells.lstm import (
    LSTMCarry,
    LSTMCell,
    LSTMParams,
    init_lstm,
    lstm_step,
)
from lstm_jax.core.cells.min_lstm import MinLSTMCarry, MinLSTMCell, MinLSTMParams
from lstm_jax.core.cells.mogrifier import (
    LowRank,
    MogrifierLSTMCell,
    MogrifierLSTMParams,
)
from lstm_jax.core.cells.multiplicative import (
    MultiplicativeLSTMCell,
    MultiplicativeLSTMParams,
)
from lstm_jax.core.cells.peephole import PeepholeLSTMCell, PeepholeLSTMParams
from lstm_jax.core.cells.projection import LSTMPCell, LSTMPParams
from lstm_jax.core.cells.recurrent_dropout import CandidateDropout, RecurrentDropout
from lstm_jax.core.cells.rnn import RNNCarry, RNNCell, RNNParams
from lstm_jax.core.cells.slstm import SLSTMCarry, SLSTMCell, SLSTMParams
from lstm_jax.core.cells.zoneout import Zoneout
from lstm_jax.core.dropout import dropout, embedding_dropout, variational_dropout
from lstm_jax.core.layers.bidirectional import Bidirectional, bidirectional
from lstm_jax.core.layers.feed import Stream, feed
from lstm_jax.core.layers.penalties import (
    activation_penalty,
    temporal_activation_penalty,
)
from lstm_jax.core.layers.stack import Stack
from lstm_jax.core.layers.weight_drop import weight_drop
from lstm_jax.core.primitives.activations import Activation, Activations
from lstm_jax.core.recurrence import backends
from lstm_jax.core.recurrence.newton.settings import Newton
from lstm_jax.core.recurrence.newton.unroll import NewtonResult, newton_unroll
from lstm_jax.core.recurrence.truncated_bptt import truncated_bptt
from lstm_jax.core.recurrence.unroll import unroll
from lstm_jax.kernels.cpu.backend import FASTEST, NATIVE
from lstm_jax.kernels.cudnn.backend import CUDNN
from lstm_jax.kernels.pallas.backend import PALLAS
from lstm_jax.ops import init_lstm_stack, lstm, lstm_stack

backends.add("native", NATIVE, unnamed=FASTEST)
backends.add("cudnn", CUDNN)
backends.add("pallas", PALLAS)

if TYPE_CHECKING:
    from lstm_jax.runs.forecaster import Forecaster
    from lstm_jax.runs.loaded import load_run

__version__ = "0.1.0"

_LATER = {
    "Forecaster": "lstm_jax.runs.forecaster",
    "load_run": "lstm_jax.runs.loaded",
}
"""Names that need more than JAX. They are imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])


__all__ = [
    "Activation",
    "Activations",
    "Bidirectional",
    "CIFGLSTMCell",
    "CIFGLSTMParams",
    "CandidateDropout",
    "Cell",
    "ConvLSTMCell",
    "ConvLSTMParams",
    "Forecaster",
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
    "LowRank",
    "MinLSTMCarry",
    "MinLSTMCell",
    "MinLSTMParams",
    "MogrifierLSTMCell",
    "MogrifierLSTMParams",
    "MultiplicativeLSTMCell",
    "MultiplicativeLSTMParams",
    "Newton",
    "NewtonResult",
    "PeepholeLSTMCell",
    "PeepholeLSTMParams",
    "RNNCarry",
    "RNNCell",
    "RNNParams",
    "RecurrentDropout",
    "ResetBeforeGRUCell",
    "ResetBeforeGRUParams",
    "SLSTMCarry",
    "SLSTMCell",
    "SLSTMParams",
    "Stack",
    "Stream",
    "Zoneout",
    "activation_penalty",
    "bidirectional",
    "dropout",
    "embedding_dropout",
    "feed",
    "init",
    "init_lstm",
    "init_lstm_stack",
    "load_run",
    "lstm",
    "lstm_stack",
    "lstm_step",
    "newton_unroll",
    "temporal_activation_penalty",
    "truncated_bptt",
    "unroll",
    "variational_dropout",
    "weight_drop",
]
