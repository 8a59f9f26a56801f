"""Every variant against its equations, one row and step at a time, in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells, reference
from tests.reference import TEXTBOOK, sigmoid
from tests.shapes import B, D, H, T

pytestmark = pytest.mark.usefixtures("x64")


def gru_step(weights, state, x, act=TEXTBOOK):
    w_x, w_h, b, b_hn = weights
    (h,) = state
    x_r, x_z, x_n = np.split(x @ w_x + b, 3)
    h_r, h_z, h_n = np.split(h @ w_h, 3)
    r, z = act.of_gate(x_r + h_r), act.of_gate(x_z + h_z)
    n = act.of_candidate(x_n + r * (h_n + b_hn))
    return ((1 - z) * n + z * h,)


def reset_before_gru_step(weights, state, x, act=TEXTBOOK):
    w_x, w_h, w_hn, b = weights
    (h,) = state
    x_r, x_z, x_n = np.split(x @ w_x + b, 3)
    h_r, h_z = np.split(h @ w_h, 2)
    r, z = act.of_gate(x_r + h_r), act.of_gate(x_z + h_z)
    n = act.of_candidate(x_n + (r * h) @ w_hn)
    return ((1 - z) * n + z * h,)


def peephole_step(weights, state, x, act=TEXTBOOK):
    w_x, w_h, b, p_i, p_f, p_o = weights
    h, c = state
    z_i, z_f, z_g, z_o = np.split(x @ w_x + h @ w_h + b, 4)
    i, f = act.of_gate(z_i + p_i * c), act.of_gate(z_f + p_f * c)
    c = act.of_state(f * c + i * act.of_candidate(z_g))
    return act.of_gate(z_o + p_o * c) * act.output(c), c


def cifg_step(weights, state, x, act=TEXTBOOK):
    w_x, w_h, b = weights
    h, c = state
    z_f, z_g, z_o = np.split(x @ w_x + h @ w_h + b, 3)
    f = act.of_gate(z_f)
    c = act.of_state(f * c + (1 - f) * act.of_candidate(z_g))
    return act.of_gate(z_o) * act.output(c), c


def projection_step(weights, state, x):
    w_x, w_h, b, w_hr, *bias = weights
    *_, c, m = reference.lstm_gates((w_x, w_h, b), *state, x)
    return m @ w_hr + sum(bias), c


def clipped_step(weights, state, x):
    h, c = projection_step(weights, state, x)
    return np.clip(h, -0.3, 0.3), c


def normalise(a, gain, shift):
    mean = a.sum() / a.size
    variance = ((a - mean) ** 2).sum() / a.size
    return gain * (a - mean) / np.sqrt(variance + 1e-5) + shift


def layer_norm_step(weights, state, x):
    w_x, w_h, b, gain_x, shift_x, gain_h, shift_h, gain_c, shift_c = weights
    h, c = state
    z = normalise(h @ w_h, gain_h, shift_h) + normalise(x @ w_x, gain_x, shift_x) + b
    z_i, z_f, z_g, z_o = np.split(z, 4)
    c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
    return sigmoid(z_o) * np.tanh(normalise(c, gain_c, shift_c)), c


def mogrifier_step(weights, state, x):
    """Five rounds; the weights of q come before those of r."""
    w_x, w_h, b, q_1, q_3, q_5, r_2, r_4 = weights
    h, c = state
    x = 2 * sigmoid(h @ q_1) * x
    h = 2 * sigmoid(x @ r_2) * h
    x = 2 * sigmoid(h @ q_3) * x
    h = 2 * sigmoid(x @ r_4) * h
    x = 2 * sigmoid(h @ q_5) * x
    return reference.lstm_step((w_x, w_h, b), (h, c), x)


def low_rank_mogrifier_step(weights, state, x):
    """Two rounds."""
    w_x, w_h, b, q_left, q_right, r_left, r_right = weights
    h, c = state
    x = 2 * sigmoid(h @ (q_left @ q_right)) * x
    h = 2 * sigmoid(x @ (r_left @ r_right)) * h
    return reference.lstm_step((w_x, w_h, b), (h, c), x)


def multiplicative_step(weights, state, x):
    w_x, w_m, b, w_mx, w_mh = weights
    h, c = state
    m = (x @ w_mx) * (h @ w_mh)
    *_, c, h = reference.lstm_gates((w_x, w_m, b), m, c, x)
    return h, c


def convolve(a, w):
    """Each entry of the kernel reads the image, in a margin of 0, a little shifted."""
    *kernel, _, _ = w.shape
    a = np.pad(a, [((k - 1) // 2, k // 2) for k in kernel] + [(0, 0)])
    sizes = [n - k + 1 for n, k in zip(a.shape, kernel, strict=False)]
    window = lambda at: tuple(slice(k, k + n) for k, n in zip(at, sizes, strict=True))
    return sum(a[window(at)] @ w[at] for at in np.ndindex(*kernel))


def conv_step(weights, state, x):
    w_x, w_h, b = weights
    h, c = state
    z = convolve(x, w_x) + convolve(h, w_h) + b
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)
    c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
    return sigmoid(z_o) * np.tanh(c), c


def slstm_step(weights, state, x, log_forget=lambda z: np.log(sigmoid(z))):
    """Without a stabiliser: ``c e^m`` and ``n e^m``, written with the next ``m``."""
    w_x, w_h, b = weights
    h, c, n, m = state
    heads = zip(np.split(h, len(w_h)), w_h, strict=True)
    by_gate = np.concatenate([np.split(a @ w, 4) for a, w in heads], axis=-1)
    z_i, z_f, z_g, z_o = np.split(x @ w_x + b, 4) + by_gate
    log_f = log_forget(z_f)
    c = np.exp(log_f) * c * np.exp(m) + np.exp(z_i) * np.tanh(z_g)
    n = np.exp(log_f) * n * np.exp(m) + np.exp(z_i)
    m = np.maximum(log_f + m, z_i)
    return sigmoid(z_o) * c / n, c * np.exp(-m), n * np.exp(-m), m


def exp_slstm_step(weights, state, x):
    return slstm_step(weights, state, x, log_forget=lambda z: z)


def min_lstm_step(weights, state, x):
    w_x, b = weights
    z_i, z_f, z_g = np.split(x @ w_x + b, 3)
    i, f = sigmoid(z_i), sigmoid(z_f)
    g = np.where(z_g >= 0, z_g + 0.5, sigmoid(z_g))
    return (f / (f + i) * state[0] + i / (f + i) * g,)


VARIANTS = {
    "gru": (lstm_jax.GRUCell(H), gru_step),
    "gru, reset before": (lstm_jax.ResetBeforeGRUCell(H), reset_before_gru_step),
    "peephole": (lstm_jax.PeepholeLSTMCell(H), peephole_step),
    "cifg": (lstm_jax.CIFGLSTMCell(H), cifg_step),
    "projection": (lstm_jax.LSTMPCell(H, 2), projection_step),
    "projection to the same size": (lstm_jax.LSTMPCell(H, H), projection_step),
    "projection, bias and clip": (
        lstm_jax.LSTMPCell(H, 2, projection_bias=True, projection_clip=0.3),
        clipped_step,
    ),
    "layer norm": (lstm_jax.LayerNormLSTMCell(H), layer_norm_step),
    "mogrifier": (lstm_jax.MogrifierLSTMCell(H), mogrifier_step),
    "mogrifier, low rank": (
        lstm_jax.MogrifierLSTMCell(H, rounds=2, rank=3),
        low_rank_mogrifier_step,
    ),
    "multiplicative": (lstm_jax.MultiplicativeLSTMCell(H), multiplicative_step),
    "convolution": (lstm_jax.ConvLSTMCell(H, kernel=(3,)), conv_step),
    "convolution, 2-D": (lstm_jax.ConvLSTMCell(H, kernel=(4, 3)), conv_step),
    "slstm": (lstm_jax.SLSTMCell(H), slstm_step),
    "slstm, two heads": (lstm_jax.SLSTMCell(2 * H, heads=2), slstm_step),
    "slstm, exponential forget gate": (
        lstm_jax.SLSTMCell(H, forget="exp"),
        exp_slstm_step,
    ),
    "min lstm": (lstm_jax.MinLSTMCell(H), min_lstm_step),
}
FORGET_BIAS = {
    "gru": 0.0,
    "gru, reset before": 0.0,
    "slstm, exponential forget gate": 0.0,
}
FLAGS = cells.make_flags()


def oracle(step, at, **options):
    carry, hs = reference.forward(
        step,
        jax.tree.leaves(at.params),
        at.carry,
        at.xs,
        mask=FLAGS.mask,
        resets=FLAGS.resets,
        reset_carry=at.reset_carry,
        **options,
    )
    return type(at.carry)(*carry), hs


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", VARIANTS)
def test_matches_the_oracle(name, reverse):
    """Outputs and final carries, with a mask, resets and a reset carry."""
    cell, step = VARIANTS[name]
    at = cells.make_case(cell)
    got = jax.jit(lambda at: cells.run(cell, at, FLAGS, reverse=reverse))(at)
    want = oracle(step, at, reverse=reverse)
    cells.assert_close(got, want, cells.tolerance(jnp.float64))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradient_is_the_slope_of_the_oracle(name):
    """By every argument at once, along a random direction, by central differences."""
    cell, step = VARIANTS[name]
    at = cells.make_case(cell)
    v = cells.draw(at, seed=5)
    out = jax.eval_shape(lambda at: cells.run(cell, at, FLAGS), at)
    weights = cells.draw(out, seed=6)
    inner = lambda a, b: sum(
        np.vdot(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
    pull = lambda at, w: jax.vjp(lambda at: cells.run(cell, at, FLAGS), at)[1](w)[0]
    got = inner(jax.jit(pull)(at, weights), v)
    small = 1e-6
    move = lambda s: jax.tree.map(lambda x, dx: np.asarray(x) + s * dx, at, v)
    ends = [inner(oracle(step, move(s)), weights) for s in (small, -small)]
    assert got == pytest.approx((ends[0] - ends[1]) / (2 * small), rel=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters(name):
    """They have the dtype asked for; biases start at 0, but for the forget gate's."""
    cell, _ = VARIANTS[name]
    params = cell.init(jax.random.key(0), D, dtype=jnp.bfloat16)
    assert {p.dtype.name for p in jax.tree.leaves(params)} == {"bfloat16"}
    assert params.w_x.shape[-2] == D
    units = cell.hidden_size
    forget = {"cifg": slice(0, H)}.get(name, slice(units, 2 * units))
    expected = np.zeros(params.b.shape)
    expected[forget] = FORGET_BIAS.get(name, 1.0)
    np.testing.assert_array_equal(params.b.astype(jnp.float32), expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_sixteen_bits(name):
    """Outputs and h have the compute dtype, c is wide, gradients that of params."""
    cell, _ = VARIANTS[name]
    at = cells.make_case(cell, jnp.bfloat16)
    params = cells.draw(at.params, 0, dtype=jnp.float32)
    run = lambda params, carry, xs: lstm_jax.unroll(cell, params, carry, xs)
    (carry, hs), pullback = jax.vjp(run, params, at.carry, at.xs)
    assert hs.dtype == carry.h.dtype == jnp.bfloat16
    assert all(part.dtype == jnp.float32 for part in carry[1:])
    d, _, _ = pullback((carry, hs))
    assert {x.dtype for x in jax.tree.leaves(d)} == {jnp.dtype(jnp.float32)}
    exact = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float64), tree)
    want = run(*exact((params, at.carry, at.xs)))
    cells.assert_close((carry, hs), want, 2 * cells.tolerance(jnp.bfloat16))


