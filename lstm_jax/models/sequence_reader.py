"""Recurrent layers with a linear readout."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from pydantic import NonNegativeInt, field_validator

from lstm_jax._types import Array, Float, Key
from lstm_jax.config import Count, Depth, config
from lstm_jax.core import init
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.cells.gru import GRUCell
from lstm_jax.core.cells.lstm import LSTMCell
from lstm_jax.core.cells.rnn import RNNCell
from lstm_jax.core.layers.stack import Stack
from lstm_jax.models.linear import Linear
from lstm_jax.nn import Recurrent
from lstm_jax.nn.module import Module
from lstm_jax.programs import pieces
from lstm_jax.programs.program import Program

CELLS: dict[str, Callable[[int], Cell]] = {
    "lstm": LSTMCell,
    "lstm_chrono": LSTMCell,
    "gru": GRUCell,
    "rnn": RNNCell,
}


@config
class SequenceReaderConfig:
    """Cells and sizes of the recurrent layers."""

    cell: Literal["lstm", "lstm_chrono", "gru", "rnn"] = "lstm"
    """The cell; `lstm_chrono` initialises the gate biases for long dependencies (Tallec
    & Ollivier 2018)."""
    chrono_steps: NonNegativeInt = 0
    """The longest dependency for `lstm_chrono`, 2 or more; 0 uses the length of the
    sequences. Other cells ignore it."""
    hidden_size: Count = 128
    """Units of a layer."""
    num_layers: Depth = 1
    """Number of layers."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The compute dtype of the layers. Parameters and cell states are float32."""

    @field_validator("chrono_steps")
    @classmethod
    def _is_a_dependency(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 2 or more, or 0 for the length of the sequences")
        return value

    def build(
        self, in_size: int, out_size: int, steps: int, rngs: nnx.Rngs
    ) -> "SequenceReader":
        """Builds the model, for sequences of ``steps`` steps."""
        chrono = init.chrono(self.chrono_steps or max(steps, 2))
        return SequenceReader(
            Stack([CELLS[self.cell](self.hidden_size)] * self.num_layers),
            in_size,
            out_size,
            dtype=jnp.dtype(self.dtype),
            forget_bias=chrono if self.cell == "lstm_chrono" else None,
            rngs=rngs,
        )


class SequenceReader(Module):
    """Recurrent layers, and a linear readout of every step or of the last.

    Time-major.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax import GRUCell, Stack
    >>> from lstm_jax.models.sequence_reader import SequenceReader
    >>> model = SequenceReader(Stack([GRUCell(8)]), 3, 2, rngs=nnx.Rngs(0))
    >>> model(jnp.zeros((7, 4, 3))).shape, model.last(jnp.zeros((7, 4, 3))).shape
    ((7, 4, 2), (4, 2))
    """

    def __init__(
        self,
        stack: Stack,
        in_size: int,
        out_size: int,
        *,
        dtype: Any = jnp.float32,
        forget_bias: init.ForgetBias | None = None,
        rngs: nnx.Rngs,
    ):
        self.layers = Recurrent(
            stack,
            in_size,
            time_major=True,
            return_carry=True,
            dtype=dtype,
            forget_bias=forget_bias,
            rngs=rngs,
        )
        # The readout is small and has long sums, so it stays in float32.
        self.head = Linear(stack.cells[-1].out_size, out_size, rngs=rngs)

    def __call__(
        self,
        xs: Float[Array, "T *B D"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "T *B O"]:
        """An output for every step; ``key`` and ``deterministic`` as in
        `lstm_jax.nn.Recurrent`.
        """
        _, hs = self.layers(xs, key=key, deterministic=deterministic)
        return self.head(hs.astype(jnp.float32))

    def last(
        self,
        xs: Float[Array, "T *B D"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "*B O"]:
        """The output after the last step; arguments as in a call."""
        carries, _ = self.layers(xs, key=key, deterministic=deterministic)
        return self.head(carries[-1].h.astype(jnp.float32))

    def program(
        self,
        *,
        batch_first: bool = False,
        lengths: bool = True,
        carry: bool = True,
    ) -> Program:
        """The model for export, with an output for every step; the arguments are those
        of `lstm_jax.interop.Program`.
        """
        bias = self.head.bias
        assert bias is not None
        chain = [
            pieces.Layers(self.layers.stack, self.layers.params),
            pieces.Linear(self.head.kernel[...], bias[...]),
        ]
        return Program(chain, batch_first=batch_first, lengths=lengths, carry=carry)
