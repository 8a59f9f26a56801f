"""The table of cells under test, inputs for them, and tolerances.

Beside the cells of the library stand three toys that use the rest of the ``dot``
contract: parameters read elementwise, two products in one step, and products that are
not simply added to ``gx``, one of them with an operand made inside the step.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import Cell, LSTMCell, RNNCell, unroll
from tests.shapes import LENGTHS, B, D, H, T


class PeepholeParams(NamedTuple):
    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array
    p_f: jax.Array
    p_o: jax.Array


class ProjectedParams(NamedTuple):
    w_x: jax.Array
    w_h: jax.Array
    w_hr: jax.Array
    b: jax.Array


class GRUParams(NamedTuple):
    w_x: jax.Array
    w_h: jax.Array
    w_n: jax.Array
    b: jax.Array


class HC(NamedTuple):
    h: jax.Array
    c: jax.Array


class Hidden(NamedTuple):
    h: jax.Array


class Toy(Cell):
    """Parameters as a table of shapes."""

    def init(self, key, in_size):
        shapes = self.shapes(in_size)
        keys = jax.random.split(key, len(shapes))
        draws = {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items())}
        return self.params_type(**draws)

    def project(self, params, x):
        return x @ params.w_x + jnp.broadcast_to(
            params.b, (*x.shape[:-1], params.b.shape[-1])
        )


@dataclasses.dataclass(frozen=True)
class PeepholeLSTM(Toy):
    """Gates that see the cell state through elementwise weights."""

    products = ("w_h",)
    elementwise = ("p_i", "p_f", "p_o")
    added = frozenset({"w_h"})
    params_type = PeepholeParams

    def shapes(self, in_size):
        H = self.hidden_size
        matrices = dict(w_x=(in_size, 4 * H), w_h=(H, 4 * H), b=(4 * H,))
        return matrices | dict(p_i=(H,), p_f=(H,), p_o=(H,))

    def step(self, params, carry, gx, dot):
        see = lambda p, c: jnp.broadcast_to(p, c.shape) * c
        i, f, g, o = jnp.split(gx + dot("w_h", carry.h), 4, axis=-1)
        i = jax.nn.sigmoid(i + see(params.p_i, carry.c))
        f = jax.nn.sigmoid(f + see(params.p_f, carry.c))
        c = f * carry.c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + see(params.p_o, c)) * jnp.tanh(c)
        return HC(h, c), h

    def zero_carry(self, batch_shape, dtype):
        zeros = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        return HC(zeros, zeros)


@dataclasses.dataclass(frozen=True)
class ProjectedLSTM(Toy):
    """Two products in a step; that of ``w_hr`` makes the output."""

    output_size: int = 2

    products = ("w_h", "w_hr")
    added = frozenset({"w_h"})
    params_type = ProjectedParams

    def shapes(self, in_size):
        H, P = self.hidden_size, self.output_size
        return dict(w_x=(in_size, 4 * H), w_h=(P, 4 * H), w_hr=(H, P), b=(4 * H,))

    def step(self, params, carry, gx, dot):
        i, f, g, o = jnp.split(gx + dot("w_h", carry.h), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = dot("w_hr", jax.nn.sigmoid(o) * jnp.tanh(c))
        return HC(h, c), h

    def zero_carry(self, batch_shape, dtype):
        zeros = lambda n: jnp.zeros((*batch_shape, n), dtype)
        return HC(zeros(self.output_size), zeros(self.hidden_size))


@dataclasses.dataclass(frozen=True)
class GRU(Toy):
    """Products with slots of their own; the candidate's reads ``r * h``."""

    products = ("w_h", "w_n")
    params_type = GRUParams

    def shapes(self, in_size):
        H = self.hidden_size
        return dict(w_x=(in_size, 3 * H), w_h=(H, 2 * H), w_n=(H, H), b=(3 * H,))

    def step(self, params, carry, gx, dot):
        x_r, x_u, x_n = jnp.split(gx, 3, axis=-1)
        h_r, h_u = jnp.split(dot("w_h", carry.h), 2, axis=-1)
        r, u = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_u + h_u)
        n = jnp.tanh(x_n + dot("w_n", r * carry.h))
        h = u * carry.h + (1 - u) * n
        return Hidden(h), h

    def zero_carry(self, batch_shape, dtype):
        return Hidden(jnp.zeros((*batch_shape, self.hidden_size), dtype))


CELLS = {
    "lstm": LSTMCell(H),
    "rnn": RNNCell(H),
    "peephole": PeepholeLSTM(H),
    "projected": ProjectedLSTM(H),
    "gru": GRU(H),
}


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


def draw(tree, seed, scale=0.5, dtype=None):
    """``tree`` with every leaf, biases included, replaced by random numbers."""
    rng = np.random.default_rng(seed)
    new = lambda x: jnp.asarray(rng.normal(0, scale, x.shape), dtype or x.dtype)
    return jax.tree.map(new, tree)


def make_case(cell, dtype=jnp.float64, *, seed=0, steps=T, batch=(B,), in_size=D):
    """Random parameters, carries and inputs."""
    params = jax.eval_shape(lambda key: cell.init(key, in_size), jax.random.key(0))
    carry = jax.eval_shape(lambda: cell.zero_carry(batch, dtype))
    xs = jax.ShapeDtypeStruct((steps, *batch, in_size), dtype)
    return Case(
        draw(params, seed, dtype=dtype),
        draw(carry, seed + 1),
        draw(carry, seed + 2),
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


def run(cell, at, flags=Flags(), **options):
    """`unroll` of a case."""
    return unroll(
        cell,
        at.params,
        at.carry,
        at.xs,
        mask=flags.mask,
        resets=flags.resets,
        reset_carry=at.reset_carry if flags.resets is not None else None,
        **options,
    )


def scalar(outputs):
    """A loss that feels every output, differently at each, and bends."""

    def weigh(x):
        return jnp.sum(jnp.sin(x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape)))

    return sum(map(weigh, jax.tree.leaves(outputs)))


def loss(cell, at, flags=Flags(), **options):
    return scalar(run(cell, at, flags, **options))