@pytest.mark.parametrize("two_ways", [False, True], ids=["one way", "two ways"])
def test_projected_layers_in_a_stack(two_ways):
    """A layer reads the projections of the one below."""
    cell, step = VARIANTS["projection, bias and clip"]
    stack = lstm_jax.Stack([cell] * 2, bidirectional=two_ways)
    params = cells.draw(stack.init(jax.random.key(0), D), 0, dtype=jnp.float64)
    xs = cells.make_case(cell).xs
    carries, hs = stack(params, None, xs, mask=FLAGS.mask)
    zeros = [np.zeros((B, 2)), np.zeros((B, H))]
    for layer in params:
        ways = layer if two_ways else [layer]
        outputs = [
            reference.forward(step, p, zeros, xs, mask=FLAGS.mask, reverse=bool(n))[1]
            for n, p in enumerate(ways)
        ]
        xs = np.concatenate(outputs, axis=-1)
    cells.assert_close(hs, xs, cells.tolerance(jnp.float64))
    last = carries[1].backward if two_ways else carries[1]
    assert (hs.shape[0], last.h.shape, last.c.shape) == (T, (B, 2), (B, H))


@pytest.mark.parametrize("size", [0, H + 1])
def test_projection_outside_its_bounds(size):
    with pytest.raises(
        ValueError, match=rf"projection_size is {size}, expected .* 1 to"
    ):
        lstm_jax.LSTMPCell(H, size)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_clip_that_is_not_positive(clip):
    with pytest.raises(ValueError, match=rf"projection_clip is {clip}, expected a pos"):
        lstm_jax.LSTMPCell(H, 2, projection_clip=clip)


@pytest.mark.parametrize("has", [False, True])
def test_parameters_of_the_other_projection(has):
    """With a bias for a cell without one, and the other way round."""
    theirs, ours = (
        lstm_jax.LSTMPCell(H, 2, projection_bias=bias) for bias in (has, not has)
    )
    at = cells.make_case(theirs)
    words = "an array, expected None" if has else "None, expected an array"
    with pytest.raises(ValueError, match=f"params.b_hr is {words}.*init of the same"):
        cells.run(ours, at)
