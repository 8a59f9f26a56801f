"""Cells that a user writes: what is promised works, what breaks a promise is refused.

The oracle of what works is the plain loop of the cell's own step.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from lstm_jax import RecurrentDropout, Stack, Zoneout, unroll
from lstm_jax.core.cells.cell import Cell
from lstm_jax.core.primitives.matmul import matmul
from tests import cells

pytestmark = pytest.mark.usefixtures("x64")

T, B, D, H = 6, 2, 3, 4


class Params(NamedTuple):
    kernel: Any
    w_h: Any
    b: Any


class Counted(NamedTuple):
    t: Any
    h: Any


class Nested(NamedTuple):
    inner: Any
    flag: Any


@dataclasses.dataclass(frozen=True)
class Own(Cell):
    """A plain network whose carry is ``h`` itself, and whose input weights have a name
    of their own."""

    hidden_size: int

    products = ("w_h",)
    elementwise = ("b",)
    added = frozenset({"w_h", "b"})

    def init(self, key, in_size, dtype=jnp.float32):
        shapes = [(in_size, H), (H, H), (H,)]
        keys = jax.random.split(key, 3)
        normal = lambda k, shape: jax.random.normal(k, shape, dtype) / 2
        return Params(*map(normal, keys, shapes))

    def project(self, params, x):
        return matmul(x, params.kernel).astype(x.dtype)

    def next(self, params, h, gx, dot):
        b = jnp.broadcast_to(params.b.astype(gx.dtype), gx.shape)
        return jnp.tanh(gx + dot("w_h", h) + b)

    def step(self, params, carry, gx, dot, gates=None):
        h = self.next(params, carry, gx, dot)
        return h, h

    def zero_carry(self, batch_shape, dtype):
        return jnp.zeros((*batch_shape, H), dtype)


class Counter(Own):
    """An integer first in the carry, which changes every step."""

    def step(self, params, carry, gx, dot, gates=None):
        h = self.next(params, carry.h, gx, dot)
        h = h * jnp.cos(carry.t.astype(h.dtype))[..., None]
        return Counted(carry.t + 1, h), h

    def zero_carry(self, batch_shape, dtype):
        return Counted(
            jnp.zeros(batch_shape, jnp.int32), super().zero_carry(batch_shape, dtype)
        )


class Deep(Own):
    """A carry of carries, with a boolean."""

    def step(self, params, carry, gx, dot, gates=None):
        h = self.next(params, carry.inner["h"][0], gx, dot)
        h = jnp.where(carry.flag[..., None], h, -h)
        return Nested({"h": [h], "n": carry.inner["n"] + 1}, ~carry.flag), h

    def zero_carry(self, batch_shape, dtype):
        h = super().zero_carry(batch_shape, dtype)
        return Nested(
            {"h": [h], "n": jnp.zeros(batch_shape, jnp.int16)},
            jnp.zeros(batch_shape, bool),
        )


VALID = {"bare array": Own(H), "integer first": Counter(H), "nested": Deep(H)}


def loop(cell, params, carry, xs, mask, resets):
    """The definition, in Python."""
    zero, hs = cell.zero_carry(xs.shape[1:-1], xs.dtype), []
    carry = zero if carry is None else carry
    pick = lambda flags, new, old: jax.tree.map(
        lambda n, o: jnp.where(flags.reshape(flags.shape + (1,) * (n.ndim - 1)), n, o),
        new,
        old,
    )
    for t, x in enumerate(xs):
        carry = pick(resets[t], zero, carry)
        gx = cell.project(params, x)
        dot = lambda name, a: a @ getattr(params, name)
        stepped, h = cell.step(params, carry, gx, dot)
        carry = pick(mask[t], stepped, carry)
        hs.append(jnp.where(mask[t][:, None], h, 0.0))
    return carry, jnp.stack(hs)


@pytest.mark.parametrize("remat", [None, 4])
@pytest.mark.parametrize("name", VALID)
def test_values_and_derivatives_of_the_plain_loop(name, remat):
    cell = VALID[name]
    params = cell.init(jax.random.key(0), D, jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (T, B, D), jnp.float64)
    flags = cells.make_flags(T, B)
    mask, resets = jnp.asarray(flags.mask), jnp.asarray(flags.resets)

    def ours(params, xs):
        return unroll(cell, params, None, xs, mask=mask, resets=resets, remat=remat)

    theirs = lambda params, xs: loop(cell, params, None, xs, mask, resets)
    cells.assert_close(ours(params, xs), theirs(params, xs), 1e-12)
    loss = lambda f: lambda *at: cells.scalar(f(*at)[1])
    for derivative in (jax.grad, lambda f, n: jax.jacfwd(jax.grad(f, n), n)):
        got, want = (derivative(loss(f), (0, 1))(params, xs) for f in (ours, theirs))
        cells.assert_close(got, want, 1e-10)
    rows = jax.vmap(lambda x: unroll(cell, params, None, x), 1, (0, 1))(xs)
    cells.assert_close(rows, unroll(cell, params, None, xs), 1e-12)


def test_carries_go_round_and_stacks_take_such_cells():
    cell = VALID["integer first"]
    stack = Stack([cell, VALID["nested"]])
    params = stack.init(jax.random.key(0), D)
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    xs = jax.random.normal(jax.random.key(1), (T, B, D), jnp.float64)
    carries, first = stack(params, None, xs[:2])
    carries, second = stack(params, carries, xs[2:])
    whole, hs = stack(params, None, xs)
    cells.assert_close((carries, jnp.concatenate([first, second])), (whole, hs), 1e-12)
    assert carries[0].t.tolist() == [T] * B


def broken(**changes):
    return type("Broken", (Own,), changes)(H)


class Whole(NamedTuple):
    kernel: Any
    w_h: Any
    b: Any
    n: Any


REFUSED = {
    "params a dict": (
        dict(init=lambda self, key, n: {"w_h": jnp.ones((H, H))}),
        "init returns dict, expected a NamedTuple",
    ),
    "integer parameter": (
        dict(init=lambda self, key, n: Whole(*Own.init(self, key, n), jnp.arange(2))),
        r"params.n has dtype int\d\d, expected floating point",
    ),
    "elementwise unknown": (
        dict(elementwise=("b", "bias")),
        r"elementwise names 'bias', expected fields of Params \(kernel, w_h, b\)",
    ),
    "added unknown": (
        dict(added=frozenset({"c"})),
        "added names 'c', which is in neither products nor elementwise",
    ),
    "recurrent unknown": (
        dict(recurrent=(("u", 1),)),
        "recurrent names 'u', which is not in products",
    ),
    "carry without rows": (
        dict(zero_carry=lambda self, rows, dtype: jnp.zeros(H, dtype)),
        "zero_carry.* has shape .4,., expected the batch axes .* in front",
    ),
    "project to two": (
        dict(project=lambda self, params, x: (x, x)),
        "project returns tuple .* expected one floating-point array",
    ),
    "a parameter undeclared": (
        dict(elementwise=(), added=frozenset({"w_h"})),
        "step reads params.b, which is not in elementwise",
    ),
    "a product undeclared": (
        dict(products=(), added=frozenset({"b"})),
        "step calls dot.'w_h', a., which is not in products",
    ),
    "a product unused": (
        dict(next=lambda self, params, h, gx, dot: jnp.tanh(gx + h)),
        "products names 'w_h', but step does not call dot with it",
    ),
    "a product twice": (
        dict(
            next=lambda self, params, h, gx, dot: jnp.tanh(
                dot("w_h", h) + dot("w_h", gx)
            )
        ),
        "step calls dot.'w_h', a. twice",
    ),
    "a product of integers": (
        dict(
            next=lambda self, params, h, gx, dot: dot(
                "w_h", jnp.zeros(h.shape, jnp.int32)
            )
        ),
        "step calls dot.'w_h', a. with an array of int32 .* expected a floating-point",
    ),
    "another carry": (
        dict(step=lambda self, params, c, gx, dot, gates=None: ((c,), dot("w_h", c))),
        "step turns a carry .* expected the same structure, shapes and dtypes",
    ),
    "another size": (
        dict(
            step=lambda self, params, c, gx, dot, gates=None: (
                Own.step(self, params, c, gx, dot)[0],
                gx[..., :1],
            )
        ),
        "step outputs an array of float.* expected shape .*out_size=4 last",
    ),
}


READS = {
    "its negative": lambda b, w: -w,
    "a power": lambda b, w: w**2,
    "a comparison": lambda b, w: jnp.where(w > 0, w, 0.0),
    "a function": lambda b, w: jnp.tanh(w),
    "a method": lambda b, w: w.sum(),
    "a slice": lambda b, w: w[0],
}


@pytest.mark.parametrize("name", READS)
def test_however_an_undeclared_parameter_is_read(name):
    def step(self, params, c, gx, dot, gates=None):
        h = Own.step(self, params, c, gx, dot)[0]
        h = h + 0 * jnp.sum(READS[name](params.b, params.kernel))
        return h, h

    with pytest.raises(TypeError, match=r"step reads params\.kernel, which is not in"):
        Stack([broken(step=step)]).init(jax.random.key(0), D)


def test_options_that_an_init_does_not_take():
    with pytest.raises(TypeError, match=r"init of Own takes no w_x, expected dtype"):
        Stack([Own(H)]).init(jax.random.key(0), D, w_x=jax.nn.initializers.zeros)


@pytest.mark.parametrize("name", REFUSED)
def test_broken_promises_are_refused(name):
    changes, message = REFUSED[name]
    with pytest.raises(TypeError, match=f"Broken is not a valid cell: .*{message}"):
        Stack([broken(**changes)]).init(jax.random.key(0), D)


def test_refused_by_unroll_too():
    params = Own(H).init(jax.random.key(0), D)
    cell = broken(elementwise=(), added=frozenset({"w_h"}))
    with pytest.raises(TypeError, match=r"step reads params\.b"):
        unroll(cell, params, None, jnp.ones((T, B, D), jnp.float32))


def test_a_cell_that_cannot_be_hashed():
    cell = type("Mutable", (Own,), {"__hash__": None})(H)
    with pytest.raises(TypeError, match=r"cell cannot be hashed .* frozen dataclass"):
        unroll(cell, None, None, jnp.ones((T, B, D)))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda cell: Zoneout(cell, h=0.1),
            "the carry of Own has the fields .., expected h",
        ),
        (lambda cell: RecurrentDropout(cell, 0.1), "Own has no product of its hidden"),
    ],
)
def test_wrappers_that_need_an_h(wrap, message):
    with pytest.raises(ValueError, match=message):
        wrap(Own(H))


@pytest.mark.parametrize(
    ("carry", "message"),
    [
        (Counted(jnp.zeros(B, jnp.int32), jnp.zeros((B, H + 1))), r"carry.h has shape"),
        (
            Counted(jnp.zeros(B), jnp.zeros((B, H))),
            r"carry.t has dtype float32, expected i",
        ),
        (
            (jnp.zeros(B), jnp.zeros((B, H))),
            r"carry is tuple, expected Counted\(t, h\)",
        ),
    ],
)
def test_wrong_carries(carry, message):
    cell = Counter(H)
    params = cell.init(jax.random.key(0), D)
    with pytest.raises((TypeError, ValueError), match=message):
        unroll(cell, params, carry, jnp.ones((T, B, D)))
