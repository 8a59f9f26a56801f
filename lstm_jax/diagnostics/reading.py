"""What the recurrent layers of a Flax model read, so that they can be traced."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.core import Tracer

from lstm_jax.core.layers.stack import Stack
from lstm_jax.diagnostics.trace import trace_stack
from lstm_jax.nn import Recurrent


class Reading(NamedTuple):
    """One call of a stack inside a model."""

    name: str
    """Where the layers are in the model, such as ``"encoder.layers"``; a second call
    of them is ``"encoder.layers#2"``."""
    stack: Stack
    params: Any
    carries: Any
    xs: Any
    """What the first layer reads, ``[T, ..., D]``."""
    options: dict[str, Any]
    """Lengths, masks, resets, direction and dtype of the call."""

    def trace(self) -> tuple[Any, ...]:
        """Gates and states of every layer; see `trace_stack`."""
        return trace_stack(
            self.stack, self.params, self.carries, self.xs, **self.options
        )


def readings(model: nnx.Module, call: Callable[[Any], Any]) -> list[Reading]:
    """Runs a model and returns what each of its `lstm_jax.nn.Recurrent` layers read.

    Args:
        model: a Flax NNX module that contains `lstm_jax.nn.LSTM` or
            `lstm_jax.nn.Recurrent` modules. It is not changed.
        call: runs the model that it is given, in evaluation and outside of ``jit``,
            such as ``lambda model: model(xs)``.

    Returns:
        A `Reading` for every call of such a module, in order.

    Raises:
        ValueError: the layers run inside a transformation such as ``jax.jit``, so
            their inputs are not known, or no such layer is called.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from lstm_jax.diagnostics import readings
    >>> from lstm_jax.nn import LSTM
    >>> model = LSTM(3, 5, num_layers=2, rngs=nnx.Rngs(0))
    >>> (found,) = readings(model, lambda model: model(jnp.ones((2, 7, 3))))
    >>> bottom, top = found.trace()
    >>> top.gates["f"].shape
    (7, 2, 5)
    """
    model, found = nnx.clone(model), []
    for path, module in nnx.iter_graph(model):
        if isinstance(module, Recurrent):
            name = ".".join(map(str, path)) or type(module).__name__.lower()
            fields = dataclasses.fields(Stack)
            own = {f.name: getattr(module.stack, f.name) for f in fields}
            module.stack = _Recorded(**own, of=module.stack, name=name, found=found)
    call(model)
    if not found:
        raise ValueError(
            f"the call ran no Recurrent layer of {type(model).__name__}, expected a "
            f"model with lstm_jax.nn.LSTM or lstm_jax.nn.Recurrent, and a call of it."
        )
    return found


@dataclasses.dataclass(frozen=True)
class _Recorded(Stack):
    """A stack that notes its calls."""

    of: Any = dataclasses.field(default=None, compare=False)
    name: str = dataclasses.field(default="", compare=False)
    found: Any = dataclasses.field(default=None, compare=False)

    def __call__(self, params, carries, xs, **options):
        if any(isinstance(a, Tracer) for a in jax.tree.leaves(xs)):
            raise ValueError(
                f"the layers {self.name} run inside a transformation such as jax.jit, "
                f"so their inputs are not known; call the model outside of it."
            )
        kept = ("lengths", "mask", "resets", "reset_carry", "reverse", "dtype")
        shown = {name: options[name] for name in kept if name in options}
        calls = sum(one.name.partition("#")[0] == self.name for one in self.found)
        name = f"{self.name}#{calls + 1}" if calls else self.name
        self.found.append(Reading(name, self.of, params, carries, xs, shown))
        return self.of(params, carries, xs, **options)
