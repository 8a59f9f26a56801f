"""``lstm-jax sweep``: many runs of a config, to find its best values."""

import argparse
import dataclasses
import shlex
from pathlib import Path

from lstm_jax.commands.arguments import add_overrides, count, local_path
from lstm_jax.config import read
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.shipped import config_path
from lstm_jax.sweeps.claims import HAS_LOCKS
from lstm_jax.sweeps.plan import SAMPLERS, Plan, check_same_plan
from lstm_jax.sweeps.report import (
    Progress,
    draw,
    print_best,
    print_trials,
    rows,
    write_trials,
)
from lstm_jax.sweeps.space import fitted, parse
from lstm_jax.sweeps.study import Sweep, check_vacant
from lstm_jax.sweeps.trial import metric_of, work
from lstm_jax.sweeps.workers import Workers, stops_with_parent
from lstm_jax.terminal import output_may_close, say
from lstm_jax.training.run_errors import RunError, make_folder


def add_command(commands) -> None:
    """``lstm-jax sweep`` and its options."""
    command = commands.add_parser(
        "sweep",
        help="train a config with many values of its keys, and find the best",
        description="Trains trials: runs with values sampled for the keys that vary. "
        "The same command continues a sweep that was stopped, however it was stopped, "
        "and a second terminal can help.",
        epilog="examples of arguments: optimizer.learning_rate=log:1e-4..1e-2, "
        "model.dropout=0..0.5, train.batch_size=16,32,64, train.steps=2000",
    )
    add = command.add_argument
    add("base", metavar="config", help="a TOML file, or one that comes with lstm_jax")
    add_overrides(
        command,
        metavar="KEY=VALUES",
        said="log:LOW..HIGH, LOW..HIGH, A,B,C, or one value for all trials",
    )
    add("--trials", type=count, default=30, metavar="N", help="trials in all (30)")
    add(
        "--directory",
        type=local_path,
        metavar="FOLDER",
        help="the folder of the sweep (runs/CONFIG-sweep)",
    )
    add("--workers", type=count, default=1, metavar="N", help="processes (1)")
    add("--sampler", choices=SAMPLERS, default="tpe", help="how to sample (tpe)")
    add("--seed", type=_seed, default=0, help="of the sampler (0)")
    add(
        "--prune",
        action="store_true",
        help="stop a trial at an evaluation at which it is worse than the median",
    )
    add("--show", action="store_true", help="show the trials so far; train nothing")
    add("--as-worker", type=int, help=argparse.SUPPRESS)
    command.set_defaults(command=sweep)


def _seed(text):
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 2**31 - 1.")
    return int(text)


def sweep(args) -> int:
    """The command."""
    _check_installed()
    path = config_path(args.base)
    directory = args.directory or Path("runs") / f"{path.stem}-sweep"
    if args.show:
        found = Sweep.find(directory)
        if found is None:
            raise RunError(f"{directory} holds no sweep; name one with --directory.")
        return _show(args, found)
    values = read(path)
    words = fitted(parse(args.overrides), values)
    config = read_config(values, words.constants)
    settings = {"sampler": args.sampler, "seed": args.seed, "prune": args.prune}
    plan = Plan(words.spaces, words.constants, config, **settings)
    with output_may_close():  # a closed terminal must not cost a sweep
        stopped_by = _train(args, plan, values, directory)
    if args.as_worker:
        return 130 if stopped_by else 0
    if stopped_by:
        say(f"stopped by {stopped_by}; the trials are saved in {directory}.")
        workers = ["--workers", str(args.workers)] if args.workers > 1 else []
        again = ["lstm-jax", "sweep", *_arguments(args, directory), *workers]
        say(f"go on with: {shlex.join(again)}")
        return 130
    done = Sweep.find(directory)
    assert done is not None
    return _show(args, done)


def _check_installed():
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise RunError(
            "a sweep needs the package optuna: pip install 'lstm-jax[sweep]'."
        ) from error
    del optuna


def _train(args, plan, values, directory):
    """Trains all trials; returns the signal that stopped it, or ``None``."""
    if args.workers > 1:
        return _with_workers(args, plan, directory)
    stopping = stops_with_parent() if args.as_worker else lambda: False
    # The data are read before the first trial, so that a wrong path fails no trial.
    plan = dataclasses.replace(plan, monitor=metric_of(plan.config))
    sweep = Sweep.start(directory, plan)
    return work(sweep, plan, values, args.trials, stopping)


def _with_workers(args, plan, directory):
    """Trains trials in several processes. This one starts no backend of JAX."""
    if not HAS_LOCKS:
        raise RunError(
            "several workers need locks of files, which this system does not have; "
            "leave out --workers."
        )
    check_vacant(directory)
    found = Sweep.find(directory)
    if found is not None:
        check_same_plan(directory, found.plan, plan)
    make_folder(directory, "--directory")
    progress = Progress(directory, args.trials)
    workers = Workers(_arguments(args, directory), args.workers, directory)
    say(f"{args.workers} workers write to {', '.join(map(str, workers.logs))}")
    return workers.wait(progress)


def _arguments(args, directory):
    """The command again, but for its number of workers."""
    options = {
        "--trials": str(args.trials),
        "--directory": str(directory),
        "--sampler": args.sampler,
        "--seed": str(args.seed),
    }
    words = [word for pair in options.items() for word in pair]
    return [args.base, *args.overrides, *words, *["--prune"] * args.prune]


def _show(args, sweep):
    """Prints and writes what came of a sweep; 1 if it has ended without a value."""
    found = rows(sweep)
    print_trials(sweep, found)
    if found and found[0].state == "complete":
        print_best(args.base, sweep, found[0])
    say(f"trials: {write_trials(sweep, found)}")
    draw(sweep, found)
    if args.show or (found and found[0].state == "complete"):
        return 0
    say("no trial is complete; see why above.", error=True)
    return 1
