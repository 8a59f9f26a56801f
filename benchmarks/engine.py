"""How much does the training loop cost, compared with the bare step?

    python -m benchmarks.engine
    python -m benchmarks.engine --host  # only batches from the host; five minutes

The loop loads batches, logs every step, reports progress and writes checkpoints. It
does not validate, because validation is not part of a step. The bare steps are the same
program: one jitted step after the other, on batches that are already on the device. The
bare blocks are the blocks that the loop calls. All three take turns.
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench.report import save, table
from lstm_jax.bench.timing import paired_ratio, seconds, take_turns
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import Start, make_trainer
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.run_folder import Run
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

HOST = "host batches: B=128, T=28, D=28, 1 layer of 128"
"""Images read row by row, as of MNIST, from a file that is made for it."""
HOST_STEPS = 420


def text_task(overrides, steps):
    """A language model, whose batches lie on the device."""
    sizes = [f"train.steps={steps}", *overrides]
    return make_task(read_config({"task": "language_model"}, sizes))


def host_task(folder, steps, images=60_000):
    """A classifier, whose batches come from the host."""
    rng = np.random.default_rng(0)
    xs = rng.random((images, 28, 28), np.float32)
    np.savez(folder / "images.npz", x=xs, y=rng.integers(10, size=images))
    data = {"kind": "series", "path": str(folder / "images.npz")}
    train = {"steps": steps, "batch_size": 128, "checkpoint_every": steps}
    return make_task(
        read_config(
            {
                "task": "classification",
                "data": data | {"valid_fraction": 0.05, "test_fraction": 0.0},
                "train": train | {"evaluate_every": steps},
            }
        )
    )


def prepare(task):
    """All that is timed of a task, and a function that makes the first state."""
    start, block = Start.of(task), task.config.train.block
    bare = make_block(task.loss, start.optimizer, start.batches.at, 1)
    step, taken = 0, []
    while step < start.steps:  # on the device before anything is timed
        data, n = start.batches.take(step, min(block, start.steps - step))
        taken.append((step, data, n))
        step += n
    start.batches.close()
    return SimpleNamespace(
        start=start,
        state=lambda: jax.tree.map(jnp.copy, start.state),
        block=start.block,
        bare=bare,
        taken=taken,
    )


def bare_seconds(case):
    """One jitted step after the other."""
    state = case.state()

    def run():
        nonlocal state
        for _, data, n in case.taken:
            for _ in range(n):
                state, metrics = case.bare(state, data, 1)
        jax.block_until_ready((state, metrics))

    return seconds(run)


def block_seconds(case):
    """One jitted block of steps after the other."""
    state = case.state()

    def run():
        nonlocal state
        for _, data, n in case.taken:
            state, metrics = case.block(state, data, n)
        jax.block_until_ready((state, metrics))

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


def measure(task, repeats):
    case = prepare(task)
    clocks = {
        "bare": lambda: bare_seconds(case),
        "blocks": lambda: block_seconds(case),
        "loop": lambda: loop_seconds(case),
    }
    for clock in clocks.values():  # compiles
        clock()
    times = take_turns(clocks, repeats, at_least=min(repeats, 5))
    ratio = paired_ratio(times["bare"], times["loop"])
    of_blocks = paired_ratio(times["blocks"], times["loop"])
    steps = case.start.steps
    per_second = {name: steps / float(min(t)) for name, t in times.items()}
    return {
        "steps": steps,
        "steps_per_second": per_second,
        "loop_of_bare": ratio,
        "loop_of_blocks": of_blocks,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--host", action="store_true", help="only host batches")
    args = parser.parse_args()
    sizes = {} if args.host else SIZES
    results = {
        name: measure(text_task(overrides, steps), args.repeats)
        for name, (steps, overrides) in sizes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        task = host_task(Path(folder), HOST_STEPS)
        results[HOST] = measure(task, args.repeats)
    rows = [("steps a second", *CLOCKS, "loop / bare", "loop / blocks")]
    for name, found in results.items():
        rates = [f"{rate:.1f}" for rate in found["steps_per_second"].values()]
        rows.append(
            (name, *rates, str(found["loop_of_bare"]), str(found["loop_of_blocks"]))
        )
    print(table(rows))
    name = "engine_host" if args.host else "engine"
    print(save(name, {"sizes": results}, RESULTS))


if __name__ == "__main__":
    main()
