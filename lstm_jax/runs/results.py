"""The metrics of a trained run: computed, shown and saved."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lstm_jax.runs.confusion import plot_confusion
from lstm_jax.runs.extras import extra, print_plots
from lstm_jax.runs.load import Trained
from lstm_jax.tables import print_table
from lstm_jax.tasks.abilities import HasDetails
from lstm_jax.terminal import say
from lstm_jax.training.metrics import finite, mean
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.step import one_seed


def report(
    trained: Trained,
    split: str,
    save: Callable[[dict[str, Any]], None],
    every_baseline: bool = False,
) -> None:
    """Evaluates every seed on a split, prints the metrics, and saves them.

    Baselines, which need no model, come after that. They may fail without harm.

    Args:
        trained: the run.
        split: the split.
        save: what keeps the metrics, with the baselines once these are there.
        every_baseline: whether to compute baselines that take long as well.
    """
    each = [*evaluate_seeds(trained, split)]
    print_metrics(trained, split, each)
    metrics, found = total(trained, each), {}
    save(metrics)
    with extra("details"):
        report_details(trained, split)
    with extra("baselines"):
        for sentence, baseline in trained.task.baselines(split, every_baseline):
            say(sentence)
            found |= baseline
    if found:
        save(metrics | found)


def report_details(trained: Trained, split: str) -> None:
    """The metrics of each class as a table, and the confusion matrix as a plot, of the
    best seed; nothing where the task has no classes."""
    params = one_seed(trained.params, trained.best_seed, trained.seeds)
    task = trained.task
    if not isinstance(task, HasDetails):
        return
    details = task.details(params, split)
    print_table(details.columns, details.rows)
    path = trained.run.path(f"confusion-{split}.png")
    print_plots(
        lambda: [plot_confusion(details.confusion, details.classes, path)],
        "confusion matrix",
    )


def evaluate_seeds(trained: Trained, split: str) -> Iterator[dict[str, float]]:
    """The metrics of one seed after the other; none of a seed that diverged before its
    first evaluation."""
    for n, best in enumerate(trained.validation.best):
        params = one_seed(trained.params, n, trained.seeds)
        known = np.isfinite(best)
        yield (
            _check(trained.task, trained.task.evaluate(params, split)) if known else {}
        )


def _check(task, metrics):
    if not np.isfinite(metrics["loss"]):
        evaluation = task.config.evaluation
        keys = [
            f"evaluation.{field.name}={value}"
            for field in dataclasses.fields(evaluation)
            if (value := getattr(evaluation, field.name)) != field.default
        ]
        remedy = "train again with a lower optimizer.learning_rate"
        if keys:
            remedy = f"set smaller values than {' '.join(keys)}"
        raise RunError(
            f"the loss is {metrics['loss']}, expected a finite number; {remedy}."
        )
    return metrics


def total(trained: Trained, each: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The means of the seeds that have metrics, and of several the metrics of each."""
    there = [metrics for metrics in each if metrics]
    means = {name: mean([m[name] for m in there]) for name in there[0]}
    if trained.seeds == 1:
        return means
    first = trained.task.config.seed
    return means | {"seeds": [{"seed": first + n} | m for n, m in enumerate(each)]}


def print_metrics(
    trained: Trained, split: str, each: Sequence[dict[str, float]]
) -> None:
    """The means in a sentence, and in a table the metrics of every seed."""
    task, validation = trained.task, trained.validation
    known = sum(map(bool, each))
    whose = f"mean of {known} of {trained.seeds} seeds: " if trained.seeds > 1 else ""
    say(f"{split}: {whose}{task.sentence(total(trained, each))}")
    names = [*next(filter(None, each))]
    rows = [
        (task.config.seed + n, int(step), *finite([best]), *map(metrics.get, names))
        for n, (metrics, step, best) in enumerate(
            zip(each, validation.best_step, validation.best, strict=True)
        )
    ]
    columns = [f"{split} {_title(task, name)}" for name in names]
    monitored = task.config.train.monitor.replace("_", " ")
    print_table(["seed", "best at step", monitored, *columns], rows)


def _title(task, name):
    """A metric, its unit, and which values are better where that is not plain."""
    metric = task.metrics.get(name)
    unit = metric.unit if metric and metric.unit != name else ""
    in_brackets = [unit] if unit and unit not in name else []
    if metric and metric.better == "higher":
        in_brackets.append("higher is better")
    title = name.replace("_", " ")
    return f"{title} ({', '.join(in_brackets)})" if in_brackets else title
