"""Actor-critic with memory: PPO on a cart-pole that hides its velocities.

    python examples/actor_critic.py

The agent sees the positions of cart and pole. To know the velocities, it must remember.
It acts one step at a time, and learns from all steps of a rollout at once. ``resets``
empty the memory before each episode; without memory, before each step.
"""

from collections import namedtuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax import LSTMCell, init_lstm, lstm

LONGEST = 200  # steps after which an episode ends by itself
Steps = namedtuple("Steps", "seen resets action log_p value done")  # [T, B, ...]


def move(state, action):
    """Cart-pole (Barto, Sutton & Anderson 1983), 0.02 s a step; states ``[B, 4]``."""
    _, speed, angle, turn = state.T
    force = (20.0 * action - 10.0 + 0.05 * turn**2 * jnp.sin(angle)) / 1.1
    inertia = 0.5 * (4 / 3 - 0.1 * jnp.cos(angle) ** 2 / 1.1)
    turning = (9.8 * jnp.sin(angle) - jnp.cos(angle) * force) / inertia
    speeding = force - 0.05 * turning * jnp.cos(angle) / 1.1
    state = state + 0.02 * jnp.stack([speed, speeding, turn, turning], axis=1)
    return state, (abs(state[:, 0]) > 2.4) | (abs(state[:, 2]) > 0.2095)


def agent(params, carry, seen, resets):
    """Carry, log probabilities of the actions and values, for any number of steps."""
    xs = seen * jnp.array([1.0, 10.0])
    carry, hs = lstm(params["lstm"], carry, xs, resets=resets)
    out = hs @ params["w"]
    return carry, jax.nn.log_softmax(out[..., :2]), out[..., 2]


def start(key, rows, hidden_size):
    """States, ages of the episodes, and carry, before the first step."""
    state = jax.random.uniform(key, (rows, 4), minval=-0.05, maxval=0.05)
    carry = LSTMCell(hidden_size).zero_carry((rows,), jnp.float32)
    return state, jnp.zeros(rows, jnp.int32), carry


def rollout(params, begin, key, length, memory):
    def step(at, key):
        (state, age, carry), (key_action, key_new) = at, jax.random.split(key)
        seen, resets = state[:, ::2], (age == 0) | (not memory)
        carry, log_p, value = agent(params, carry, seen[None], resets[None])
        action = jax.random.categorical(key_action, log_p[0])
        state, fell = move(state, action)
        done = fell | (age + 1 == LONGEST)
        state = jnp.where(done[:, None], start(key_new, len(age), 1)[0], state)
        action = jax.nn.one_hot(action, 2)
        taken = (log_p[0] * action).sum(-1)
        steps = Steps(seen, resets, action, taken, value[0], done)
        return (state, jnp.where(done, 0, age + 1), carry), steps

    return jax.lax.scan(step, begin, jax.random.split(key, length))


def advantages(steps, last, discount=0.98, decay=0.9):
    """Generalised advantage estimates (Schulman et al. 2016); reward 1 - discount."""
    on, following = 1.0 - steps.done, jnp.concatenate([steps.value[1:], last])
    errors = 1 - discount + discount * on * following - steps.value
    back = lambda later, at: (at[0] + discount * decay * at[1] * later,) * 2
    return jax.lax.scan(back, 0 * errors[0], (errors, on), reverse=True)[1]


def loss(params, carry, steps, advantage):
    """The clipped loss of PPO (Schulman et al. 2017)."""
    _, log_p, value = agent(params, carry, steps.seen, steps.resets)
    ratio = jnp.exp((log_p * steps.action).sum(-1) - steps.log_p)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    gain = jnp.minimum(ratio * scaled, jnp.clip(ratio, 0.8, 1.2) * scaled)
    error = (value - (advantage + steps.value)) ** 2
    return (error - gain + 0.01 * (jnp.exp(log_p) * log_p).sum(-1)).mean()


def train(params, key, memory, *, updates, rows, length=64):
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(5e-3))

    @jax.jit
    def update(params, state, begin, key):
        end, steps = rollout(params, begin, key, length, memory)
        last = rollout(params, end, key, 1, memory)[1].value
        advantage = advantages(steps, last)
        for _ in range(4):
            grads = jax.grad(loss)(params, begin[2], steps, advantage)
            changes, state = optimizer.update(grads, state)
            params = optax.apply_updates(params, changes)
        return params, state, end

    state, at = optimizer.init(params), start(key, rows, len(params["w"]))
    for key_update in jax.random.split(key, updates):
        params, state, at = update(params, state, at, key_update)
    return params


def main(updates=150, rows=32, hidden_size=32):
    key, found = jax.random.key(0), {}
    play = jax.jit(rollout, static_argnums=(3, 4))
    new = {"lstm": init_lstm(key, 2, hidden_size), "w": jnp.zeros((hidden_size, 3))}
    begin = start(key, 200, hidden_size)
    for name, memory in (("with memory", True), ("without", False)):
        trained = train(new, key, memory, updates=updates, rows=rows)
        runs = [play(p, begin, key, LONGEST, memory)[1] for p in (new, trained)]
        before, after = (float((run.done.argmax(0) + 1.0).mean()) for run in runs)
        found[name] = before, after
        print(f"{name:12} {before:5.1f} steps an episode, {after:5.1f} after training")
    return found


if __name__ == "__main__":
    main()
