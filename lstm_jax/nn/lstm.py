"""The LSTM as Flax NNX modules: parameters and axes here, the mathematics in `ops`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.bidirectional import Merge
from lstm_jax.core.lstm import LSTMCarry, init_lstm, lstm_step
from lstm_jax.core.stack import Skip, Stack
from lstm_jax.nn.recurrent import Recurrent
from lstm_jax.nn.weights import Weights
from lstm_jax.ops import lstm_cells


class LSTMCell(Weights):
    """The weights of one LSTM layer; calling it takes one step.

        i, f, o = sigmoid(x w_x + h w_h + b)     g = tanh(same, its columns)
        c' = f * c + i * g                       h' = o * tanh(c')

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Attributes:
        w_x, w_h, b: ``nnx.Param`` of ``[D, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in
            the order i, f, g, o.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.nn import LSTMCell
    >>> cell = LSTMCell(in_size=3, hidden_size=5, rngs=nnx.Rngs(0))
    >>> carry, h = cell(None, jnp.ones((2, 3)))
    >>> carry, h = cell(carry, jnp.ones((2, 3)))
    >>> h.shape
    (2, 5)
    """

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        w_x: init.Initializer = init.glorot,
        w_h: init.Initializer = init.orthogonal,
        forget_bias: init.ForgetBias = 1.0,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            in_size, hidden_size: ``D`` and ``H``.
            w_x, w_h, forget_bias: as in `lstm_jax.init_lstm`.
            dtype: compute dtype, by default that of the input.
            param_dtype: dtype of the parameters.
            rngs: source of keys.
        """
        params = init_lstm(
            rngs.params(),
            in_size,
            hidden_size,
            w_x=w_x,
            w_h=w_h,
            forget_bias=forget_bias,
            dtype=param_dtype,
        )
        super().__init__(params)
        self.dtype = dtype

    def __call__(
        self, carry: LSTMCarry | None, x: Float[Array, "*B D"]
    ) -> tuple[LSTMCarry, Float[Array, "*B H"]]:
        """One step; ``carry=None`` is zeros. Raises as `lstm_jax.lstm_step`."""
        return lstm_step(
            self.params, carry, x if self.dtype is None else x.astype(self.dtype)
        )


class LSTM(Recurrent):
    """A stack of LSTM layers, in one direction or in two, batch-first by default.

    Same numbers as `lstm_jax.lstm_stack`; calls are those of `Recurrent`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.nn import LSTM
    >>> model = LSTM(3, 5, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4])).shape
    (2, 7, 10)
    """

    def __init__(
        self,
        in_size: int,
        hidden_size: int | Sequence[int],
        *,
        num_layers: int | None = None,
        bidirectional: bool = False,
        merge: Merge = "concat",
        skip: Skip | None = None,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        locked: bool = False,
        weight_drop: float = 0.0,
        stacked: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            in_size, hidden_size: ``D`` and ``H``, or one ``H`` a layer.
            num_layers: layers on top of each other, by default 1 or as many as
                ``hidden_size`` names.
            bidirectional, merge, skip, stacked: how layers are joined; see
                `lstm_jax.Stack`.
            input_dropout, dropout, output_dropout, locked, weight_drop: shares of
                values and weights zeroed in calls with a key; likewise.
            rngs: source of keys.
            **options: those of `Recurrent` (time_major, return_carry, dtype, ...) and
                of `lstm_jax.init_lstm` (w_x, w_h, forget_bias).

        Raises:
            ValueError: ``num_layers`` is less than 1, a rate not in ``[0, 1)``, or as
                `lstm_jax.Stack`.
        """
        stack = Stack(
            lstm_cells(hidden_size, num_layers),
            bidirectional=bidirectional,
            merge=merge,
            skip=skip,
            input_dropout=input_dropout,
            dropout=dropout,
            output_dropout=output_dropout,
            locked=locked,
            weight_drop=weight_drop,
            stacked=stacked,
        )
        super().__init__(stack, in_size, rngs=rngs, **options)
