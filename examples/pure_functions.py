"""Pure functions: train an LSTM on the adding problem, with JAX and Optax alone.

    python examples/pure_functions.py

Every step of a sequence has a random number and a mark. Two steps are marked. The
target is the sum of their numbers (Hochreiter & Schmidhuber 1997). A model without
memory can only guess 1, the mean. Its mean squared error is 1/6.

The parameters are a tuple of arrays. `jax.jit`, `jax.grad` and Optax take such a tuple.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax import LSTMParams, init_lstm, lstm, lstm_step


class Params(NamedTuple):
    lstm: LSTMParams
    w: jax.Array  # [H]
    b: jax.Array  # []


def init(key, hidden_size) -> Params:
    w = jnp.zeros(hidden_size)
    return Params(init_lstm(key, 2, hidden_size), w, jnp.zeros(()))


def problem(key, steps, batch):
    """Sequences ``[T, B, 2]``, and their targets ``[B]``."""
    key_numbers, key_first, key_second = jax.random.split(key, 3)
    numbers = jax.random.uniform(key_numbers, (steps, batch))
    first = jax.random.randint(key_first, (batch,), 0, steps // 2)
    second = jax.random.randint(key_second, (batch,), steps // 2, steps)
    marks = jax.nn.one_hot(first, steps, axis=0) + jax.nn.one_hot(second, steps, axis=0)
    return jnp.stack([numbers, marks], axis=-1), (numbers * marks).sum(0)


@jax.jit
def predict(params: Params, xs):
    _, hs = lstm(params.lstm, None, xs)
    return hs[-1] @ params.w + params.b


def predict_by_steps(params: Params, xs):
    """`predict` with one call for every step: what a live stream does."""
    carry = None  # zeros
    for x in xs:
        carry, h = lstm_step(params.lstm, carry, x)
    return h @ params.w + params.b


def loss(params: Params, xs, targets):
    return jnp.mean((predict(params, xs) - targets) ** 2)


def train(params: Params, key, *, steps, length, batch=64, learning_rate=5e-3):
    """The trained parameters, and the loss before every step."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    @jax.jit
    def update(params, state, key):
        xs, targets = problem(key, length, batch)
        value, grads = jax.value_and_grad(loss)(params, xs, targets)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    for key_step in jax.random.split(key, steps):
        params, state, value = update(params, state, key_step)
        losses.append(value)
    return params, [float(value) for value in losses]


def main(steps=1500, length=30, hidden_size=32):
    key_init, key_train, key_test = jax.random.split(jax.random.key(0), 3)
    xs, targets = problem(key_test, length, 1000)
    first = init(key_init, hidden_size)
    trained, _ = train(first, key_train, steps=steps, length=length)
    difference = predict_by_steps(trained, xs) - predict(trained, xs)
    found = {
        "before": float(loss(first, xs, targets)),
        "after": float(loss(trained, xs, targets)),
        "guess": float(jnp.mean((targets - 1) ** 2)),
        "steps_differ": float(abs(difference).max()),
    }
    print(f"mean squared error of guessing the mean: {found['guess']:.4f}")
    print(f"mean squared error before training:      {found['before']:.4f}")
    print(f"mean squared error after {steps:,} steps:   {found['after']:.4f}")
    print(f"step by step, outputs differ by at most  {found['steps_differ']:.1e}")
    return found


if __name__ == "__main__":
    main()
