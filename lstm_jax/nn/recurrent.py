"""Any stack of recurrent layers as a Flax NNX module."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core.stack import Stack
from lstm_jax.nn.weights import StackWeights
from lstm_jax.ops import run_stack


class Recurrent(nnx.Module):
    """A `lstm_jax.Stack` of any cells with its parameters, batch-first by default.

    Same numbers as the stack. The module holds parameters and nothing else, so plain
    ``jax.jit`` and ``jax.grad`` over ``nnx.split``/``nnx.merge`` are enough.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax import PeepholeLSTMCell, Stack
    >>> from lstm_jax.nn import Recurrent
    >>> stack = Stack([PeepholeLSTMCell(5)] * 2, skip="residual")
    >>> model = Recurrent(stack, in_size=3, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4])).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        stack: Stack,
        in_size: int,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        trainable_carry: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        implementation: str | None = None,
        rngs: nnx.Rngs,
        **init: Any,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            stack: cells and how they are joined.
            in_size: ``D``, features of an input.
            time_major: inputs and outputs are ``[T, ..., D]``, not ``[..., T, D]``.
            return_carry: the call returns ``(carries, hs)`` instead of ``hs``.
            trainable_carry: the state that stands for ``None``, at the start and after
                a reset, is a parameter; see `lstm_jax.Stack.initial_carry`.
            dtype: compute dtype, by default that of the input.
            param_dtype: dtype of the parameters.
            implementation: as in `lstm_jax.lstm`.
            rngs: source of keys.
            **init: as in the ``init`` of the cells.
        """
        self.stack = stack
        params = stack.init(rngs.params(), in_size, dtype=param_dtype, **init)
        self.weights = StackWeights(params)
        carry = stack.initial_carry(in_size, param_dtype) if trainable_carry else None
        self.initial = StackWeights(carry) if carry else None
        self.time_major = time_major
        self.return_carry = return_carry
        self.dtype = dtype
        self.implementation = implementation

    @property
    def params(self) -> tuple[Any, ...]:
        """The weights as the stack takes them, one entry a layer."""
        return self.weights.entries

    def __call__(
        self,
        xs: Float[Array, "*B T D"],
        carry: tuple | None = None,
        *,
        lengths: Lengths | None = None,
        mask: Bool[Array, "*B T"] | None = None,
        resets: Bool[Array, "*B T"] | None = None,
        reset_carry: tuple | None = None,
        reverse: bool = False,
        key: Key[Array, ""] | None = None,
        start: int | Array = 0,
        remat: bool | int | None = None,
    ) -> Any:
        """Runs the stack over ``xs``.

        Args:
            xs: inputs ``[..., T, D]`` (``[T, ..., D]`` if ``time_major``), with any
                number of batch axes, none included.
            carry: one entry a layer: the cell's carry, or ``Bidirectional`` of two;
                ``None`` is zeros, or the trained carry.
            lengths, mask, resets: as in `lstm_jax.lstm`; the axes of ``mask`` and
                ``resets`` stand in the order of those of ``xs``.
            reset_carry: one entry a layer; ``None`` is zeros, or the trained carry.
            reverse: from the last step to the first; not with two directions.
            key: key of the masks; ``None`` is evaluation.
            start: absolute step of the first input, if the sequence comes in pieces.
            remat: as in `lstm_jax.unroll`.

        Returns:
            ``hs``, ``[..., T, H]`` (``2H`` if two directions are side by side), or
            ``(carries, hs)``.

        Raises:
            TypeError, ValueError: as `lstm_jax.lstm`.
        """
        if self.initial is not None:
            carry = carry or self.initial.entries
            if resets is not None:
                reset_carry = reset_carry or self.initial.entries
        carries, hs = run_stack(
            self.stack,
            self.params,
            carry,
            xs,
            lengths=lengths,
            mask=mask,
            resets=resets,
            reset_carries=reset_carry,
            reverse=reverse,
            key=key,
            start=start,
            remat=remat,
            dtype=self.dtype,
            time_major=self.time_major,
            implementation=self.implementation,
        )
        return (carries, hs) if self.return_carry else hs
