"""The training loop: blocks of steps, evaluation, checkpoints, clean stops."""

import contextlib
import functools
import math
import signal
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import PositiveInt

from lstm_jax._types import PyTree
from lstm_jax.config import config
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.progress import ProgressReport
from lstm_jax.training.record import Run
from lstm_jax.training.step import TrainState


@config
class TrainConfig:
    """How long to train, and how often to do what."""

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 32
    window: PositiveInt = 64
    """Steps of backpropagation through time; the carry goes on beyond them."""
    block: PositiveInt = 50
    """Steps in one jitted call, at most."""
    evaluate_every: PositiveInt = 200
    checkpoint_every: PositiveInt = 200


class Diverged(RuntimeError):
    """The loss or a parameter is not finite any more."""


def fit(
    state: TrainState,
    data: PyTree,
    block: Callable[[TrainState, PyTree, int], tuple[TrainState, jax.Array]],
    evaluate: Callable[[PyTree], float],
    config: TrainConfig,
    learning_rate: optax.Schedule,
    run: Run,
    checkpoints: Checkpoints,
) -> tuple[TrainState, bool]:
    """Trains from ``state`` to ``config.steps`` and records everything in ``run``.

    Args:
        state: where to start; donated.
        data: what ``block`` reads, on the device.
        block: from `lstm_jax.training.step.make_block`.
        evaluate: parameters to validation loss.
        config: see `TrainConfig`.
        learning_rate: step to learning rate, for the record.
        run, checkpoints: where everything is kept.

    Returns:
        The state reached, and whether the run is complete: after Ctrl-C or SIGTERM it
        is not, and the state has been saved.

    Raises:
        Diverged: a loss or a parameter is not finite; checkpoints made before are kept.
    """
    step = int(state.step)
    learning_rate = _in_chunks(learning_rate)
    tokens = config.batch_size * config.window
    best = min(
        (m["valid_loss"] for m in run.metrics() if "valid_loss" in m), default=None
    )
    with (
        _stop_requests() as stop,
        ProgressReport(config.steps, step, tokens) as progress,
    ):
        while step < config.steps and not stop.is_set():
            state, losses = block(state, data, _steps_to_take(step, config))
            losses = np.asarray(losses)[: int(state.step) - step]
            _check_finite(losses, step, checkpoints)
            run.log(_train_lines(step, losses, learning_rate))
            step += len(losses)
            progress.update(step, float(losses.mean()))
            done = step == config.steps
            if done or step % config.evaluate_every == 0:
                valid = evaluate(state.params)
                if not math.isfinite(valid):
                    raise _diverged(f"validation loss is {valid}", step, checkpoints)
                run.log([{"step": step, "valid_loss": valid}])
                progress.say(
                    f"step {step:,} · validation {valid / math.log(2):.4f} bits"
                )
                if best is None or valid < best:
                    best = valid
                    checkpoints.save_best(state)
            if done or step % config.checkpoint_every == 0 or stop.is_set():
                if not _all_finite(state.params):
                    raise _diverged("a parameter is not finite", step, checkpoints)
                checkpoints.save(state)
        if stop.is_set() and _all_finite(state.params):
            checkpoints.save(state)
    return state, step >= config.steps


def _steps_to_take(step, config):
    """Up to the next step at which something other than training happens."""
    stops = (config.evaluate_every, config.checkpoint_every)
    ends = [step + config.block, config.steps, *(step - step % n + n for n in stops)]
    return min(ends) - step


def _train_lines(step, losses, learning_rate):
    return [
        {"step": s + 1, "loss": float(value), "learning_rate": learning_rate(s)}
        for s, value in enumerate(losses, step)
    ]


def _in_chunks(schedule, size=1024):
    """``schedule`` for a step at a time, computed for many in one call.

    XLA rounds otherwise in an array of another length. Chunks that do not depend on the
    blocks give a step the same bits however a run was cut.
    """

    @functools.lru_cache(maxsize=2)
    def chunk(n):
        return np.asarray(jax.vmap(schedule)(n * size + jnp.arange(size)))

    return lambda step: float(chunk(step // size)[step % size])


def _check_finite(losses, step, checkpoints):
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        at = step + int(bad[0]) + 1
        raise _diverged(f"loss is {losses[bad[0]]}", at, checkpoints)


def _diverged(what, step, checkpoints):
    last = checkpoints.last_step
    kept = "there is no checkpoint yet"
    if last is not None:
        kept = f"the last good checkpoint is kept, that of step {last:,}"
    return Diverged(
        f"{what} at step {step:,}; {kept}. "
        f"Lower optimizer.learning_rate or optimizer.clip_norm and start again."
    )


@jax.jit
def _all_finite(params):
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
    return jnp.stack(finite).all()


@contextlib.contextmanager
def _stop_requests():
    """An event set by Ctrl-C or SIGTERM; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(signum, frame):
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
