"""What the training loop costs: its steps a second beside those of the bare step.

    python -m benchmarks.engine

The loop logs every step, reports, and has its checkpoints written; validation is left
out, since it is no part of a step. The bare step is the same program, one jitted step
after the other with no more around it than a wait for the last one; the bare blocks are
what the loop calls, a block after the other. They take turns.
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from benchmarks import RESULTS
from lstm_jax.bench.report import save, table
from lstm_jax.bench.timing import paired_ratio, seconds, take_turns
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import Start, make_trainer
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.record import Run
from lstm_jax.training.step import make_block

SIZES = {
    "B=32, window 64, 1 layer of 256": (
        400,
        ["model.hidden_size=256", "train.window=64"],
    ),
    "B=20, window 35, 2 layers of 200": (
        600,
        [
            "model.hidden_size=200",
            "model.num_layers=2",
            "train.window=35",
            "train.batch_size=20",
        ],
    ),
    "B=8, window 16, 1 layer of 64": (
        8000,
        [
            "model.hidden_size=64",
            "train.window=16",
            "train.batch_size=8",
            "train.checkpoint_every=2000",
            "train.evaluate_every=2000",
        ],
    ),
}
"""Steps for some seconds, and what differs from the defaults of the task; the loop is
interrupted, for a checkpoint too, every 200 steps where nothing else is said."""


CLOCKS = ("bare", "blocks", "loop")


def prepare(overrides, steps):
    """The task, and a function that makes a state before the first step."""
    sizes = [f"train.steps={steps}", *overrides]
    config = read_config({"task": "language_model"}, sizes)
    task = make_task(config)
    start = Start.of(task)
    bare = make_block(task.loss, start.optimizer, start.batches.at, 1)
    return SimpleNamespace(
        config=config,
        start=start,
        state=lambda: jax.tree.map(jnp.copy, start.state),
        block=start.block,
        bare=bare,
    )


def bare_seconds(case, data, steps):
    """One jitted step after the other."""
    state = case.state()

    def run():
        nonlocal state
        for _ in range(steps):
            state, losses = case.bare(state, data, 1)
        jax.block_until_ready((state, losses))

    return seconds(run)


def block_seconds(case, data, steps):
    """One jitted block of steps after the other."""
    state, capacity = case.state(), case.config.train.block

    def run():
        nonlocal state
        for first in range(0, steps, capacity):
            state, losses = case.block(state, data, min(capacity, steps - first))
        jax.block_until_ready((state, losses))

    return seconds(run)


def loop_seconds(case):
    """The loop, with all it writes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.make(Path(folder) / "run")
        with run.alone(), contextlib.redirect_stdout(io.StringIO()):
            run.begin("", {})
            checkpoints = Checkpoints(run.path("checkpoints"))
            checkpoints.make()
            trainer, evaluation = make_trainer(
                run, checkpoints, case.start, case.state()
            )
            evaluation.evaluate = lambda params: {"loss": 0.0}
            return seconds(trainer.fit)


def measure(overrides, steps, repeats):
    case = prepare(overrides, steps)
    data, _ = case.start.batches.take(0, 1)
    clocks = {
        "bare": lambda: bare_seconds(case, data, steps),
        "blocks": lambda: block_seconds(case, data, steps),
        "loop": lambda: loop_seconds(case),
    }
    for clock in clocks.values():  # compiles
        clock()
    times = take_turns(clocks, repeats, at_least=min(repeats, 5))
    share = paired_ratio(times["bare"], times["loop"])
    of_blocks = paired_ratio(times["blocks"], times["loop"])
    per_second = {name: steps / float(min(t)) for name, t in times.items()}
    return {
        "steps": steps,
        "steps_per_second": per_second,
        "loop_of_bare": share,
        "loop_of_blocks": of_blocks,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    results = {
        name: measure(overrides, steps, args.repeats)
        for name, (steps, overrides) in SIZES.items()
    }
    rows = [("steps a second", *CLOCKS, "loop / bare", "loop / blocks")]
    for name, found in results.items():
        rates = [f"{rate:.1f}" for rate in found["steps_per_second"].values()]
        rows.append(
            (name, *rates, str(found["loop_of_bare"]), str(found["loop_of_blocks"]))
        )
    print(table(rows))
    print(save("engine", {"sizes": results}, RESULTS))


if __name__ == "__main__":
    main()
