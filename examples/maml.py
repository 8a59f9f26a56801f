"""MAML: second-order gradients through an LSTM (Finn et al. 2017).

    python examples/maml.py

A task is a filter: ``y_t = a x_t + b x_{t-1}``, with its own ``a`` and ``b``. The LSTM
reads only ``x``. It learns a task from eight examples, by one gradient step. Training
finds weights from which this step helps most. The gradient of training passes through
the step, so it needs second derivatives. Finite differences in float64 check them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from lstm_jax import LSTMParams, init_lstm, lstm


class Params(NamedTuple):
    lstm: LSTMParams
    w: jax.Array  # [H]


def init(key, hidden_size, dtype=jnp.float32) -> Params:
    key_lstm, key_w = jax.random.split(key)
    w = jax.random.normal(key_w, (hidden_size,), dtype) / hidden_size**0.5
    return Params(init_lstm(key_lstm, 1, hidden_size, dtype=dtype), w)


def task(key, *, steps=10, batch=8, dtype=jnp.float32):
    """Inputs ``[2, T, B, 1]`` and outputs ``[2, T, B]``: to learn from, and to test."""
    key_filter, key_x = jax.random.split(key)
    a, b = jax.random.normal(key_filter, (2,), dtype)
    x = jax.random.normal(key_x, (2, steps, batch), dtype)
    before = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return x[..., None], a * x + b * before


def loss(params: Params, xs, ys):
    _, hs = lstm(params.lstm, None, xs)
    return jnp.mean((hs @ params.w - ys) ** 2)


def inner_step(params: Params, xs, ys, rate=0.1, *, second_order=True) -> Params:
    grads = jax.grad(loss)(params, xs, ys)
    if not second_order:
        grads = jax.lax.stop_gradient(grads)
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


def adapted_loss(params: Params, xs, ys, **options):
    """Loss on the second half of a task, after one step on its first half."""
    return loss(inner_step(params, xs[0], ys[0], **options), xs[1], ys[1])


def meta_loss(params: Params, key, tasks, **options):
    xs, ys = jax.vmap(task)(jax.random.split(key, tasks))
    run = lambda x, y: adapted_loss(params, x, y, **options)
    return jnp.mean(jax.vmap(run)(xs, ys))


def relative_errors(hidden_size):
    """Of a Hessian-vector product, and of MAML's derivative, in a random direction."""
    with jax.enable_x64(True):
        key, key_v, key_task = jax.random.split(jax.random.key(1), 3)
        params = init(key, hidden_size, jnp.float64)
        xs, ys = task(key_task, dtype=jnp.float64)
        v = init(key_v, hidden_size, jnp.float64)

        def error(f, exact):
            near = lambda size: jax.tree.map(lambda p, d: p + size * d, params, v)
            slope = ravel_pytree(f(near(1e-5)))[0] - ravel_pytree(f(near(-1e-5)))[0]
            norm = jnp.linalg.norm
            return float(norm(exact - slope / 2e-5) / norm(slope / 2e-5))

        grad = jax.jit(jax.grad(lambda p: loss(p, xs[0], ys[0])))
        hvp = jax.jit(lambda p: jax.jvp(grad, (p,), (v,))[1])(params)
        adapted = jax.jit(lambda p: adapted_loss(p, xs, ys))
        slopes = ravel_pytree(jax.grad(adapted)(params))[0] * ravel_pytree(v)[0]
        return error(grad, ravel_pytree(hvp)[0]), error(adapted, slopes.sum())


def train(params: Params, key, *, steps, tasks=16, **options) -> Params:
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    @jax.jit
    def update(params, state, key):
        grads = jax.grad(meta_loss)(params, key, tasks, **options)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for key_step in jax.random.split(key, steps):
        params, state = update(params, state, key_step)
    return params


def main(steps=300, hidden_size=24, test_tasks=500):
    key_init, key_train, key_test = jax.random.split(jax.random.key(0), 3)
    hvp, meta = relative_errors(hidden_size)
    print(f"Hessian-vector product: relative error {hvp:.1e}")
    print(f"derivative of MAML:     relative error {meta:.1e}")
    params, found = init(key_init, hidden_size), {"hvp": hvp, "meta": meta}
    test = jax.jit(lambda p: meta_loss(p, key_test, test_tasks))
    found["before"] = float(test(params))
    found["after"] = float(test(train(params, key_train, steps=steps)))
    first = train(params, key_train, steps=steps, second_order=False)
    found["first_order"] = float(test(first))
    print("loss on new tasks, after one gradient step:")
    print(f"  before meta-training                {found['before']:.3f}")
    print(f"  after meta-training                 {found['after']:.3f}")
    print(f"  after, without second derivatives   {found['first_order']:.3f}")
    return found


if __name__ == "__main__":
    main()
