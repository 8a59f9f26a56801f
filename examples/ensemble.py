"""An ensemble: train eight LSTMs in one jitted step, by `jax.vmap` over keys.

    python examples/ensemble.py

The LSTMs predict the next value of sines. Every member has its own weights and its own
batches. The members agree on frequencies that they were trained on. They disagree on
other frequencies. So the spread warns of predictions that cannot be trusted. The error
itself can be much larger than the spread.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax import LSTMParams, init_lstm, lstm


class Params(NamedTuple):
    lstm: LSTMParams
    w: jax.Array  # [H]


def init(key, hidden_size) -> Params:
    key_lstm, key_w = jax.random.split(key)
    w = jax.random.normal(key_w, (hidden_size,)) / jnp.sqrt(hidden_size)
    return Params(init_lstm(key_lstm, 1, hidden_size), w)


def sines(key, low, high, *, steps=25, batch=32):
    """Noisy sines ``[T, B, 1]`` of random phase and frequency."""
    key_phase, key_frequency, key_noise = jax.random.split(key, 3)
    phase = jax.random.uniform(key_phase, (1, batch), maxval=2 * jnp.pi)
    frequency = jax.random.uniform(key_frequency, (1, batch), minval=low, maxval=high)
    values = jnp.sin(frequency * jnp.arange(steps)[:, None] + phase)
    return (values + 0.05 * jax.random.normal(key_noise, values.shape))[..., None]


def predict(params: Params, xs):
    """Predictions of the next values, ``[T, B]``."""
    _, hs = lstm(params.lstm, None, xs)
    return hs @ params.w


def loss(params: Params, xs):
    return jnp.mean((predict(params, xs[:-1]) - xs[1:, :, 0]) ** 2)


def train(key, *, members, steps, hidden_size):
    """Parameters of all members: every array has a leading axis of members."""
    optimizer = optax.adam(5e-3)

    def step(params, state, key):  # of one member
        grads = jax.grad(loss)(params, sines(key, 0.2, 0.8))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    step = jax.jit(jax.vmap(step))
    key_init, key_data = jax.random.split(key)
    keys = jax.random.split(key_init, members)
    params = jax.vmap(lambda key: init(key, hidden_size))(keys)
    state = jax.vmap(optimizer.init)(params)
    for keys in jax.random.split(key_data, (steps, members)):
        params, state = step(params, state, keys)
    return params


@jax.jit
def measure(params, xs):
    """Spread, error of the members, and error of their mean; all root mean squares."""
    truth = xs[1:, :, 0]
    each = jax.vmap(predict, in_axes=(0, None))(params, xs[:-1])  # [M, T, B]
    mean, spread = each.mean(0), each.std(0)
    root = lambda a: jnp.sqrt(jnp.mean(a[..., 5:, :] ** 2))  # 5 steps set the state
    return root(spread), root(each - truth), root(mean - truth)


def main(members=8, steps=400, hidden_size=32):
    params = train(
        jax.random.key(0), members=members, steps=steps, hidden_size=hidden_size
    )
    found = {}
    print(f"{members} members      spread   member's error   mean's error")
    for name, low, high in (("trained", 0.2, 0.8), ("other", 1.4, 2.0)):
        xs = sines(jax.random.key(1), low, high, batch=500)
        spread, member, mean = map(float, measure(params, xs))
        print(
            f"{name:8} {low}-{high}   {spread:.3f}   {member:.3f}            {mean:.3f}"
        )
        found[name] = {"spread": spread, "member": member, "mean": mean}
    ratio = found["other"]["spread"] / found["trained"]["spread"]
    print(f"The spread is {ratio:.1f} times as large off the training data.")
    return found


if __name__ == "__main__":
    main()
