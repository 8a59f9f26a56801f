"""The LSTM as Flax NNX modules: parameters and axes here, the mathematics in `ops`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax._types import Array, Float
from lstm_jax.core import init
from lstm_jax.core.arguments import check_dtype
from lstm_jax.core.cells.lstm import LSTMCarry, init_lstm, lstm_step
from lstm_jax.core.cells.lstm import LSTMCell as CoreCell
from lstm_jax.core.layers.bidirectional import Merge
from lstm_jax.core.layers.stack import Skip, Stack
from lstm_jax.nn.recurrent import Recurrent
from lstm_jax.nn.weights import CellWeights, boxes
from lstm_jax.ops import lstm_cells


class LSTMCell(CellWeights):
    """The weights of one LSTM layer; calling it takes one step.

        i, f, g, o = split(x w_x + h w_h + b)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Attributes:
        w_x: ``nnx.Param`` of ``[D, 4H]``, gates in the order i, f, g, o.
        w_h: ``nnx.Param`` of ``[H, 4H]``.
        b: ``nnx.Param`` of ``[4H]``.
        params: all three as `lstm_jax.LSTMParams`; assign to it to put in others.

    In a loop the carry has the same structure before and after every step, so it
    starts from `initialize_carry`, not from ``None``:

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.nn import LSTMCell
    >>> cell = LSTMCell(in_size=3, hidden_size=5, rngs=nnx.Rngs(0))
    >>> xs = jnp.ones((7, 2, 3))
    >>> carry, h = cell(None, xs[0])  # a single step
    >>> carry = cell.initialize_carry(xs.shape[1:])
    >>> step = nnx.scan(
    ...     lambda carry, cell, x: cell(carry, x),
    ...     in_axes=(nnx.Carry, None, 0), out_axes=(nnx.Carry, 0))
    >>> carry, hs = step(carry, cell, xs)
    >>> carry, hs = jax.lax.scan(cell, carry, xs)
    >>> hs.shape
    (7, 2, 5)
    """

    num_feature_axes = 1
    """Trailing axes of an input that are not batch axes, for ``nnx.RNN``."""

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
            w_x, w_h, forget_bias: as in `lstm_jax.init_lstm`. An initialiser of
                ``nnx.with_partitioning`` puts its sharding on the parameter.
            dtype: compute dtype, by default that of the input.
            param_dtype: dtype of the parameters.
            rngs: source of keys.
        """
        found = boxes()
        options = found.without(dict(w_x=w_x, w_h=w_h, forget_bias=forget_bias))
        params = init_lstm(
            rngs.params(), in_size, hidden_size, dtype=param_dtype, **options
        )
        super().__init__(params, found.of)
        self.dtype = dtype

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Any = None,
        carry_init: Any = None,
        *,
        dtype: Any = None,
    ) -> LSTMCarry:
        """The carry of zeros for inputs of this shape, ``[..., D]``.

        ``h`` has the compute dtype, ``dtype`` or that of the cell, by default float32;
        ``c`` is float32 where it has 16 bits. ``rngs`` is there for ``nnx.RNN`` alone.
        """
        del rngs
        if carry_init is not None:
            raise ValueError(
                "carry_init is given, but the initial carry is zeros; leave it out, "
                "and pass another carry to the call."
            )
        shape = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()
        if not shape or not all(isinstance(n, int | np.integer) for n in shape):
            raise ValueError(
                f"input_shape is {type(input_shape).__name__}, expected a tuple, the "
                f"shape of an input, such as (batch, features); a key is not needed."
            )
        dtype = dtype or self.dtype or jnp.float32
        cell = CoreCell(self.params.w_h.shape[0])
        return cell.zero_carry(shape[:-1], check_dtype(dtype))

    def __call__(
        self, carry: LSTMCarry | None, x: Float[Array, "*B D"]
    ) -> tuple[LSTMCarry, Float[Array, "*B H"]]:
        """One step; ``carry=None`` is zeros. Raises as `lstm_jax.lstm_step`."""
        return lstm_step(
            self.params, carry, x if self.dtype is None else x.astype(self.dtype)
        )


class LSTM(Recurrent):
    """A stack of LSTM layers, in one direction or in two, batch-first by default.

    Same numbers as `lstm_jax.lstm_stack`. Calls, ``params`` and ``deterministic`` are
    those of `Recurrent`: with dropout, a call is training and needs a key, unless
    ``model.eval()`` or ``deterministic=True`` says otherwise.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.nn import LSTM
    >>> model = LSTM(3, 5, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4])).shape
    (2, 7, 10)

    Weights of another framework, or restored ones, go in by ``params``:

    >>> import numpy as np
    >>> from lstm_jax.interop import from_torch
    >>> state = {"weight_ih_l0": np.ones((20, 3)), "weight_hh_l0": np.ones((20, 5)),
    ...          "bias_ih_l0": np.ones(20), "bias_hh_l0": np.ones(20)}
    >>> model = LSTM(3, 5, rngs=nnx.Rngs(0))
    >>> model.params = from_torch(state)  # or torch_model, or torch_model.lstm
    >>> float(model.params[0].b[0])
    2.0
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
        time_major: bool = False,
        return_carry: bool = False,
        trainable_carry: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        implementation: str | None = None,
        w_x: init.Initializer = init.glorot,
        w_h: init.Initializer = init.orthogonal,
        forget_bias: init.ForgetBias = 1.0,
        deterministic: bool = False,
        keep_rngs: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            in_size, hidden_size: ``D`` and ``H``, or one ``H`` per layer.
            num_layers: layers on top of each other, by default 1 or as many as
                ``hidden_size`` names.
            bidirectional, merge, skip, stacked: how layers are joined; see
                `lstm_jax.Stack`.
            input_dropout, dropout, output_dropout, weight_drop: dropout rates in
                training; see `lstm_jax.Stack`.
            locked: variational dropout, one mask for all steps.
            time_major, return_carry, trainable_carry, dtype, param_dtype,
                implementation, deterministic, keep_rngs: as in `Recurrent`.
            w_x, w_h, forget_bias: as in `lstm_jax.init_lstm`. An initialiser of
                ``nnx.with_partitioning`` puts its sharding on the parameter.
            rngs: source of keys.

        Raises:
            ValueError: ``num_layers`` is less than 1, ``dropout`` with one layer, a
                rate not in ``[0, 1)``, or as `lstm_jax.Stack`.
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
        super().__init__(
            stack,
            in_size,
            time_major=time_major,
            return_carry=return_carry,
            trainable_carry=trainable_carry,
            dtype=dtype,
            param_dtype=param_dtype,
            implementation=implementation,
            w_x=w_x,
            w_h=w_h,
            forget_bias=forget_bias,
            deterministic=deterministic,
            keep_rngs=keep_rngs,
            rngs=rngs,
        )
