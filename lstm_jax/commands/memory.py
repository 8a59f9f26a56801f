"""``lstm-jax memory``: compares cells with the same budget on a problem of long
memory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import files
from lstm_jax.commands.arguments import add_overrides, local_path
from lstm_jax.commands.memory_plots import (
    NO_GRADIENT,
    plot_gradients,
    plot_losses,
    task_of,
)
from lstm_jax.commands.receipts import altering, machine_of, recipe_of
from lstm_jax.config import ConfigError
from lstm_jax.core.arguments import seed_key
from lstm_jax.core.recurrence.unroll import unroll
from lstm_jax.diagnostics import state_gradients
from lstm_jax.models.sequence_reader import CELLS
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.extras import print_plots
from lstm_jax.runs.load import Trained, trained
from lstm_jax.runs.shipped import read_named
from lstm_jax.runs.train import first_params, train_run
from lstm_jax.tables import print_table
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError, cannot_write, make_folder
from lstm_jax.training.run_folder import Run
from lstm_jax.training.step import one_seed
from lstm_jax.training.trainer import Diverged

SEQUENCES = 16
"""How many sequences the gradients of the states are averaged over."""


def add_command(commands) -> None:
    """``lstm-jax memory`` and its options."""
    command = commands.add_parser(
        "memory", help="compare cells on a problem of long memory"
    )
    command.add_argument(
        "config", help="a TOML file, or a config of lstm_jax: memory_adding"
    )
    add_overrides(command)
    command.add_argument(
        "--cells",
        nargs="+",
        metavar="CELL",
        action="extend",
        help=", ".join(ALL_CELLS),
    )
    command.add_argument(
        "--resume", action="store_true", help="continue the runs that exist"
    )
    command.add_argument(
        "--out", type=local_path, help="a folder for copies of metrics and plots"
    )
    command.set_defaults(command=memory)


def memory(args) -> int:
    """The command: trains every cell, then compares them in a table and plots."""
    values = read_named(args.config)
    first = read_config(values, args.overrides)
    if first.task != "memory":
        raise ConfigError(f"{args.config} is of task {first.task}, expected memory.")
    folder = Path(first.run.directory or Path("runs") / Path(args.config).stem)
    _check(args, folder)
    diverged = {}
    for cell in args.cells:
        mine = [f"model.cell={cell}", f"run.directory={folder / cell}"]
        config = read_config(values, [*args.overrides, *mine])
        print(f"\n{cell}")
        resume = Run(folder / cell).has_begun
        try:
            outcome = train_run(config, folder / cell, resume=resume)
        except Diverged as error:
            diverged[cell] = str(error)
            say(f"diverged: {error}")
            continue
        if outcome.stopped_by:
            print(f"stopped at step {outcome.step:,}; continue with --resume.")
            return 130
    cells = [cell for cell in args.cells if cell not in diverged]
    if not cells:
        return 1
    changed = altering(args.overrides, "memory")
    if set(args.cells) != set(CELLS):
        changed.append(f"--cells {' '.join(args.cells)}")
    written = compare(folder, cells, diverged, changed)
    if args.out:
        name = Path(args.config).stem + ("-changed" if changed else "")
        say("receipt:", *keep(written, args.out, name))
    return 1 if diverged else 0


def _check(args, folder):
    """Checks the arguments before hours of training."""
    unknown = [cell for cell in args.cells if cell not in CELLS]
    if unknown or not args.cells:
        raise ConfigError(
            f"--cells {' '.join(unknown) or 'names none'}; valid: {', '.join(CELLS)}."
        )
    own = [o for o in args.overrides if o.startswith("model.cell=")]
    if own:
        raise ConfigError(f"{own[0]}: every cell is trained; choose with --cells.")
    if len(set(args.cells)) < len(args.cells):
        raise ConfigError(f"--cells {' '.join(args.cells)} names a cell twice.")
    if not args.resume:
        for cell in args.cells:
            Run.check_vacant(folder / cell)
    if args.out:
        make_folder(args.out, "--out")


def keep(written: Iterable[Path], folder: Path, name: str) -> list[Path]:
    """Copies the files of a comparison, under the name of its config.

    Raises:
        RunError: they cannot be written.
    """
    kept = []
    for path in written:
        kept.append(folder / f"{name}-{path.name}")
        try:
            files.write_bytes(kept[-1], path.read_bytes())
        except OSError as error:
            raise cannot_write(kept[-1], error, "the runs are kept") from error
    return kept


def compare(
    folder: Path,
    cells: list[str],
    diverged: Mapping[str, str] = MappingProxyType({}),
    changed: Sequence[str] = (),
) -> list[Path]:
    """Metrics and plots of the runs of cells, each in a folder with the cell's name.

    Args:
        folder: where the runs are, and where the files go.
        cells: the cells whose runs finished.
        diverged: the other cells, and why they diverged.
        changed: how the recipe of the config was changed.

    Returns:
        The files that were written.

    Raises:
        RunError: a run has no evaluations, or the files cannot be written.
    """
    runs = {cell: trained(folder / cell) for cell in cells}
    results = {cell: _results(run) for cell, run in runs.items()}
    task = task_of(next(iter(runs.values())))
    comparison = {
        "problem": task.config.problem.name,
        "length": task.problem.length,
        "memoryless": task.problem.memoryless,
        "solved_when": task.problem.solved_when,
        "diverged": dict(diverged),
        "cells": results,
        "changed": list(changed),
        "config": _recipe(task.config),
    }
    Run(folder).write_json("memory.json", comparison)
    print(f"\n{task.config.problem.name}, solved when {task.problem.solved_when}")
    columns = ["cell", "seeds solved", "at step", "minutes", "test loss", "right"]
    shown = ("solved", "solved_at", "minutes", "test_loss", "right")
    rows = [(cell, *(found[k] for k in shown)) for cell, found in results.items()]
    print_table(columns, rows)

    def draw():
        yield plot_losses(folder, runs)
        reach = {cell: gradients(run) for cell, run in runs.items()}
        yield plot_gradients(folder, reach)

    return [folder / "memory.json", *print_plots(draw)]


def _recipe(config):
    values = recipe_of(config)
    del values["model"]["cell"]
    return values


def _results(run: Trained) -> dict[str, Any]:
    lines = run.run.evaluations()
    if not lines:
        raise RunError(
            f"{run.run.path('metrics.jsonl')} has no evaluations, which the comparison "
            f"needs; train {run.run.directory.name} in another folder."
        )
    solved_at = [_solved_at(run, lines, seed) for seed in range(run.seeds)]
    steps = [step for step in solved_at if step is not None]
    metadata = run.run.read_json("run.json")
    result = run.run.read_json("result-test.json")
    seconds = metadata.get("seconds")
    return {
        "solved": f"{len(steps)} of {run.seeds}",
        "solved_at": float(np.median(steps)) if steps else None,
        "solved_at_each": solved_at,
        "minutes": None if seconds is None else seconds / 60,
        "steps": lines[-1]["step"],
        "test_loss": result["loss"],
        "right": result["right"],
        "machine": machine_of([run]),
        "python": metadata["python"],
        "versions": metadata["versions"],
    }


def _solved_at(run, lines, seed):
    """The first evaluation at which a seed had solved its problem."""
    for line in lines:
        loss, right = (
            line[f"{name}_each"][seed] if run.seeds > 1 else line[name]
            for name in ("valid_loss", "valid_right")
        )
        if loss is not None and task_of(run).problem.is_solved(loss, right):
            return line["step"]
    return None


def gradients(run: Trained) -> dict[str, dict[str, list[float]]]:
    """``|dL/dh_t|`` and ``|dL/dc_t|`` of the last layer, before training and after.

    Means over sequences, of the best seed.
    """
    task, best = task_of(run), run.best_seed
    first, _ = first_params(task, task.config.seed + best)
    xs, targets = task.problem.draw(seed_key(0), SEQUENCES)

    @jax.jit
    def norms(params):
        model = task.model(params)
        *below, top = model.layers.stack.cells
        *weights, last = model.layers.params
        inputs = xs
        for cell, layer in zip(below, weights, strict=True):
            inputs = unroll(cell, layer, None, inputs)[1]
        read = lambda hs: model.head(hs[-1] if task.problem.reads_last else hs)
        # The sum of all sequences, so that each has the gradient of its own loss.
        loss = lambda hs: task.problem.losses(read(hs), targets).sum()
        found = state_gradients(top, last, inputs, loss)
        mean = lambda norm: jnp.exp(jnp.log(norm + NO_GRADIENT).mean(1))
        return jax.tree.map(mean, found)

    trained = one_seed(run.params, best, run.seeds)
    found = {"before": norms(first), "after": norms(trained)}
    return {
        when: {name: np.asarray(n).tolist() for name, n in carry._asdict().items()}
        for when, carry in found.items()
    }


ALL_CELLS = list(CELLS)
