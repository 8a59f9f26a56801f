"""The same stacks as Flax Linen modules: parameters and keys here, nothing else.

Parameters are nested dicts with the names of the fields of the cell's parameters:
``params["layers_0"]["w_x"]``, or ``params["layers_0"]["forward"]["w_x"]`` where there
are two directions.
`Recurrent.as_layers` converts them to the parameters of `lstm_jax.lstm_stack` and
``lstm_jax.nn.LSTM.params``. `Recurrent.as_variables` converts back.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.arguments import check_bool, check_key
from lstm_jax.core.boxes import Boxes
from lstm_jax.core.cells.checks import check_layers
from lstm_jax.core.cells.contract import init_options_of
from lstm_jax.core.layers.bidirectional import Merge
from lstm_jax.core.layers.stack import Skip, Stack
from lstm_jax.core.trees import from_dict, to_dict, unshared
from lstm_jax.ops import lstm_cells, missing_key, run_stack

__all__ = ["LSTM", "Recurrent"]


@functools.lru_cache
def _like(stack, in_size):
    """Parameters as the stack takes them: shapes alone."""
    return jax.eval_shape(lambda key: stack.init(key, in_size), jax.random.key(0))


def _unbox(value):
    if isinstance(value, nn.meta.AxisMetadata):
        return value.unbox(), value
    return value, None


def _in_box(box, value):
    """Axes that the initialiser did not name, those of layers or heads, come first."""
    if box is None:
        return value
    box = box.replace_boxed(value)
    for _ in range(value.ndim - len(getattr(box, "names", range(value.ndim)))):
        box = box.add_axis(0, {nn.PARTITION_NAME: None})
    return box


def _names(name, entries):
    return [f"{name}_{n}" for n in range(len(entries))]


class _Layers(nn.Module, kw_only=True):
    """What both modules share; a subclass says which stack it is."""

    time_major: bool = False
    return_carry: bool = False
    trainable_carry: bool = False
    deterministic: bool | None = None
    """Whether calls are evaluation; ``None`` leaves it to the call."""
    dtype: Any = None
    param_dtype: Any = jnp.float32
    implementation: str | None = None
    w_x: init.Initializer | None = None
    w_h: init.Initializer | None = None
    forget_bias: init.ForgetBias | None = None
    """``w_x``, ``w_h`` and ``forget_bias`` are as in `lstm_jax.init_lstm`; ``None``
    uses the defaults of the cells. An initialiser of ``nn.with_partitioning`` puts its
    box on the parameter."""
    init_options: Mapping[str, Any] | None = None
    """Other arguments of the ``init`` of the cells."""

    def __post_init__(self):
        # A module may be a static argument, and then it is hashed.
        if isinstance(self.init_options, Mapping):
            frozen = FrozenDict(self.init_options)
            object.__setattr__(self, "init_options", frozen)
        super().__post_init__()

    def as_stack(self) -> Stack:
        """The stack that a call runs."""
        raise NotImplementedError

    def as_layers(self, variables: Mapping[str, Any], in_size: int) -> tuple[Any, ...]:
        """The parameters in ``variables`` as the stack takes them, one entry per layer.

        ``in_size`` is ``D``, the features of an input.
        """
        if "params" not in variables:
            raise ValueError(
                f"variables has {', '.join(variables)}, expected params; pass what "
                f"init returns."
            )
        params = nn.meta.unbox(variables["params"])
        like = _like(self.as_stack(), in_size)
        if "layers" in params:  # one tuple, as in former versions
            return from_dict(params["layers"], like)
        return from_dict([params.get(name) for name in _names("layers", like)], like)

    def as_variables(
        self, layers: Sequence[Any], carry: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """The variables of these parameters, converted or of another module, and of a
        trained carry. The inverse of `as_layers`."""
        layers = check_layers("layers", layers)
        params = dict(zip(_names("layers", layers), map(to_dict, layers), strict=True))
        if carry is not None:
            params |= zip(_names("carry", carry), map(to_dict, carry), strict=True)
        return {"params": params}

    def _entries(self, name, draw, like, box_of=lambda field: None):
        """Parameters or trained carries as the stack takes them."""
        if self.has_variable("params", name):  # one tuple, as in former versions
            return from_dict(self._stored(name), like, name)
        drawn = []

        def new(key, n):
            drawn.extend([] if drawn else unshared(draw(key)))
            return to_dict(drawn[n], lambda field, a: _in_box(box_of(field), a))

        # Parameters that are there already are checked where the layer runs.
        entries = []
        for n, entry in enumerate(_names(name, like)):
            there = self.has_variable("params", entry)
            value = self._stored(entry) if there else self.param(entry, new, n)
            entries.append(from_dict(value, like[n], entry))
        return tuple(entries)

    def _stored(self, name):
        return nn.meta.unbox(self.get_variable("params", name))

    @nn.compact
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
        start: int | Array = 0,
        remat: bool | int | None = None,
    ) -> Any:
        """As a call of `lstm_jax.nn.Recurrent`.

        If the stack has dropout, pass ``deterministic=True`` (here or as a field) to
        evaluate, or a key to train: ``key=`` or ``rngs={"dropout": key}``. With
        neither, ``apply`` raises ValueError; ``init`` does not.
        """
        stack, xs = self.as_stack(), jnp.asarray(xs)
        in_size = xs.shape[-1]
        like = _like(stack, in_size)
        boxes = Boxes(_unbox)
        options = boxes.without(
            init_options_of(
                self.init_options,
                w_x=self.w_x,
                w_h=self.w_h,
                forget_bias=self.forget_bias,
            )
        )
        draw = lambda key: stack.init(
            key, in_size, dtype=self.param_dtype, init_options=options
        )
        params = self._entries("layers", draw, like, boxes.of)
        if self.trainable_carry:
            start_at = lambda _: stack.initial_carry(in_size, self.param_dtype)
            like = jax.eval_shape(start_at, None)
            initial = self._entries("carry", start_at, like)
            carry = initial if carry is None else carry
            if resets is not None and reset_carry is None:
                reset_carry = initial
        carries, hs = run_stack(
            stack,
            params,
            carry,
            xs,
            lengths=lengths,
            mask=mask,
            resets=resets,
            reset_carry=reset_carry,
            reverse=reverse,
            key=self._key(stack, key, deterministic),
            start=start,
            remat=remat,
            dtype=self.dtype,
            time_major=self.time_major,
            implementation=self.implementation,
        )
        return (carries, hs) if self.return_carry else hs

    def _key(self, stack, key, deterministic):
        """The key of the masks of a call; ``None`` is evaluation."""
        if deterministic is None:
            deterministic = self.deterministic
        if deterministic is not None and check_bool("deterministic", deterministic):
            return None
        if key is not None or not stack.is_random:
            return check_key(key)
        if self.has_rng("dropout"):
            return check_key(self.make_rng("dropout"))
        if deterministic is None and self.is_initializing():
            return None
        raise missing_key(
            stack.regularisers,
            "pass rngs={'dropout': jax.random.key(seed)} to apply to train, or "
            "deterministic=True to evaluate",
        )


class Recurrent(_Layers, kw_only=True):
    """A `lstm_jax.Stack` of any cells; fields as in `lstm_jax.nn.Recurrent`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import GRUCell, Stack
    >>> from lstm_jax.linen import Recurrent
    >>> model = Recurrent(stack=Stack([GRUCell(5)] * 2, dropout=0.5))
    >>> xs, key = jnp.ones((2, 7, 3)), jax.random.key(1)
    >>> variables = model.init(jax.random.key(0), xs)
    >>> list(variables["params"])
    ['layers_0', 'layers_1']
    >>> model.apply(variables, xs, rngs={"dropout": key}).shape  # training
    (2, 7, 5)
    >>> lengths = jnp.array([7, 4])
    >>> model.apply(variables, xs, lengths=lengths, deterministic=True).shape
    (2, 7, 5)
    """

    stack: Stack

    def as_stack(self) -> Stack:
        """The stack that a call runs."""
        return self.stack


class LSTM(_Layers, kw_only=True):
    """A stack of LSTM layers; fields as in `lstm_jax.nn.LSTM`.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import init_lstm_stack
    >>> from lstm_jax.linen import LSTM
    >>> model = LSTM(hidden_size=5, num_layers=2, bidirectional=True)
    >>> xs = jnp.ones((2, 7, 3))
    >>> variables = model.init(jax.random.key(0), xs)
    >>> variables["params"]["layers_1"]["backward"]["w_x"].shape
    (10, 20)
    >>> layers = init_lstm_stack(  # or those of another framework
    ...     jax.random.key(1), 3, 5, num_layers=2, bidirectional=True)
    >>> variables = model.as_variables(layers)
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

    def __post_init__(self):
        if isinstance(self.hidden_size, list):
            object.__setattr__(self, "hidden_size", tuple(self.hidden_size))
        super().__post_init__()

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
