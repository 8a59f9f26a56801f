"""A learned optimiser: an LSTM that updates parameters (Andrychowicz et al. 2016).

    python examples/learned_optimizer.py

One small LSTM reads the gradient of one coordinate and returns its update. All
coordinates share its weights, and each has its own state, because problems and
coordinates are batch axes of `lstm_step`. The LSTM learns on random quadratics
``|W x - y|^2``. SGD and Adam have the best learning rate of a grid.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax import LSTMCell, LSTMParams, init_lstm, lstm_step

SIZE = 10
RATES = [10 ** (-k / 4) for k in range(-2, 11)]


class Params(NamedTuple):
    lstm: LSTMParams
    w: jax.Array  # [H]


def problems(key, count):
    key_w, key_y = jax.random.split(key)
    w = jax.random.normal(key_w, (count, SIZE, SIZE))
    return w, jax.random.normal(key_y, (count, SIZE))


def losses(x, problem):
    """``[P]`` of points ``[P, SIZE]``."""
    return jnp.sum((jnp.einsum("pij,pj->pi", problem[0], x) - problem[1]) ** 2, -1)


def gradient(x, problem):
    return jax.grad(lambda x: losses(x, problem).sum())(x)


def learned(params: Params, carry, grads):
    """The next carry, and the updates of all coordinates."""
    carry, h = lstm_step(params.lstm, carry, 0.1 * grads[..., None])
    return carry, 0.1 * (h @ params.w)


def begin(params: Params, count):
    carry = LSTMCell(len(params.w)).zero_carry((count, SIZE), jnp.float32)
    return jnp.zeros((count, SIZE)), carry


def optimise(update, start, problem, steps):
    """Where ``steps`` updates lead, and the mean loss after each, ``[steps]``."""

    def step(at, _):
        x, state = at
        # As in the paper, no derivative is taken through the gradient itself.
        state, change = update(state, jax.lax.stop_gradient(gradient(x, problem)))
        return (x + change, state), losses(x + change, problem).mean()

    return jax.lax.scan(step, start, length=steps)


def train(params: Params, key, *, epochs, horizon, window=20, count=32) -> Params:
    """Truncated backpropagation: every epoch has new problems, cut into windows."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(1e-2, epochs * horizon // window)),
    )

    def loss(params, at, problem):
        update = functools.partial(learned, params)
        at, curve = optimise(update, at, problem, window)
        return jnp.log(curve).mean(), at

    @jax.jit
    def learn(params, state, at, problem):
        grads, at = jax.grad(loss, has_aux=True)(params, at, problem)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, at

    state = optimizer.init(params)
    for key_epoch in jax.random.split(key, epochs):
        at, problem = begin(params, count), problems(key_epoch, count)
        for _ in range(horizon // window):
            params, state, at = learn(params, state, at, problem)
    return params


@functools.partial(jax.jit, static_argnums=(0, 3))
def baseline(make, rate, problem, steps):
    """The curve of an Optax optimiser."""
    optimizer, x = make(rate), jnp.zeros_like(problem[1])
    update = lambda state, grads: optimizer.update(grads, state)[::-1]
    return optimise(update, (x, optimizer.init(x)), problem, steps)[1]


def main(epochs=300, horizon=100, hidden_size=20, count=500):
    keys = jax.random.split(jax.random.key(0), 4)
    new = Params(init_lstm(keys[0], 1, hidden_size), jnp.zeros(hidden_size))
    params = train(new, keys[1], epochs=epochs, horizon=horizon)
    tune, test = problems(keys[2], count), problems(keys[3], count)
    update, at = functools.partial(learned, params), begin(params, count)
    curves = {"LSTM": optimise(update, at, test, horizon)[1]}
    for name, make in (("SGD", optax.sgd), ("Adam", optax.adam)):
        last = [baseline(make, rate, tune, horizon)[-1] for rate in RATES]
        best = RATES[int(jnp.nanargmin(jnp.array(last)))]
        curves[f"{name}, {best:.3f}"] = baseline(make, best, test, horizon)
    print(f"mean loss of {count} new problems after 20 and {horizon} steps")
    for name, curve in curves.items():
        print(f"{name:14} {curve[19]:8.3f} {curve[-1]:8.3f}")
    return {name.split(",")[0]: float(curve[-1]) for name, curve in curves.items()}


if __name__ == "__main__":
    main()
