"""``lstm-jax evaluate`` and ``lstm-jax generate``: what a trained run is good for."""

from typing import Any

import numpy as np

from lstm_jax.commands.setup import Trained, best_of, trained
from lstm_jax.commands.tables import print_table
from lstm_jax.training.record import RunError
from lstm_jax.training.step import one_seed


def evaluate(args) -> int:
    """The command ``evaluate``."""
    run = trained(args.run)
    run.task.check_same_data(run.run.read_json("run.json"), run.run.directory)
    report(run, args.part)
    return 0


def generate(args) -> int:
    """The command ``generate``."""
    _, task, params = best_of(args.run)
    write = getattr(task, "generate", None)
    if write is None:
        raise RunError(
            f"{args.run} is a run of task {task.config.task}, which generates "
            f"nothing; name one of a language model."
        )
    text = write(params, args.prompt, args.length, args.temperature, args.seed)
    print(args.prompt + text)
    return 0


def report(trained: Trained, part: str) -> dict[str, Any]:
    """Evaluates every seed on a part; writes and says what came out."""
    run, task, params, validation = trained
    seeds, yardsticks = trained.seeds, task.yardsticks(part)
    each = [task.evaluate(one_seed(params, i, seeds), part) for i in range(seeds)]
    figures: dict[str, Any] = {
        name: float(np.mean([f[name] for f in each])) for name in each[0]
    }
    if seeds > 1:
        first = task.config.seed
        figures["seeds"] = [{"seed": first + i} | f for i, f in enumerate(each)]
    run.write_json(f"result-{part}.json", figures | yardsticks)
    mean = "mean of all seeds: " if seeds > 1 else ""
    print(f"{part}: {mean}{task.sentence(figures | yardsticks)}")
    _print_each(task, part, each, validation)
    return figures


def _print_each(task, part, each, validation):
    """A row for every seed: when it was best, and its figures."""
    rows = [
        (task.config.seed + i, int(step), float(best), *figures.values())
        for i, (figures, step, best) in enumerate(
            zip(each, validation.best_step, validation.best, strict=True)
        )
    ]
    columns = [f"{part} {name.replace('_', ' ')}" for name in each[0]]
    print_table(["seed", "best at step", "valid loss", *columns], rows)
