"""One training step, and a block of steps in one call, as pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax._types import Array, Float, Int, Key, PyTree

Loss = Callable[[PyTree, PyTree, PyTree, Key[Array, ""]], tuple[Array, PyTree]]
"""``(params, carry, batch, key) -> (loss, carry)``, the loss a mean in nats."""


class TrainState(NamedTuple):
    """All that a run needs to go on exactly as if it had never stopped."""

    params: PyTree
    opt_state: PyTree
    carry: PyTree
    step: Int[Array, ""]
    key: Key[Array, ""]


def init_state(params, carry, optimizer, key) -> TrainState:
    """The state before the first step."""
    return TrainState(
        params, optimizer.init(params), carry, jnp.zeros((), jnp.int32), key
    )


def train_step(
    loss: Loss, optimizer: optax.GradientTransformation, state: TrainState, batch
) -> tuple[TrainState, Float[Array, ""]]:
    """One step of truncated backpropagation through time (Werbos 1990).

    The recurrent carry goes on into the next window, its gradient does not.
    """
    key = jax.random.fold_in(state.key, state.step)
    carry = jax.lax.stop_gradient(state.carry)
    gradient = jax.value_and_grad(loss, has_aux=True)
    (value, carry), grads = gradient(state.params, carry, batch, key)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, carry, state.step + 1, state.key), value


def make_block(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch_at: Callable[[PyTree, PyTree, Int[Array, ""]], tuple[PyTree, PyTree]],
    capacity: int,
) -> Callable[[TrainState, PyTree, int], tuple[TrainState, Float[Array, "capacity"]]]:
    """``block(state, data, n)`` takes ``n <= capacity`` steps in one jitted call.

    ``batch_at(data, carry, step)`` returns the batch of a step and the carry it starts
    from. The number of steps is an argument of one compiled program, not a constant of
    many, so a run cut into other blocks executes the same instructions and gives the
    same bits. The state is donated; losses after the first ``n`` are 0.
    """

    def body(i, loop):
        state, data, losses = loop
        batch, carry = batch_at(data, state.carry, state.step)
        state, value = train_step(loss, optimizer, state._replace(carry=carry), batch)
        return state, data, losses.at[i].set(value.astype(losses.dtype))

    def block(state, data, n):
        losses = jnp.zeros(capacity, jnp.float32)
        state, _, losses = jax.lax.fori_loop(0, n, body, (state, data, losses))
        return state, losses

    return jax.jit(block, donate_argnums=0)
