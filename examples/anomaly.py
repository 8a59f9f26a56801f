"""Streaming anomaly detection: flag values that an LSTM did not expect.

    python examples/anomaly.py

1. Train on a series without anomalies: predict the next value.
2. Choose a threshold from the errors on another clean part of the series.
3. Stream new data, one value at a time. Flag a value with an error above the threshold.
   The LSTM then reads its own prediction, so that anomalies do not disturb the state.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lstm_jax import LSTMCell, LSTMParams, Stack, Stream, feed, lstm


class Params(NamedTuple):
    lstm: LSTMParams
    w: jax.Array  # [H]
    b: jax.Array  # []


def series(rng, steps):
    """A daily and a weekly cycle with noise, ``[T]``."""
    t = np.arange(steps)
    cycles = np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(2 * np.pi * t / 168)
    return (cycles + 0.05 * rng.normal(size=steps)).astype(np.float32)


def plant(rng, values, count):
    """Adds ``count`` spikes. Returns the series, and where the spikes are."""
    places = rng.choice(np.arange(48, len(values)), size=count, replace=False)
    sizes = rng.choice([-1, 1], size=count) * rng.uniform(0.4, 1.2, size=count)
    values = values.copy()
    values[places] += sizes
    return values, np.isin(np.arange(len(values)), places)


@jax.jit
def predictions(params: Params, values):
    """One call for a whole series ``[T]``: what each next value should be, ``[T]``."""
    _, hs = lstm(params.lstm, None, values[:, None])
    return hs @ params.w + params.b


def train(key, values, *, steps, hidden_size, window=96, batch=32):
    stack = Stack([LSTMCell(hidden_size)])
    params = Params(stack.init(key, 1)[0], jnp.zeros(hidden_size), jnp.zeros(()))
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def loss(params, windows):  # [B, window]
        error = jax.vmap(lambda w: predictions(params, w)[:-1] - w[1:])(windows)
        return jnp.mean(error[:, 24:] ** 2)  # the first day sets the state

    @jax.jit
    def update(params, state, key):
        starts = jax.random.randint(key, (batch, 1), 0, len(values) - window)
        windows = values[starts + jnp.arange(window)]
        updates, state = optimizer.update(jax.grad(loss)(params, windows), state)
        return optax.apply_updates(params, updates), state

    state, values = optimizer.init(params), jnp.asarray(values)
    for key_step in jax.random.split(key, steps):
        params, state = update(params, state, key_step)
    return params


@jax.jit
def observe(params: Params, state, value, threshold):
    """The next state, the error of ``value``, and what the LSTM read."""
    stream, expected = state
    error = abs(value - expected)
    read = jnp.where(error > threshold, expected, value)
    stack = Stack([LSTMCell(len(params.w))])
    stream, hs = feed(stack, (params.lstm,), stream, read.reshape(1, 1))
    return (stream, hs[0] @ params.w + params.b), error, read


def start(params: Params):
    zero = LSTMCell(len(params.w)).zero_carry((), jnp.float32)
    return Stream((zero,), jnp.int32(0)), params.b


def main(steps=400, hidden_size=32, length=2000, anomalies=40):
    rng = np.random.default_rng(0)
    clean, live = np.split(series(rng, 3 * length), [2 * length])
    live, planted = plant(rng, live, anomalies)
    learn, check = np.split(clean, 2)
    params = train(jax.random.key(0), learn, steps=steps, hidden_size=hidden_size)
    error = abs(predictions(params, check)[:-1] - check[1:])[48:]
    threshold = 1.3 * error.max()

    state, errors, read = start(params), [], []
    for value in live:
        state, error, x = observe(params, state, value, threshold)
        errors.append(float(error))
        read.append(float(x))
    flagged = np.array(errors) > float(threshold)
    flagged[:48] = False  # the first two days set the state
    offline = predictions(params, jnp.array(read))[:-1]
    hits = int((flagged & planted).sum())
    found = {
        "precision": hits / max(int(flagged.sum()), 1),
        "recall": hits / int(planted.sum()),
        "differ": float(abs(abs(live[1:] - offline) - np.array(errors[1:])).max()),
    }
    print(f"{len(live):,} values, {planted.sum()} anomalies, {flagged.sum()} flagged")
    print(f"precision {found['precision']:.3f}, recall {found['recall']:.3f}")
    print(f"errors differ from those of one offline call by {found['differ']:.1e}")
    return found


if __name__ == "__main__":
    main()
