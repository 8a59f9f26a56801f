"""`from_gates` takes the textbook's matrices and `to_gates` gives them back."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import LSTMCarry, LSTMParams, lstm_step
from tests.reference import sigmoid
from tests.shapes import B, D, H

NAMES = ("f", "i", "C", "o")


def random_gates():
    rng = np.random.default_rng(0)
    shapes = {f"W_{n}": (H, H + D) for n in NAMES} | {f"b_{n}": (H,) for n in NAMES}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def check_textbook():
    """One step of the textbook's equations, ``W [h, x] + b``, in float64."""
    gates = random_gates()
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        h, c, x = (
            rng.normal(size=(B, H)),
            rng.normal(size=(B, H)),
            rng.normal(size=(B, D)),
        )
        z = lambda n: np.concatenate([h, x], -1) @ gates[f"W_{n}"].T + gates[f"b_{n}"]
        f, i, o = sigmoid(z("f")), sigmoid(z("i")), sigmoid(z("o"))
        new_c = f * c + i * np.tanh(z("C"))
        carry = LSTMCarry(jnp.asarray(h), jnp.asarray(c))
        carry, got = lstm_step(LSTMParams.from_gates(**gates), carry, jnp.asarray(x))
        np.testing.assert_allclose(carry.c, new_c, rtol=1e-12)
        np.testing.assert_allclose(got, o * np.tanh(new_c), rtol=1e-12)


def test_textbook():
    check_textbook()


def test_round_trip(x64):
    gates = random_gates()
    params = LSTMParams.from_gates(**gates)
    assert jax.tree.map(jnp.shape, params) == ((D, 4 * H), (H, 4 * H), (4 * H,))
    back = params.to_gates()
    assert back.keys() == gates.keys()
    assert all(np.array_equal(back[name], gates[name]) for name in gates)


def test_dtype_is_kept():
    gates = {k: v.astype(jnp.bfloat16) for k, v in random_gates().items()}
    params = LSTMParams.from_gates(**gates)
    assert {leaf.dtype.name for leaf in (*params, *params.to_gates().values())} == {
        "bfloat16"
    }
