"""The textbook's worked example: x=0.5, h=0.1, c=0.2, every weight and bias 1."""

import jax
import jax.numpy as jnp
import pytest

import lstm_jax
from lstm_jax.core.cells import lstm as lstm_module

f = i = o = 0.8320184
EXPECTED = dict(f=f, i=i, o=o, g=0.9216686, c=0.9332488, h=0.6091248)


def check_worked_example(monkeypatch):
    seen = {}

    def watch(name, equation):
        def watched(*args, **static):
            seen[name] = [getattr(a, "value", a) for a in args]
            return equation(*args, **static)

        monkeypatch.setattr(lstm_module, name, watched)

    watch("cell_state", lstm_module.cell_state)
    watch("hidden_state", lstm_module.hidden_state)
    W, b = jnp.ones((1, 2)), jnp.ones(1)
    params = lstm_jax.LSTMParams.from_gates(
        W_f=W, b_f=b, W_i=W, b_i=b, W_C=W, b_C=b, W_o=W, b_o=b
    )
    carry = lstm_jax.LSTMCarry(h=jnp.array([0.1]), c=jnp.array([0.2]))
    carry, h = lstm_jax.lstm_step(params, carry, jnp.array([0.5]))
    i, f, g, _ = seen["cell_state"]
    o, _ = seen["hidden_state"]
    got = dict(f=f, i=i, o=o, g=g, c=carry.c, h=h)
    assert all(value.dtype == jnp.float32 for value in got.values())
    for name, value in EXPECTED.items():
        assert float(got[name][0]) == pytest.approx(value, abs=1e-6, rel=0), name


def test_all_six_numbers(monkeypatch):
    check_worked_example(monkeypatch)


@pytest.mark.parametrize("implementation", [None, "scan", "plain"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_as_a_sequence(implementation, batch):
    params = lstm_jax.LSTMParams(jnp.ones((1, 4)), jnp.ones((1, 4)), jnp.ones(4))
    full = lambda value: jnp.full((*batch, 1), value)
    carry, hs = jax.jit(lstm_jax.lstm, static_argnames="implementation")(
        params,
        lstm_jax.LSTMCarry(full(0.1), full(0.2)),
        full(0.5)[None],
        implementation=implementation,
    )
    assert jnp.allclose(carry.c, EXPECTED["c"], rtol=0, atol=1e-6)
    assert jnp.allclose(carry.h, EXPECTED["h"], rtol=0, atol=1e-6)
    assert jnp.array_equal(hs[0], carry.h)
