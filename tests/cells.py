"""The table of cells under test, inputs for them, and tolerances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import (
    Activation,
    Activations,
    CIFGLSTMCell,
    ConvLSTMCell,
    GRUCell,
    LayerNormLSTMCell,
    LSTMCell,
    LSTMPCell,
    MinLSTMCell,
    MogrifierLSTMCell,
    MultiplicativeLSTMCell,
    PeepholeLSTMCell,
    ResetBeforeGRUCell,
    RNNCell,
    SLSTMCarry,
    SLSTMCell,
    unroll,
)
from tests.shapes import LENGTHS, SPACE, B, D, H, T

MECHANISMS = {
    "lstm": LSTMCell(H),
    "rnn": RNNCell(H),
    "peephole": PeepholeLSTMCell(H),
    "projected": LSTMPCell(H, 2, projection_bias=True),
    "gru": ResetBeforeGRUCell(H),
    "convolution": ConvLSTMCell(H, kernel=(2,)),
}
"""Together these use all of the ``dot`` contract: parameters read elementwise, two
products in one step, products that are not simply added to ``gx``, one of them with an
operand made inside the step, and a product that is no matrix product."""

CELLS = MECHANISMS | {
    "gru, reset after": GRUCell(H),
    "cifg": CIFGLSTMCell(H),
    "layer norm": LayerNormLSTMCell(H),
    "activations and clips": PeepholeLSTMCell(
        H,
        Activations(
            "hard_sigmoid", "softsign", Activation("elu", 0.5), clip=1.0, cell_clip=0.6
        ),
    ),
    "mogrifier": MogrifierLSTMCell(H, rounds=3, rank=2),
    "multiplicative": MultiplicativeLSTMCell(H),
    "slstm": SLSTMCell(2 * H, heads=2),
    "min lstm": MinLSTMCell(H),
}

VALID = {SLSTMCarry: lambda carry: carry._replace(n=jnp.exp(carry.n))}
"""From any numbers to a state that can occur, for carries that need it."""


class Case(NamedTuple):
    """What a loss is differentiated by."""

    params: tuple
    carry: tuple
    reset_carry: tuple
    xs: jax.Array


class Flags(NamedTuple):
    """What it is not."""

    mask: jax.Array | None = None
    resets: jax.Array | None = None


NO_FLAGS = Flags()


def draw(tree, seed, scale=0.5, dtype=None):
    """``tree`` with every leaf, biases included, replaced by random numbers."""
    rng = np.random.default_rng(seed)
    new = lambda x: jnp.asarray(rng.normal(0, scale, x.shape), dtype or x.dtype)
    return jax.tree.map(new, tree)


def make_case(cell, dtype=jnp.float64, *, seed=0, steps=T, batch=(B,), in_size=D):
    """Random parameters, carries and inputs."""
    params = jax.eval_shape(lambda key: cell.init(key, in_size), jax.random.key(0))
    places = (*batch, *SPACE[: cell.feature_axes - 1])
    carry = jax.eval_shape(lambda: cell.zero_carry(places, dtype))
    xs = jax.ShapeDtypeStruct((steps, *places, in_size), dtype)
    valid = VALID.get(type(carry), lambda carry: carry)
    return Case(
        draw(params, seed, dtype=dtype),
        valid(draw(carry, seed + 1)),
        valid(draw(carry, seed + 2)),
        draw(xs, seed + 3, scale=1.0),
    )


def length_mask(lengths=LENGTHS, steps=T):
    return np.arange(steps)[:, None] < np.asarray(lengths)


def make_flags(steps=T, rows=B, seed=0):
    """A row of length 0, one of length 1, holes inside; resets also where masked."""
    rng = np.random.default_rng(seed)
    lengths = [0, 1, *[steps] * (rows - 2)]
    mask = length_mask(lengths, steps) & (rng.random((steps, rows)) < 0.75)
    resets = rng.random((steps, rows)) < 0.4
    mask[0, 1] = True
    assert (resets & ~mask).any()
    assert (resets & mask).any()
    return Flags(mask, resets)


TOLERANCES = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-2}


def tolerance(dtype, steps=T):
    """Relative error allowed after ``steps`` steps; rounding errors add up slowly."""
    return TOLERANCES[jnp.dtype(dtype).name] * max(1.0, steps / 8) ** 0.5


DERIVATIVES = 1e-10
"""Relative error allowed between two ways to the same float64 derivative."""


QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""``compiler_options`` that halve the time of compiling large derivatives."""


def assert_close(got, want, rtol):
    """Every leaf within ``rtol`` of the largest magnitude in it; same structure."""
    got_leaves, got_tree = jax.tree.flatten(got)
    want_leaves, want_tree = jax.tree.flatten(want)
    assert len(got_leaves) == len(want_leaves), f"{got_tree} is not {want_tree}"
    for g, w in zip(got_leaves, want_leaves, strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        assert g.shape == w.shape, f"shape {g.shape} is not {w.shape}"
        scale = np.abs(w).max(initial=0.0)
        np.testing.assert_allclose(g, w, rtol=0, atol=rtol * scale + 1e-300)


def largest_error(got, want):
    """The largest difference in any leaf, taken in float64."""
    pairs = zip(*map(jax.tree.leaves, (got, want)), strict=True)
    exact = lambda x: np.asarray(x, np.float64)
    return max(np.abs(exact(g) - exact(w)).max() for g, w in pairs)


def run(cell, at, flags=NO_FLAGS, *, plain=False, implementation="scan", **options):
    """`unroll` of a case, by the scan unless another implementation is named."""
    return unroll(
        cell,
        at.params,
        at.carry,
        at.xs,
        mask=flags.mask,
        resets=flags.resets,
        reset_carry=at.reset_carry if flags.resets is not None else None,
        implementation="plain" if plain else implementation,
        **options,
    )


def scalar(outputs):
    """A loss that feels every output, differently at each, and bends."""

    def weigh(x):
        return jnp.sum(jnp.sin(x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape)))

    return sum(map(weigh, jax.tree.leaves(outputs)))


def loss(cell, at, flags=NO_FLAGS, **options):
    return scalar(run(cell, at, flags, **options))
