"""A training step of AWD-LSTM in this library and in torch, with every dropout.

The recipe of configs/reproduce/awd.toml on random words. Without dropout, one step of
both has to give the same loss and the same weights; then steps with dropout are timed.
`benchmarks.accelerator` does both.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import awd
from benchmarks.accelerator.contenders import compiled, sample
from lstm_jax.bench.machine import cores
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import first_params

WITHOUT_DROPOUT = (
    *("model.input_dropout=0.0", "model.dropout=0.0", "model.output_dropout=0.0"),
    *("model.embedding_dropout=0.0", "model.weight_drop=0.0", "model.locked=false"),
)


class Sizes(NamedTuple):
    embed: int
    hidden: tuple[int, ...]
    V: int
    B: int
    T: int


TEXT = 4
"""Times the words of a window are in the text, of which the first are for training."""
PUBLISHED = Sizes(embed=400, hidden=(1150, 1150, 400), V=10_000, B=20, T=70)
TINY = Sizes(embed=4, hidden=(6, 5, 4), V=12, B=2, T=5)


def build(name: str, sizes: Sizes) -> Any:
    """In the process of a library: its step, and what it does without dropout."""
    plain = MODELS[name](task_of(sizes, *WITHOUT_DROPOUT))
    before, loss = plain.weights(), plain.step()
    change = lambda old, new: np.asarray(old) - np.asarray(new)
    changes = jax.tree.map(change, before, plain.weights())
    values = {"loss": np.array(float(loss))}
    for path, changed in jax.tree_util.tree_leaves_with_path(changes):
        values[f"change of {jax.tree_util.keystr(path)}"] = sample(changed)
    model = MODELS[name](task_of(sizes))
    facts = {"ready_seconds": model.ready_seconds, "device": model.device}
    return {"step": model.step}, (values, facts)


def task_of(sizes: Sizes, *changes: str) -> Any:
    """The task of the recipe at these sizes, on random words."""
    rng = np.random.default_rng(0)
    count = 2 + TEXT * sizes.B * sizes.T // sizes.V
    every_word = [rng.permutation(sizes.V) for _ in range(count)]
    shapes = (
        f"model.embed_size={sizes.embed}",
        f"model.hidden_size={list(sizes.hidden)}",
        f"train.batch_size={sizes.B}",
        f"train.window={sizes.T}",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text(" ".join(f"w{n}" for n in np.concatenate(every_word)))
        changes = (f"data.path={path}", *shapes, *changes)
        task: Any = make_task(read_config(read(awd.CONFIG), changes))
        len(task.rows)  # read while the file is there
    return task


class Ours:
    """The loss of the task, and its optimizer without the averages."""

    def __init__(self, task):
        rule = task.config.optimizer
        change = optax.chain(
            optax.clip_by_global_norm(rule.clip_norm),
            optax.add_decayed_weights(rule.weight_decay),
            optax.sgd(rule.learning_rate),
        )
        self.device = jax.default_backend()
        params = first_params(task, task.config.seed)[0]
        self._state = params, change.init(params), task.init_carry(), jnp.array(0)
        self._window = jnp.asarray(task.rows[: task.config.train.window + 1])

        def step(state, window):
            params, rule, carry, n = state
            key = jax.random.fold_in(jax.random.key(0), n)
            loss_of = jax.value_and_grad(task.loss, has_aux=True)
            (loss, aux), grads = loss_of(params, carry, window, key)
            updates, rule = change.update(grads, rule, params)
            return (optax.apply_updates(params, updates), rule, aux.carry, n + 1), loss

        step = jax.jit(step, donate_argnums=0)
        self._step, self.ready_seconds = compiled(step, self._state, self._window)

    def step(self):
        self._state, loss = self._step(self._state, self._window)
        return jax.block_until_ready(loss)

    def weights(self):
        return jax.tree.map(jnp.copy, self._state[0])


class Torch:
    """`benchmarks.awd.AWD`, on the GPU where there is one."""

    ready_seconds = None

    def __init__(self, task):
        import torch

        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = "cuda" if gpu else "cpu"
        if not gpu:
            torch.set_num_threads(cores())
        self._task, self._carry = task, None
        self._model = awd.AWD(torch, task, self.device)
        self._optimizer = awd.optimizer_of(torch, self._model, task)
        window = task.rows[: task.config.train.window + 1].astype(np.int64)
        self._window = torch.tensor(window, device=self.device)

    def step(self):
        loss, self._carry = self._model.step(self._optimizer, self._window, self._carry)
        return loss

    def weights(self):
        return self._model.ours(self._task.model.shapes)


MODELS: dict[str, Callable[[Any], Any]] = {"lstm_jax": Ours, "torch": Torch}
