"""The LSTM as Flax NNX modules: parameters and axes here, the mathematics in `ops`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.bidirectional import Bidirectional
from lstm_jax.core.checks import check_rate
from lstm_jax.core.lstm import LSTMCarry, LSTMParams, init_lstm, lstm_step
from lstm_jax.core.weight_drop import weight_drop
from lstm_jax.ops import lstm_stack


class LSTMCell(nnx.Module):
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
        self.w_x = nnx.Param(params.w_x)
        self.w_h = nnx.Param(params.w_h)
        self.b = nnx.Param(params.b)
        self.dtype = dtype

    @property
    def params(self) -> LSTMParams:
        """The weights as the pure functions take them."""
        return LSTMParams(self.w_x[...], self.w_h[...], self.b[...])

    def __call__(
        self, carry: LSTMCarry | None, x: Float[Array, "*B D"]
    ) -> tuple[LSTMCarry, Float[Array, "*B H"]]:
        """One step; ``carry=None`` is zeros. Raises as `lstm_jax.lstm_step`."""
        return lstm_step(
            self.params, carry, x if self.dtype is None else x.astype(self.dtype)
        )


class LSTM(nnx.Module):
    """A stack of LSTM layers, in one direction or in two, batch-first by default.

    Same numbers as `lstm_jax.lstm_stack`. The module holds parameters and nothing else,
    so plain ``jax.jit`` and ``jax.grad`` over ``nnx.split``/``nnx.merge`` are enough.

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
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        time_major: bool = False,
        return_carry: bool = False,
        w_x: init.Initializer = init.glorot,
        w_h: init.Initializer = init.orthogonal,
        forget_bias: init.ForgetBias = 1.0,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        implementation: str | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            in_size, hidden_size: ``D`` and ``H``.
            num_layers: layers on top of each other.
            bidirectional: run every layer in both directions; outputs have ``2H``
                features, forward first.
            dropout: share of the values zeroed between layers, if the call has a key.
            weight_drop: share of the recurrent weights zeroed, likewise.
            time_major: inputs and outputs are ``[T, ..., D]``, not ``[..., T, D]``.
            return_carry: the call returns ``(carries, hs)`` instead of ``hs``.
            w_x, w_h, forget_bias: as in `lstm_jax.init_lstm`.
            dtype: compute dtype, by default that of the input.
            param_dtype: dtype of the parameters.
            implementation: as in `lstm_jax.lstm`.
            rngs: source of keys.

        Raises:
            ValueError: ``num_layers`` is less than 1, or a rate not in ``[0, 1)``.
        """
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}, expected 1 or more.")
        for name, rate in (("dropout", dropout), ("weight_drop", weight_drop)):
            check_rate(name, rate)

        def cell(layer):
            features = hidden_size * (2 if bidirectional else 1)
            return LSTMCell(
                features if layer else in_size,
                hidden_size,
                w_x=w_x,
                w_h=w_h,
                forget_bias=forget_bias,
                param_dtype=param_dtype,
                rngs=rngs,
            )

        self.forward = nnx.List([cell(layer) for layer in range(num_layers)])
        self.backward = nnx.List(
            [cell(layer) for layer in range(num_layers)] if bidirectional else []
        )
        self.dropout = dropout
        self.weight_drop = weight_drop
        self.time_major = time_major
        self.return_carry = return_carry
        self.dtype = dtype
        self.implementation = implementation

    @property
    def params(self) -> tuple[LSTMParams | Bidirectional, ...]:
        """The weights as `lstm_jax.lstm_stack` takes them, one entry a layer."""
        forward = [cell.params for cell in self.forward]
        if not self.backward:
            return tuple(forward)
        backward = [cell.params for cell in self.backward]
        return tuple(map(Bidirectional, forward, backward))

    def __call__(
        self,
        xs: Float[Array, "*B T D"],
        carry: tuple | None = None,
        *,
        lengths: Lengths | None = None,
        mask: Bool[Array, "*B T"] | None = None,
        resets: Bool[Array, "*B T"] | None = None,
        reset_carry: tuple | None = None,
        key: Key[Array, ""] | None = None,
        start: int | Array = 0,
    ) -> Any:
        """Runs the stack over ``xs``.

        Args:
            xs: inputs ``[..., T, D]`` (``[T, ..., D]`` if ``time_major``), with any
                number of batch axes, none included.
            carry: one entry a layer: ``LSTMCarry``, or ``Bidirectional`` of two;
                ``None`` is zeros.
            lengths, mask, resets: as in `lstm_jax.lstm`; the axes of ``mask`` and
                ``resets`` stand in the order of those of ``xs``.
            reset_carry: one entry a layer; ``None`` is zeros.
            key: key of the masks; ``None`` switches dropout and weight drop off.
            start: absolute step of the first input, if the sequence comes in pieces.

        Returns:
            ``hs``, ``[..., T, H]`` (``2H`` if bidirectional), or ``(carries, hs)``.

        Raises:
            TypeError, ValueError: as `lstm_jax.lstm`.
        """
        flags_first = lambda a: None if a is None else self._time_first(a, -1)
        params = self.params
        if key is not None and self.weight_drop > 0.0:
            params = weight_drop(jax.random.split(key)[1], params, self.weight_drop)
        carries, hs = lstm_stack(
            params,
            carry,
            self._time_first(xs, -2),
            lengths=lengths,
            mask=flags_first(mask),
            resets=flags_first(resets),
            reset_carries=reset_carry,
            dtype=self.dtype,
            dropout_rate=self.dropout,
            key=None if key is None else jax.random.split(key)[0],
            start=start,
            implementation=self.implementation,
        )
        hs = hs if self.time_major else jnp.moveaxis(hs, 0, -2)
        return (carries, hs) if self.return_carry else hs

    def _time_first(self, a, axis):
        return a if self.time_major else jnp.moveaxis(jnp.asarray(a), axis, 0)
