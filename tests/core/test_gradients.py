"""Gradients equal those of the hand-derived backward pass, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from tests import cells, reference
from tests.core.test_values import OPTIONS, arguments

pytestmark = pytest.mark.usefixtures("x64")


def check_gradients(implementation="scan", **options):
    at = cells.make_case(cells.CELLS["lstm"])
    ours, theirs = arguments(at, options)
    traced = dict(carry=ours.pop("carry"), reset_carry=ours.pop("reset_carry", None))

    def outputs(params, traced, xs):
        return lstm_jax.lstm(
            params, xs=xs, implementation=implementation, **traced, **ours
        )

    def gradient(d_outputs, *args):
        return jax.vjp(outputs, *args)[1](d_outputs)

    d_outputs = cells.draw(jax.eval_shape(outputs, at.params, traced, at.xs), seed=9)
    got = jax.jit(gradient)(d_outputs, at.params, traced, at.xs)
    d_params, d_carry, dxs, d_reset = reference.lstm_backward(
        at.params,
        d_carry=d_outputs[0],
        d_hs=d_outputs[1],
        xs=np.asarray(at.xs),
        **theirs,
    )
    want = dict(carry=d_carry, reset_carry=d_reset)
    want = {k: d for k, d in want.items() if traced[k] is not None}
    cells.assert_close(got, (d_params, want, dxs), cells.DERIVATIVES)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_matches_the_hand_derived_backward(options, reverse):
    check_gradients(reverse=reverse, **options)


def test_plain_matches_too():
    check_gradients("plain", **OPTIONS["all"])


def test_the_oracle_matches_finite_differences():
    """The hand-derived backward pass is itself checked, against its own forward."""
    at = cells.make_case(cells.CELLS["lstm"])
    _, options = arguments(at, OPTIONS["all"])
    xs = np.asarray(at.xs)
    rng = np.random.default_rng(0)

    def outputs(s):
        """The oracle's outputs at distance ``s`` along ``direction``."""
        params, carry, reset, dx = direction
        move = lambda to, by: [
            np.asarray(a) + s * b for a, b in zip(to, by, strict=True)
        ]
        moved = options | dict(
            carry=move(at.carry, carry), reset_carry=move(at.reset_carry, reset)
        )
        weights = move(at.params, params)
        return reference.forward(reference.lstm_step, weights, xs=xs + s * dx, **moved)

    like = lambda parts: [rng.normal(size=p.shape) for p in parts]
    direction = like(at.params), like(at.carry), like(at.reset_carry), *like([xs])
    (h, c), hs = outputs(0.0)
    d_carry, d_hs = like([h, c]), *like([hs])
    dot = lambda outs: np.vdot(d_hs, outs[1]) + sum(map(np.vdot, d_carry, outs[0]))
    step = 1e-6
    numeric = (dot(outputs(step)) - dot(outputs(-step))) / (2 * step)
    d_params, d_state, dxs, d_reset = reference.lstm_backward(
        at.params, d_carry=d_carry, d_hs=d_hs, xs=xs, **options
    )
    pairs = zip(
        [*d_params, *d_state, *d_reset, dxs],
        [*direction[0], *direction[1], *direction[2], direction[3]],
        strict=True,
    )
    assert sum(np.vdot(a, b) for a, b in pairs) == pytest.approx(numeric, rel=1e-7)


def test_integer_and_boolean_arguments_have_no_gradient():
    """Traced flags are ignored by the rule, also when differentiated around."""
    cell, flags = cells.CELLS["lstm"], cells.make_flags()
    at = cells.make_case(cell)
    loss = lambda at, flags: cells.loss(cell, at, flags)
    d = jax.grad(loss, argnums=(0, 1), allow_int=True)(
        at, jax.tree.map(jnp.asarray, flags)
    )
    assert all(x.dtype == jax.dtypes.float0 for x in d[1])
