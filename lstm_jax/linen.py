"""The same stacks as Flax Linen modules: parameters and keys here, nothing else.

``variables["params"]["layers"]`` is the tuple that `lstm_jax.lstm_stack` takes, and
that ``lstm_jax.nn.LSTM.params`` returns.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from lstm_jax._types import Array, Float, Key
from lstm_jax.core.bidirectional import Merge
from lstm_jax.core.stack import Skip, Stack
from lstm_jax.ops import lstm_cells, run_stack

__all__ = ["LSTM", "Recurrent"]


class _Layers(nn.Module, kw_only=True):
    """What both modules share; a subclass says which stack it is."""

    time_major: bool = False
    return_carry: bool = False
    trainable_carry: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32
    implementation: str | None = None
    init_options: Any = None
    """Arguments of the ``init`` of the cells, as a mapping."""

    def as_stack(self) -> Stack:
        """The stack that a call runs."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "*B T D"],
        carry: tuple | None = None,
        *,
        key: Key[Array, ""] | None = None,
        reset_carry: tuple | None = None,
        **sequence: Any,
    ) -> Any:
        """As a call of `lstm_jax.nn.Recurrent`.

        Without ``key`` the masks come from ``rngs={"dropout": key}``; without that too,
        the call is evaluation.
        """
        stack, xs = self.as_stack(), jnp.asarray(xs)
        options = {"dtype": self.param_dtype, **(self.init_options or {})}
        params = self.param("layers", lambda k: stack.init(k, xs.shape[-1], **options))
        if self.trainable_carry:
            initial = self.param(
                "carry", lambda _: stack.initial_carry(xs.shape[-1], self.param_dtype)
            )
            carry = carry or initial
            if sequence.get("resets") is not None:
                reset_carry = reset_carry or initial
        if key is None and self.has_rng("dropout"):
            key = self.make_rng("dropout")
        carries, hs = run_stack(
            stack,
            params,
            carry,
            xs,
            reset_carries=reset_carry,
            key=key,
            dtype=self.dtype,
            time_major=self.time_major,
            implementation=self.implementation,
            **sequence,
        )
        return (carries, hs) if self.return_carry else hs


class Recurrent(_Layers, kw_only=True):
    """A `lstm_jax.Stack` of any cells; fields as in `lstm_jax.nn.Recurrent`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import GRUCell, Stack
    >>> from lstm_jax.linen import Recurrent
    >>> model = Recurrent(stack=Stack([GRUCell(5)]))
    >>> xs = jnp.ones((2, 7, 3))
    >>> variables = model.init(jax.random.key(0), xs)
    >>> model.apply(variables, xs, lengths=jnp.array([7, 4])).shape
    (2, 7, 5)
    """

    stack: Stack

    def as_stack(self) -> Stack:
        """The stack that a call runs."""
        return self.stack


class LSTM(_Layers, kw_only=True):
    """A stack of LSTM layers; fields as in `lstm_jax.nn.LSTM`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.linen import LSTM
    >>> model = LSTM(hidden_size=5, num_layers=2, bidirectional=True)
    >>> xs = jnp.ones((2, 7, 3))
    >>> variables = model.init(jax.random.key(0), xs)
    >>> model.apply(variables, xs, lengths=jnp.array([7, 4])).shape
    (2, 7, 10)
    """

    hidden_size: int | Sequence[int]
    num_layers: int | None = None
    bidirectional: bool = False
    merge: Merge = "concat"
    skip: Skip | None = None
    input_dropout: float = 0.0
    dropout: float = 0.0
    output_dropout: float = 0.0
    locked: bool = False
    weight_drop: float = 0.0
    stacked: bool = False

    def as_stack(self) -> Stack:
        """The stack that a call runs."""
        return Stack(
            lstm_cells(self.hidden_size, self.num_layers),
            bidirectional=self.bidirectional,
            merge=self.merge,
            skip=self.skip,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            output_dropout=self.output_dropout,
            locked=self.locked,
            weight_drop=self.weight_drop,
            stacked=self.stacked,
        )
