"""cuDNN behind our parameters, lengths and carries computes what `unroll` defines.

On a machine without cuDNN, `stand_in` takes its place. So these tests hold the order of
weights and rows, and every transformation, but not what cuDNN itself computes.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import rnn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lstm_jax import Activations, LSTMCell, lstm, ops, unroll
from lstm_jax.core.recurrence import backends
from lstm_jax.kernels.cudnn import backend, primitives, weights
from tests import cells
from tests.core.test_derivatives import MODES
from tests.kernels import stand_in

RTOL = 1e-5
T, B, H = 4, 4, 2
LENGTHS = np.asarray([-1, 1, T + 3, 3], np.int32)
"""Of JAX arrays, lengths out of range are clipped. So the first row has no step."""


@pytest.fixture(autouse=True, scope="module")
def cudnn():
    with stand_in.installed():
        yield


def make_case(steps=T, batch=(B,), H=H, seed=0):
    at = cells.make_case(
        LSTMCell(H), jnp.float32, steps=steps, batch=batch, in_size=2, seed=seed
    )
    return at._replace(reset_carry=None)


def outputs(kernel, at, lengths=None, **options):
    cell = LSTMCell(at.carry.h.shape[-1])
    options |= dict(lengths=lengths, implementation=kernel)
    return unroll(cell, at.params, at.carry, at.xs, **options)


def loss(kernel, at, lengths=None, **options):
    return cells.scalar(outputs(kernel, at, lengths, **options))


def values_and_gradients(kernel, at, lengths=None, **options):
    out, pull = jax.vjp(lambda at: outputs(kernel, at, lengths, **options), at)
    return out, pull(jax.tree.map(jnp.cos, out))


def agree(f, *args):
    """``f(kernel, *args)`` by cuDNN and by the scan."""
    got, want = (
        jax.jit(functools.partial(f, kernel), compiler_options=cells.QUICK)(*args)
        for kernel in ("cudnn", "scan")
    )
    cells.assert_close(got, want, RTOL)


@pytest.mark.parametrize(
    ("steps", "batch", "lengths", "options"),
    [
        (T, (B,), None, {}),
        (T, (B,), LENGTHS, dict(reverse=True)),
        (T, (), None, dict(reverse=True)),
        (1, (2, 1, 2), LENGTHS.reshape(2, 1, 2), dict(reverse=True)),
    ],
    ids=["whole", "lengths", "one row", "one step"],
)
def test_values_and_gradients(steps, batch, lengths, options):
    f = functools.partial(values_and_gradients, **options)
    agree(f, make_case(steps, batch), lengths)


def test_pieces():
    """Each piece has the lengths that are left."""
    agree(functools.partial(outputs, remat=2), make_case(), LENGTHS)


def test_nothing_to_do():
    for steps, rows in ((0, 2), (3, 0)):
        at = make_case(steps, (rows,))
        carry, hs = outputs("cudnn", at)
        assert hs.shape == (steps, rows, H)
        cells.assert_close(carry, at.carry, 0)


def test_nan_stays_in_its_row():
    """In the padding, and in the state of a row without steps."""
    at = make_case()
    h = at.carry.h.at[0].set(jnp.nan)
    at = at._replace(carry=at.carry._replace(h=h), xs=at.xs.at[2:, 1].set(jnp.nan))

    @jax.jit
    def f(at, lengths):
        run = lambda p: outputs("cudnn", at._replace(params=p), lengths)
        (carry, hs), pull = jax.vjp(run, at.params)
        return carry.h, hs, pull((jax.tree.map(jnp.zeros_like, carry), hs))

    h, hs, gradients = f(at, LENGTHS)
    assert np.isnan(h[0]).all()
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((h[1:], hs, gradients)))


def test_parameters_keep_their_dtype():
    at = make_case()
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), at.params)
    gradient = jax.grad(lambda p: loss("cudnn", at._replace(params=p)))
    assert {g.dtype for g in jax.eval_shape(gradient, narrow)} == {
        jnp.dtype(jnp.bfloat16)
    }


# --------------------------------------------------------------- transformations


@pytest.mark.parametrize("mode", ["jvp", "reverse over reverse"])
def test_derivatives(mode):
    way, at = MODES[mode][1], make_case(2, (2,), 1)
    f = lambda kernel, at, v: way(lambda at: loss(kernel, at, [0, 2]), at, v)
    agree(f, at, cells.draw(at, seed=5))


def test_vmap_of_weights_and_sequences():
    members = [make_case(seed=10 * n) for n in range(2)]
    at = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    lengths = np.stack([LENGTHS, LENGTHS[::-1]])
    agree(
        lambda kernel, *args: jax.vmap(
            functools.partial(values_and_gradients, kernel, reverse=True)
        )(*args),
        at,
        lengths,
    )


def test_gradients_of_single_examples():
    """By shared weights, over two mapped axes, with lengths of their own."""
    at, lengths = make_case(3, (2, 3)), np.arange(6).reshape(2, 3) % 4
    axes = cells.Case(None, 0, None, 1), 0
    each = lambda kernel: jax.vmap(
        jax.vmap(functools.partial(values_and_gradients, kernel), axes), axes
    )
    agree(lambda kernel, *args: each(kernel)(*args), at, lengths)


def test_jacobian():
    at = make_case(2, (2,), 1)
    agree(lambda kernel, at: jax.jacrev(lambda at: outputs(kernel, at)[1])(at), at)


def test_gradients_mapped_after_the_forward_call():
    """The reserve space is of all members of a ``vmap`` that has ended."""
    at = make_case(batch=(2,))
    at = at._replace(xs=jnp.stack([at.xs, at.xs / 2], 1))

    def f(kernel, at):
        take = lambda at: jax.vjp(lambda at: loss(kernel, at), at)
        out, pulls = jax.vmap(take, (cells.Case(None, None, None, 1),))(at)
        return jax.vmap(lambda pull, d: pull(d))(pulls, out)

    agree(f, at)


def test_shard_map():
    """Every device runs its own rows."""
    at, rows = make_case(2), P(None, "data")
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), "data")

    def gradient(kernel, at):
        run = lambda params, xs: lstm(params, None, xs, implementation=kernel)[1]
        if kernel == "cudnn":
            run = jax.shard_map(run, mesh=mesh, in_specs=(P(), rows), out_specs=rows)
        return jax.grad(lambda p: cells.scalar(run(p, at.xs)))(at.params)

    agree(gradient, at)


# -------------------------------------------------------------------- what runs

needs_stand_in = pytest.mark.skipif(
    backend.unavailable() is None, reason="looks at the calls of the stand-in"
)


def calls_of(f, at):
    """The calls of the stand-in in a program."""
    stand_in.CALLS.clear()
    jax.jit(f).lower(at)
    return stand_in.CALLS[:]


@needs_stand_in
def test_what_cudnn_runs():
    """Reverse mode, not forward mode."""
    f, names = (
        functools.partial(loss, "cudnn"),
        lambda f: dict(calls_of(f, make_case())),
    )
    assert names(f).keys() == {"forward"}
    assert names(jax.grad(f)).keys() == {"forward", "backward"}
    assert names(lambda at: jax.jvp(f, (at,), (at,))).keys() == {"forward"}


@needs_stand_in
@pytest.mark.parametrize("asked", ["highest", "tensorfloat32"])
def test_precision_of_a_part_of_a_program(asked):
    """Also of its gradient, which is taken outside."""

    def f(at):
        with jax.default_matmul_precision(asked):
            return loss("cudnn", at)

    less = asked != "highest"
    assert set(calls_of(jax.grad(f), make_case())) == {
        ("forward", less),
        ("backward", less),
    }


@pytest.mark.parametrize(
    ("asked", "precision"),
    [
        (None, "HIGHEST"),
        ("highest", "HIGHEST"),
        ("float32", "HIGHEST"),
        ("F32_F32_F32", "HIGHEST"),
        ("high", "HIGH"),
        ("TF32_TF32_F32", "HIGH"),
        ("bfloat16", "HIGH"),
        ("default", "HIGH"),
    ],
)
def test_precision(asked, precision):
    with jax.default_matmul_precision(asked):
        assert backend.precision() == lax.Precision[precision]


@needs_stand_in
def test_another_platform_takes_the_definition(monkeypatch):
    """A program for CUDA does not: here it cannot be lowered."""
    real = {backend.precision(): primitives.make(backend.precision())}
    monkeypatch.setattr(backend, "PRIMITIVES", real)
    # No other test has this number of rows, so nothing was traced before.
    at, f = make_case(batch=(7,)), functools.partial(values_and_gradients, "cudnn")
    program = jax.jit(f).trace(at)
    stand_in.CALLS.clear()
    program.lower(lowering_platforms=("tpu",))
    assert not stand_in.CALLS
    with pytest.raises(Exception, match=r"rnn|linked"):
        program.lower(lowering_platforms=("cuda",))


@needs_stand_in
def test_every_gradient_has_its_own_reserve_space():
    """cuDNN writes into it. So XLA copies it for each: here in a loop, and for two
    constants.
    """
    at, size = (
        make_case(batch=(2,)),
        stand_in.sizes(2, H, 1, 2, T, 0.0, False, False)[1],
    )
    run = lambda xs: outputs("cudnn", at._replace(xs=xs))[1]

    def two(xs):
        out, pull = jax.vjp(run, xs)
        one = lambda unit: pull(jnp.zeros_like(out).at[2, 1, unit].set(1.0))
        return one(0), one(1)

    def copies(f):
        text = jax.jit(f).lower(at.xs).compile().as_text()
        return len(re.findall(rf"f32\[{size}\]\S* select\(", text))

    assert copies(jax.jacrev(run)) == 1
    assert copies(two) == 2


def test_the_vector_of_weights():
    params = make_case().params
    vector = weights.pack(params)
    w_x, w_h, b, b_2 = rnn.unpack_lstm_weights(vector, 2, H, 1, False)
    cells.assert_close((w_x[0].T, w_h[0].T, b[0] + b_2[0]), tuple(params), 0)
    cells.assert_close(weights.unpack(vector, 2, H), params, 0)


# ------------------------------------------------------------------ refused calls


CELL = LSTMCell(H)


def refused(why, cell=CELL, xs=None, **options):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 2))
    params = jax.tree.map(lambda p: np.zeros(p.shape, p.dtype), params)
    xs = np.ones((T, B, 2), np.float32) if xs is None else xs
    message = f'"cudnn" does not support this call: .*{why}.*"scan"'
    with pytest.raises(NotImplementedError, match=message):
        unroll(cell, params, None, xs, implementation="cudnn", **options)


def test_flags_that_cudnn_does_not_know():
    flags = np.ones((T, B), bool)
    refused("no mask; pass lengths", mask=flags)
    refused("cannot reset .* each episode", resets=flags)
    refused("cannot reset .* each episode", resets=flags, lengths=[T] * B)


def test_other_cells_and_dtypes():
    refused("the plain LSTMCell, not GRUCell", cells.CELLS["gru, reset after"])
    refused("the plain LSTMCell", LSTMCell(H, Activations(gate="hard_sigmoid")))
    refused("in float32 here, not in bfloat16", dtype=jnp.bfloat16)
    refused("in float32 here, not in float16", dtype=jnp.float16)
    with jax.enable_x64(True):
        refused("in float32 here, not in float64", dtype=jnp.float64)


def test_symbolic_sizes():
    (rows,) = jax.export.symbolic_shape("rows")
    xs = jax.ShapeDtypeStruct((T, rows, 2), jnp.float32)
    jax.export.export(jax.jit(lambda xs: refused("symbolic shape", xs=xs)))(xs)


def test_a_machine_without_cudnn(monkeypatch):
    def no_cuda(platform):
        raise RuntimeError(f"Unknown backend {platform}")

    monkeypatch.setattr(backend, "unavailable", UNAVAILABLE)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    refused("NVIDIA GPUs, and JAX computes on tpu here")
    state = ops.availability()["cudnn"]
    assert state.startswith("not available: cuDNN runs on NVIDIA GPUs"), state
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", no_cuda)
    refused("NVIDIA GPUs, and JAX computes on another GPU here")


UNAVAILABLE = backend.unavailable


def test_nobody_gets_it_without_asking():
    cudnn = backends.NAMED["cudnn"]
    assert not any(b.run is cudnn.run for b in backends.UNNAMED)
