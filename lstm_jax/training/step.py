"""One training step, and a block of steps in one call, as pure functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lstm_jax._types import Array, Bool, Float, Int, Key, PyTree
from lstm_jax.training.averaging import Averaging, no_averaging
from lstm_jax.training.batches import BatchAt
from lstm_jax.training.metrics import Loss, Mean, as_arrays, of_step
from lstm_jax.training.placement import ONE_DEVICE, Placement

DATA = 2**32 - 1
"""Folded into a key it gives that of the data; no step comes near it."""


class Controls(NamedTuple):
    """What validation decides about the training that follows."""

    rate: Float[Array, "*S"]
    """A factor of the learning rate."""
    averaging: Bool[Array, "*S"]
    """Whether the average of the parameters takes them in."""


class TrainState(NamedTuple):
    """All that a run needs to go on exactly as if it had never stopped.

    Several seeds in one program have a leading axis ``S`` everywhere but in ``step``.
    The position in the data is a function of the step, and their order of the key.
    """

    params: PyTree
    opt_state: PyTree
    average: PyTree
    carry: PyTree
    controls: Controls
    step: Int[Array, ""]
    key: Key[Array, "*S"]

    @property
    def weights(self) -> PyTree:
        """The parameters to evaluate and to keep: their average where there is one."""
        return self.average.params if self.average else self.params


_FIRST: Any = 0
_NONE: Any = None

SEEDS = TrainState(
    *[_FIRST] * 4, controls=Controls(_FIRST, _FIRST), step=_NONE, key=_FIRST
)
"""The axes of the seeds."""


def init_state(params, carry, optimizer, key, averaging=no_averaging) -> TrainState:
    """The state before the first step."""
    return TrainState(
        params,
        optimizer.init(params),
        averaging.init(params),
        carry,
        Controls(jnp.ones((), jnp.float32), jnp.zeros((), bool)),
        jnp.zeros((), jnp.int32),
        key,
    )


def stack_seeds(states: Sequence[TrainState]) -> TrainState:
    """Several states, all before the same step, as one."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked._replace(step=states[0].step)


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformationExtraArgs,
    state: TrainState,
    batch: PyTree,
    averaging: Averaging = no_averaging,
    placement: Placement = ONE_DEVICE,
) -> tuple[TrainState, dict[str, Mean]]:
    """One step of truncated backpropagation through time (Werbos 1990).

    The recurrent carry goes on into the next window, its gradient does not. Returns the
    next state and the metrics of the batch, what training lowers first.
    """
    key = jax.random.fold_in(state.key, state.step)
    carry = jax.lax.stop_gradient(state.carry)
    gradient = jax.value_and_grad(loss, has_aux=True)
    params = placement.gathered(state.params)
    (value, aux), grads = gradient(params, carry, batch, key)
    grads = placement.scattered(grads)
    updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params, rate=state.controls.rate
    )
    params = optax.apply_updates(state.params, updates)
    step = state.step + 1
    average = averaging.update(state.average, params, state.controls.averaging, step)
    state = TrainState(
        params, opt_state, average, aux.carry, state.controls, step, state.key
    )
    return state, of_step(value, aux)


def make_block(
    loss: Loss,
    optimizer: optax.GradientTransformationExtraArgs,
    batch_at: BatchAt,
    capacity: int,
    *,
    averaging: Averaging = no_averaging,
    seeds: int = 1,
    placement: Placement = ONE_DEVICE,
    shardings: Any = None,
) -> Callable[
    [TrainState, PyTree, int], tuple[TrainState, dict[str, Float[Array, "n *S 2"]]]
]:
    """``block(state, data, n)`` takes ``n <= capacity`` steps in one jitted call.

    The number of steps is an argument of one compiled program, not a constant of many,
    so a run cut into other blocks executes the same instructions and gives the same
    bits. The state is donated. For each metric of `train_step` an array comes back:
    the total and the weight of every step; those after the first ``n`` are 0. With
    several ``seeds`` the state is that of `stack_seeds`, and a step has a pair each.

    On a mesh, the state has the ``shardings`` of `Placement.of_state` before and after
    every step.
    """

    def next_batch(state, data):
        key = jax.random.fold_in(jax.random.fold_in(state.key, DATA), state.step)
        return batch_at(data, state.carry, state.step, key)

    def step(state, data):
        batch, carry = next_batch(state, data)
        state = state._replace(carry=carry)
        state, metrics = train_step(loss, optimizer, state, batch, averaging, placement)
        return state, as_arrays(metrics)

    def names(state, data):
        """The metrics of a step, which are known when a loss has been traced."""
        batch, carry = next_batch(state, data)
        return of_step(*loss(state.params, carry, batch, state.key))

    if seeds > 1:
        axes: Any = (SEEDS, None)
        step = jax.vmap(step, in_axes=axes, out_axes=(SEEDS, 0))
        names = jax.vmap(names, in_axes=axes)

    def body(i, loop):
        state, data, metrics = loop
        state, found = step(state, data)
        if shardings is not None:
            state = jax.lax.with_sharding_constraint(state, shardings)
        put = lambda all_steps, one: all_steps.at[i].set(one)
        return state, data, jax.tree.map(put, metrics, found)

    def block(state, data, n):
        shape = (capacity, seeds, 2) if seeds > 1 else (capacity, 2)
        found = jax.eval_shape(names, state, data)
        metrics = {name: jnp.zeros(shape, jnp.float32) for name in found}
        state, _, metrics = jax.lax.fori_loop(0, n, body, (state, data, metrics))
        return state, metrics

    out = None if shardings is None else (shardings, placement.replicated)
    return jax.jit(block, donate_argnums=0, out_shardings=out)


def one_seed(tree: PyTree, index: int, seeds: int) -> PyTree:
    """The part of a tree that belongs to one of several seeds."""
    return tree if seeds == 1 else jax.tree.map(lambda leaf: leaf[index], tree)


def set_controls(state: TrainState, rate: np.ndarray, averaging: np.ndarray):
    """The state with what validation has decided; arrays ``[S]``."""
    shape = state.controls.rate.shape
    return state._replace(
        controls=Controls(
            jnp.asarray(rate, jnp.float32).reshape(shape),
            jnp.asarray(averaging, bool).reshape(shape),
        )
    )
