"""The Pallas kernel computes what `unroll` defines: on a GPU, or in its interpreter.

The interpreter runs one program after another. Where one program has all units, the
loop over the steps, the counters and the waiting run as on a GPU. Otherwise a launch
runs one step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import LSTMCell, ops
from lstm_jax.kernels.lstm import derivatives
from lstm_jax.kernels.lstm.operands import Operands
from lstm_jax.kernels.pallas import blocks, primitives
from tests import cells

ON_GPU = jax.default_backend() == "gpu"
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
KERNEL = (
    primitives.PRIMITIVES
    if ON_GPU
    else primitives.make("lstm_jax_interpreted", ("cpu",), interpret=True)
)
FLOATS = ("xs", "w_x", "w_h", "b", "h0", "c0", "reset_h", "reset_c")


def make_operands(T, batch, H, flags, dtype=jnp.float32):
    at = cells.make_case(LSTMCell(H), dtype, steps=T, batch=batch, in_size=2)
    if not flags:
        return Operands(at.xs, *at.params, *at.carry, None, None, None, None)
    rng = np.random.default_rng(0)
    mask, resets = jnp.asarray(rng.random((2, T, *batch)) < 0.6)
    reset = (jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in at.carry)
    return Operands(at.xs, *at.params, *at.carry, mask, resets, *reset)


def by_kernel(reverse=False):
    return lambda at: KERNEL.forward(at, reverse=reverse)


def by_definition(reverse=False):
    return lambda at: derivatives.definition(at, reverse)


def split(at):
    """The operands with a derivative, and the function that adds the others."""
    floats = {n: getattr(at, n) for n in FLOATS if getattr(at, n) is not None}
    return floats, lambda floats: at._replace(**floats)


def value_and_grad(f, at):
    floats, join = split(at)

    def loss(floats):
        out = f(join(floats))
        wide = [a.astype(jnp.float32) for a in out]
        return sum((jnp.sin(a) * a).sum() for a in wide), out

    return jax.grad(loss, has_aux=True)(floats)


def agree(figure, *args, reverse=False, rtol=1e-5):
    got, want = (
        jax.jit(lambda *args, f=f: figure(f, *args))(*args)
        for f in (by_kernel(reverse), by_definition(reverse))
    )
    cells.assert_close(got, want, rtol)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks of rows and of units in a small array."""
    monkeypatch.setattr(blocks, "ALONE", 16)
    monkeypatch.setattr(blocks, "MOST_ROWS", 16)
    assert blocks.Blocks.of(18, 20, jnp.float32) == (16, 16, 2, 2, 32)


@pytest.mark.parametrize(
    ("T", "batch", "flags", "reverse"),
    [(1, (), False, False), (3, (2, 1, 2), True, True)],
)
def test_one_program_has_all_units(T, batch, flags, reverse):
    agree(value_and_grad, make_operands(T, batch, 3, flags), reverse=reverse)


def test_many_programs(small_blocks):
    agree(value_and_grad, make_operands(2, (3, 6), 20, True), reverse=True)


def test_bfloat16():
    at = make_operands(3, (2,), 3, True, jnp.bfloat16)
    agree(value_and_grad, at, rtol=3e-2)


def test_further_derivatives_under_vmap():
    """Rows are folded, and gradients of gradients are those of the definition."""
    at = make_operands(2, (2,), 3, False)

    def figure(f, xs):
        gradient = lambda xs: value_and_grad(f, at._replace(xs=xs))[0]["w_h"]
        return jax.jvp(jax.vmap(gradient), (xs,), (jnp.cos(xs),))

    agree(figure, jnp.stack([at.xs, 2 * at.xs]))


@pytest.mark.skipif(
    jax.__version_info__ > (0, 10, 2),
    reason="later versions compile for the GPU while they lower",
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lowers_for_cuda(dtype):
    """One launch forwards and one backwards, with no loop around them. In each, the
    programs wait in a loop, which JAX must not drop.
    """
    at = make_operands(5, (20,), 70, True, dtype)
    f = lambda at: primitives.PRIMITIVES.forward(at, reverse=False)
    for figure, launches in ((f, 1), (lambda at: value_and_grad(f, at)[0], 2)):
        traced = jax.jit(figure).trace(at)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert text.count("@__gpu$xla.gpu.triton(") == launches
        assert "stablehlo.while" not in text
        # The loop of Triton ends with the operation scf.condition.
        assert text.count("condition") == launches


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("T", [1, 3])
def test_in_x64_mode(T):
    agree(value_and_grad, make_operands(T, (2,), 3, True))


@needs_gpu
@pytest.mark.parametrize(("B", "H"), [(1, 64), (5, 70), (20, 256), (70, 130)])
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-4), (jnp.bfloat16, 3e-2)])
@pytest.mark.parametrize("reverse", [False, True])
def test_programs_that_wait_for_each_other(B, H, dtype, rtol, reverse):
    """What the interpreter cannot run. After a race, the bits would differ."""
    at = make_operands(67, (B,), H, True, dtype)
    agree(value_and_grad, at, reverse=reverse, rtol=rtol)
    run = jax.jit(by_kernel(reverse))
    first = run(at)
    for _ in range(100):
        again = jax.tree.map(lambda a, b: bool((a == b).all()), run(at), first)
        assert all(again)


@pytest.mark.skipif(ON_GPU, reason="the kernel runs here")
def test_a_named_kernel_does_not_fall_back():
    at = make_operands(2, (2,), 3, False)
    params = LSTMCell(3).init(jax.random.key(0), 2)
    with pytest.raises(NotImplementedError, match="runs on NVIDIA GPUs"):
        ops.lstm(params, None, at.xs, implementation="pallas")
    assert ops.availability()["pallas"].startswith("not available: ")


@pytest.mark.parametrize(
    ("H", "dtype", "processors", "reason"),
    [
        (256, jnp.float32, 132, None),
        (1024, jnp.bfloat16, 132, None),
        (257, jnp.float32, 132, "up to hidden_size=256 in float32, not 257"),
        (1025, jnp.bfloat16, 132, "up to hidden_size=1024 in bfloat16, not 1025"),
        (512, jnp.bfloat16, 20, "takes 32 programs at once, and this GPU has 20"),
    ],
)
def test_which_sizes_fit(H, dtype, processors, reason, monkeypatch):
    monkeypatch.setattr(blocks, "processors", lambda: processors)
    found = blocks.too_large(H, dtype)
    assert (found is None) if reason is None else (reason in found)


def test_long_sequences_in_pieces(monkeypatch):
    """Addresses of Triton are 32-bit numbers."""
    monkeypatch.setattr(primitives.forward, "most_steps", lambda *args: 2)
    monkeypatch.setattr(primitives.backward, "most_steps", lambda *args: 2)
    agree(value_and_grad, make_operands(3, (2,), 3, True))
