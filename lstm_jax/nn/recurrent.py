"""Any stack of recurrent layers as a Flax NNX module."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.arguments import check_bool, check_key
from lstm_jax.core.cells.contract import init_options_of
from lstm_jax.core.layers.stack import Stack
from lstm_jax.nn.weights import AssignsParams, StackWeights, boxes
from lstm_jax.ops import missing_key, run_stack


class Recurrent(AssignsParams):
    """A `lstm_jax.Stack` of any cells with its parameters, batch-first by default.

    Same numbers as the stack. Unless ``keep_rngs`` is True the module holds parameters
    and nothing else, so plain ``jax.jit`` and ``jax.grad`` over ``nnx.split`` and
    ``nnx.merge`` are enough.

    With dropout (``dropout``, ``weight_drop``, `lstm_jax.Zoneout`, ...), a call trains
    by default and needs a key: ``key=``, ``rngs=``, or ``keep_rngs=True``. Without a
    key it raises ValueError. To evaluate, call ``model.eval()`` or pass
    ``deterministic=True``.

    Attributes:
        stack: the cells and how they are joined.
        params: the weights as the stack takes them. Assign to it to put in others,
            converted or restored.
        deterministic: whether calls are evaluation; ``model.train()`` and
            ``model.eval()`` set it.

    Raises:
        TypeError, ValueError: the stack, a size or an option is not as described.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax import PeepholeLSTMCell, Stack
    >>> from lstm_jax.nn import Recurrent
    >>> stack = Stack([PeepholeLSTMCell(5)] * 2, skip="residual", dropout=0.5)
    >>> model = Recurrent(stack, in_size=3, rngs=nnx.Rngs(0))
    >>> xs = jnp.ones((2, 7, 3))
    >>> model(xs, key=jax.random.key(1)).shape  # training
    (2, 7, 5)
    >>> model.eval()
    >>> model(xs, lengths=jnp.array([7, 4])).shape
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
        w_x: init.Initializer | None = None,
        w_h: init.Initializer | None = None,
        forget_bias: init.ForgetBias | None = None,
        init_options: Mapping[str, Any] | None = None,
        deterministic: bool = False,
        keep_rngs: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draws the weights from ``rngs.params()``.

        Args:
            stack: cells and how they are joined.
            in_size: ``D``, features of an input.
            time_major: inputs and outputs are ``[T, ..., D]``, not ``[..., T, D]``.
            return_carry: the call returns ``(carries, hs)`` instead of ``hs``.
            trainable_carry: the initial carry and the carry after a reset are
                parameters; see `lstm_jax.Stack.initial_carry`.
            dtype: compute dtype, by default that of the input.
            param_dtype: dtype of the parameters.
            implementation: as in `lstm_jax.lstm`.
            w_x, w_h, forget_bias: as in `lstm_jax.init_lstm`; ``None`` is what the
                cells begin with. An initialiser of ``nnx.with_partitioning`` puts its
                sharding on the parameter.
            init_options: other arguments of the ``init`` of the cells, such as
                ``{"w_hr": ...}``.
            deterministic: whether calls are evaluation until ``model.train()``.
            keep_rngs: keep a stream of keys, a fork of ``rngs.dropout``, for the masks
                of calls without ``key`` and ``rngs``. This is state beside the
                parameters: take them apart with ``nnx.split(model, nnx.Param, ...)``.
            rngs: source of keys.
        """
        self.stack = stack
        found = boxes()
        options = init_options_of(
            init_options, w_x=w_x, w_h=w_h, forget_bias=forget_bias
        )
        params = stack.init(
            rngs.params(),
            in_size,
            dtype=param_dtype,
            init_options=found.without(options),
        )
        self.weights = StackWeights(params, found.of)
        carry = stack.initial_carry(in_size, param_dtype) if trainable_carry else None
        self.initial = None if carry is None else StackWeights(carry)
        self.time_major = check_bool("time_major", time_major)
        self.return_carry = check_bool("return_carry", return_carry)
        self.dtype = dtype
        self.implementation = implementation
        self.deterministic = check_bool("deterministic", deterministic)
        keep = check_bool("keep_rngs", keep_rngs) and stack.is_random
        self.rngs = _dropout_stream(rngs).fork() if keep else nnx.data(None)

    @property
    def params(self) -> tuple[Any, ...]:
        """The weights as the stack takes them, one entry per layer.

        Assigning replaces the values, which keep the dtype of the parameters.
        ValueError or TypeError where names or shapes differ.

        >>> import jax
        >>> from flax import nnx
        >>> from lstm_jax import init_lstm_stack
        >>> from lstm_jax.nn import LSTM
        >>> model = LSTM(3, 5, num_layers=2, rngs=nnx.Rngs(0))
        >>> model.params = init_lstm_stack(jax.random.key(1), 3, 5, num_layers=2)
        """
        return self.weights.entries

    @params.setter
    def params(self, params: Sequence[Any]) -> None:
        self.weights.assign(params)

    def __call__(
        self,
        xs: Float[Array, "*B T D"],
        carry: Sequence[Any] | None = None,
        *,
        lengths: Lengths | None = None,
        mask: Bool[Array, "*B T"] | None = None,
        resets: Bool[Array, "*B T"] | None = None,
        reset_carry: Sequence[Any] | None = None,
        reverse: bool = False,
        deterministic: bool | None = None,
        key: Key[Array, ""] | None = None,
        rngs: nnx.Rngs | nnx.RngStream | Array | None = None,
        start: int | Array = 0,
        remat: bool | int | None = None,
    ) -> Any:
        """Runs the stack over ``xs``.

        Args:
            xs: inputs ``[..., T, D]`` (``[T, ..., D]`` if ``time_major``), with any
                number of batch axes, none included.
            carry: one entry per layer: the cell's carry, or ``Bidirectional`` of two;
                ``None`` is zeros, or the trained carry.
            lengths, mask, resets: as in `lstm_jax.lstm`, but ``mask`` and ``resets``
                have the axis order of ``xs``. If ``B = T``, a wrong order raises no
                error.
            reset_carry: one entry per layer; ``None`` is zeros, or the trained carry.
            reverse: from the last step to the first; not with two directions.
            deterministic: True is evaluation, False training; ``None`` takes
                ``model.deterministic``.
            key: key of the masks in training; evaluation makes no use of it.
            rngs: instead of ``key``, what its ``dropout`` stream gives.
            start: absolute step of the first input, if the sequence comes in pieces
                with the same ``key``.
            remat: as in `lstm_jax.unroll`.

        Returns:
            ``hs``, ``[..., T, H]`` (``2H`` if two directions are side by side), or
            ``(carries, hs)``.

        Raises:
            TypeError, ValueError: as `lstm_jax.lstm`; training without a key where
                something is dropped.
        """
        if self.initial is not None:
            initial = self.initial.entries
            carry = initial if carry is None else carry
            if resets is not None and reset_carry is None:
                reset_carry = initial
        carries, hs = run_stack(
            self.stack,
            self.params,
            carry,
            xs,
            lengths=lengths,
            mask=mask,
            resets=resets,
            reset_carry=reset_carry,
            reverse=reverse,
            key=self._key(key, rngs, deterministic),
            start=start,
            remat=remat,
            dtype=self.dtype,
            time_major=self.time_major,
            implementation=self.implementation,
        )
        return (carries, hs) if self.return_carry else hs

    def _key(self, key, rngs, deterministic):
        """The key of the masks of a call; ``None`` is evaluation."""
        if key is not None and rngs is not None:
            raise ValueError("key and rngs are both given, expected one of them.")
        deterministic = self.deterministic if deterministic is None else deterministic
        if check_bool("deterministic", deterministic):
            return None
        if key is not None or not self.stack.is_random:
            return check_key(key)
        source = self.rngs if rngs is None else rngs
        if source is None:
            raise missing_key(
                self.stack.regularisers,
                "pass key=jax.random.key(seed) or rngs=nnx.Rngs(dropout=seed) to "
                "train, or deterministic=True to evaluate, once for all with "
                "model.eval()",
            )
        if isinstance(source, nnx.Rngs):
            return check_key(_dropout_stream(source)())
        if isinstance(source, nnx.RngStream):
            return check_key(source())
        if isinstance(source, jax.Array | np.ndarray):
            return check_key(source)
        raise TypeError(
            f"rngs is {type(source).__name__}, expected nnx.Rngs, nnx.RngStream or a "
            f"key, jax.random.key(seed)."
        )

    def set_view(self, deterministic: bool | None = None) -> None:
        """For ``nnx.view(model, deterministic=...)``."""
        if deterministic is not None:
            self.deterministic = deterministic


def _dropout_stream(rngs):
    try:
        return rngs["dropout"]
    except KeyError as error:
        raise ValueError(
            "rngs has no stream dropout; pass nnx.Rngs(dropout=seed) or nnx.Rngs(seed)."
        ) from error
