"""``lstm-jax evaluate``: the figures of a trained run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lstm_jax.commands.extras import extra
from lstm_jax.commands.setup import Trained, trained
from lstm_jax.commands.tables import print_table
from lstm_jax.terminal import say
from lstm_jax.training.record import RunError
from lstm_jax.training.seeds import finite, mean
from lstm_jax.training.step import one_seed


def evaluate(args) -> int:
    """The command. Metrics are printed before they are saved, so that a run on a
    read-only disk, or of a colleague, can be evaluated too."""
    run = trained(args.run, args.overrides)
    run.task.check_same_data(run.run.read_json("run.json"), run.run.directory)
    part = args.part or run.task.final_part
    if any(not o.startswith("data.path=") for o in args.overrides):
        # The figures of the run stay what they are.
        each = [*evaluate_seeds(run, part)]
        print_metrics(run, part, each)
        line = {"part": part, "overrides": args.overrides} | total(run, each)
        _save_if_possible(lambda: run.run.append_json("evaluations.jsonl", line))
    else:
        name = f"result-{part}.json"
        save = lambda metrics: _save_if_possible(
            lambda: run.run.write_json(name, metrics)
        )
        report(run, part, save, every_baseline=args.baselines)
    return 0


def _save_if_possible(save):
    try:
        save()
    except RunError as error:
        say(f"not saved: {error}", error=True)


def report(
    trained: Trained,
    part: str,
    save: Callable[[dict[str, Any]], None],
    every_baseline: bool = False,
) -> None:
    """Evaluates every seed on a part, prints the metrics, and saves them.

    Baselines, which need no model, come after that. They may fail without harm.

    Args:
        trained: the run.
        part: the split.
        save: what keeps the metrics, with the baselines once these are there.
        every_baseline: whether to compute baselines that take long as well.
    """
    each = [*evaluate_seeds(trained, part)]
    print_metrics(trained, part, each)
    metrics, found = total(trained, each), {}
    save(metrics)
    with extra("baselines"):
        for sentence, figures in trained.task.yardsticks(part, every_baseline):
            say(sentence)
            found |= figures
    if found:
        save(metrics | found)


def _check(figures):
    if not np.isfinite(figures["loss"]):
        raise RunError(
            f"the loss came to {figures['loss']}, expected a finite one; evaluate with "
            f"smaller values of evaluation.KEY (dynamic_rate or cache_theta of a "
            f"language model)."
        )
    return figures


def evaluate_seeds(trained: Trained, part: str) -> Iterator[dict[str, float]]:
    """The figures of one seed after the other; of one that was over before its first
    evaluation there are none."""
    for n, best in enumerate(trained.validation.best):
        params = one_seed(trained.params, n, trained.seeds)
        known = np.isfinite(best)
        yield _check(trained.task.evaluate(params, part)) if known else {}


def total(trained: Trained, each: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The means of the seeds that have figures, and of several the figures of each."""
    there = [figures for figures in each if figures]
    means = {name: mean([f[name] for f in there]) for name in there[0]}
    if trained.seeds == 1:
        return means
    first = trained.task.config.seed
    return means | {"seeds": [{"seed": first + n} | f for n, f in enumerate(each)]}


def print_metrics(
    trained: Trained, part: str, each: Sequence[dict[str, float]]
) -> None:
    """The means in a sentence, and in a table the figures of every seed."""
    task, validation = trained.task, trained.validation
    known = sum(map(bool, each))
    whose = f"mean of {known} of {trained.seeds} seeds: " if trained.seeds > 1 else ""
    say(f"{part}: {whose}{task.sentence(total(trained, each))}")
    names = [*next(filter(None, each))]
    rows = [
        (task.config.seed + n, int(step), *finite([best]), *map(figures.get, names))
        for n, (figures, step, best) in enumerate(
            zip(each, validation.best_step, validation.best, strict=True)
        )
    ]
    columns = [f"{part} {name.replace('_', ' ')}" for name in names]
    print_table(["seed", "best at step", "valid loss", *columns], rows)
