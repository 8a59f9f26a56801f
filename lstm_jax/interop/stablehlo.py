"""A program as StableHLO: a file that JAX runs without the code of the model.

    exported = jax.export.deserialize(Path("model.jaxexport").read_bytes())
    outputs = exported.call({"tokens": tokens, ...})              # dicts by name
    outputs = exported.call(weights, {"tokens": tokens, ...})     # with gradients

The names are those of `Program`; ``exported.in_tree`` and ``exported.in_avals`` list
them. The file does not need this package: it runs with ``implementation="scan"`` and
contains none of our types or kernels. Like all JAX exports, it contains the names of
the source files that were traced.
"""

import importlib.util
from collections.abc import Sequence

import jax
import jax.export
import jax.numpy as jnp

from lstm_jax.core.arguments import check_choice
from lstm_jax.interop.errors import InteropError
from lstm_jax.programs.program import Exportable

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(
    program: Exportable,
    *,
    gradients: bool = False,
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """The program as serialized by ``jax.export``, for 1 or more steps and rows.

    Args:
        program: what to export.
        gradients: whether the file can be differentiated once, in reverse mode. Then
            the weights are its first argument, a dict like ``program.weights``.
            Otherwise the file contains the weights.
        platforms: the platforms it can run on: ``cpu``, ``cuda``, ``tpu``.

    Raises:
        ValueError: a platform is unknown, or the list is empty.
        ModuleNotFoundError: flatbuffers, which JAX needs to serialize, is not
            installed.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Stack
    >>> from lstm_jax.interop import Program, Layers, to_stablehlo
    >>> stack = Stack([LSTMCell(5)])
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> program = Program([Layers(stack, params)], lengths=False, carry=False)
    >>> exported = jax.export.deserialize(to_stablehlo(program))
    >>> exported.call({"inputs": jnp.ones((7, 2, 3))})["outputs"].shape
    (7, 2, 5)
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ModuleNotFoundError(
            "StableHLO needs flatbuffers: pip install 'lstm-jax[stablehlo]'.",
            name="flatbuffers",
        )
    for platform in platforms:
        check_choice("platform", platform, PLATFORMS)
    if not platforms:
        raise InteropError(f"platforms is empty, expected one or more of {PLATFORMS}.")

    def run(inputs):
        return program(inputs, implementation="scan")

    def run_with(weights, inputs):
        return program.with_weights(weights)(inputs, implementation="scan")

    of = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)
    arguments = [
        {name: of(a) for name, a in program.weights.items()},
        _symbolic(program),
    ]
    export = jax.export.export(
        jax.jit(run_with if gradients else run), platforms=platforms
    )
    exported = export(*arguments if gradients else arguments[1:])
    return bytes(exported.serialize(vjp_order=1 if gradients else 0))


def _symbolic(program):
    """The inputs, with symbolic numbers of steps and rows."""
    axes = {axis for spec in program.inputs for axis in spec.shape}
    names = sorted(axis for axis in axes if isinstance(axis, str))
    # Some functions know more of their axes, such as that one is a multiple of another.
    constraints = getattr(program, "constraints", ())
    symbols = jax.export.symbolic_shape(", ".join(names), constraints=constraints)
    sizes = dict(zip(names, symbols, strict=True))
    return {
        name: jax.ShapeDtypeStruct(
            tuple(sizes.get(axis, axis) for axis in shape), jnp.dtype(dtype)
        )
        for name, dtype, shape in program.inputs
    }
