"""``lstm-jax train``: a run from its config to its figures, and on where it stopped."""

import shlex
import time
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.bench.machine import cores, cpu_model
from lstm_jax.commands.evaluate import report
from lstm_jax.commands.setup import (
    Trained,
    make_task,
    read_config,
    rules,
    seed_axis,
)
from lstm_jax.config import ConfigError, changes, dump, read
from lstm_jax.tasks.task import Task
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.loop import Diverged, Loop
from lstm_jax.training.plots import plot_run
from lstm_jax.training.record import Run, RunError, environment
from lstm_jax.training.step import init_state, make_block, one_seed, stack_seeds
from lstm_jax.training.validation import Validation

FREE_ON_RESUME = {
    "data.path",
    "run.directory",
    "train.block",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.patience",
    "train.steps",
    "train.tensorboard",
}
"""What a run may go on with otherwise than it began; a text that has moved is still to
be the same text."""


class Outcome(NamedTuple):
    """Where a training has got to."""

    run: Run
    step: int
    complete: bool
    stopped: bool
    """Whether Ctrl-C or SIGTERM came on the way, be it in the last moment."""


def train(args) -> int:
    """The command."""
    config = read_config(read(args.config), args.overrides)
    directory = config.run.directory or Path("runs") / Path(args.config).stem
    outcome = train_run(config, directory, resume=args.resume)
    if not outcome.complete:
        print(f"stopped at step {outcome.step:,}; saved in {outcome.run.directory}.")
        again = ["lstm-jax", "train", args.config, *args.overrides, "--resume"]
        print(f"go on with: {shlex.join(again)}")
        return 130
    return 0


def train_run(
    config: Any,
    directory: str | Path,
    *,
    resume: bool = False,
    free: Collection[str] = FREE_ON_RESUME,
) -> Outcome:
    """Trains, evaluates and plots a run; says what it does.

    Args:
        config: that of its task.
        directory: where it is kept.
        resume: whether it goes on where it stopped.
        free: keys that it may then have other values of.
    """
    run = Run.open(directory) if resume else None
    # A run goes on with what it knows of its data: another version of a library might
    # cut the same text otherwise.
    task = make_task(config, run.read_json("run.json") if run else None)
    optimizer = config.optimizer.build(config.train.steps, _epoch(task))
    state = _first_state(task, optimizer)
    if run:
        _check_resumable(run, task, free)
    else:
        run = Run.create(directory, dump(config), task.describe() | _surroundings())
    with run.alone():
        return _train_alone(run, task, optimizer, state, resume)


def _train_alone(run, task, optimizer, state, resume):
    config = task.config
    checkpoints = Checkpoints(run.path("checkpoints"))
    best, facts = None, {}
    if resume:
        state, best, facts = _restore(run, checkpoints, task, state)
    _print_facts(run, task)
    loop = _loop(run, checkpoints, task, optimizer, state, best, facts)
    start = time.monotonic()
    try:
        complete = loop.run()
    except Diverged:
        _write_outcome(run, config, loop)
        raise
    finally:
        for listener in run.listeners:
            listener.close()
    _write_outcome(run, config, loop)
    if complete:
        print(f"trained in {time.monotonic() - start:.0f} s.")
        _finish(Trained(run, task, loop.best, loop.validation))
    return Outcome(run, int(loop.state.step), complete, loop.was_asked_to_stop)


def _write_outcome(run, config, loop):
    facts = run.read_json("run.json")
    spent = max(facts.get("seconds", 0.0), loop.seconds)
    facts = _with_diverged(facts, config, loop.lost)
    run.write_json("run.json", facts | {"seconds": spent})


def _with_diverged(facts, config, lost):
    """Facts with the seeds that have diverged, and the steps at which they did."""
    over = {config.seed + n: int(at) for n, at in enumerate(lost) if at}
    rest = {name: value for name, value in facts.items() if name != "diverged"}
    return rest | ({"diverged": over} if over else {})


def _surroundings():
    return environment() | {"cpu": cpu_model(), "cores": cores()}


def last_weights(trained: Trained) -> PyTree:
    """The weights after the last step of a run of one seed, be they its best or not.

    Raises:
        RunError: the run has no checkpoint.
    """
    run, task = trained.run, trained.task
    optimizer = task.config.optimizer.build(task.config.train.steps, _epoch(task))
    checkpoints = Checkpoints(run.path("checkpoints"))
    step = checkpoints.last_good()
    if step is None:
        raise RunError(f"{run.directory} has no checkpoint; train it further.")
    like = _first_state(task, optimizer)
    return checkpoints.restore(step, like, task.params).state.weights


def _epoch(task):
    steps = task.steps_per_epoch
    if steps is None and task.config.optimizer.schedule == "epochs":
        raise ConfigError(
            f"optimizer.schedule is 'epochs', but the data of task "
            f"{task.config.task} never come to an end; choose another schedule."
        )
    return steps or 1


def _first_state(task, optimizer):
    averaging, config = task.config.optimizer.averaging(), task.config
    states = []
    for seed in range(config.seed, config.seed + config.train.seeds):
        params, key = task.initial(seed)
        carry = task.init_carry()
        states.append(init_state(params, carry, optimizer, key, averaging))
    return states[0] if len(states) == 1 else stack_seeds(states)


def _loop(run, checkpoints, task, optimizer, state, best, facts):
    config, seeds = task.config, task.config.train.seeds
    if config.train.tensorboard:
        from lstm_jax.training.events import Events

        run.listeners.append(Events(run.path("tensorboard"), run.metrics()))
    return Loop(
        state,
        task.training_data(),
        make_block(
            task.loss,
            optimizer,
            task.batch_at,
            config.train.block,
            averaging=config.optimizer.averaging(),
            seeds=seeds,
        ),
        evaluate=lambda params: task.evaluate(params, "valid"),
        config=config.train,
        learning_rate=config.optimizer.learning_rates(config.train.steps, _epoch(task)),
        run=run,
        checkpoints=checkpoints,
        validation=Validation.replay(
            rules(config), seeds, facts.get("validations", [])
        ),
        best=best,
        unit=task.unit,
        items=task.items_per_step * seeds,
        seconds=facts.get("seconds", 0.0),
        lost=facts.get("lost"),
    )


def _finish(trained: Trained):
    run, seeds, first = trained.run, trained.seeds, trained.task.config.seed
    for n in range(seeds if seeds > 1 else 0):
        if not np.isfinite(trained.validation.best[n]):
            continue  # over before its first evaluation
        name = f"model-seed{first + n}.safetensors"
        run.save_weights(one_seed(trained.params, n, seeds), name)
    run.save_weights(one_seed(trained.params, trained.best_seed, seeds))
    part = trained.task.final_part
    report(trained, part)
    run.write_json("run.json", run.read_json("run.json") | {"final_part": part})
    try:
        paths = plot_run(run, trained.task.unit)
    except ModuleNotFoundError:
        print("no plots: matplotlib is not installed; pip install 'lstm-jax[plots]'")
    else:
        print("plots:", *paths or ["none, metrics.jsonl has no steps"])
    print(f"run and checkpoints: {run.directory}")


def _print_facts(run, task):
    facts = run.read_json("run.json")
    print(task.summary(facts))
    device = [facts, *facts.get("resumed", [])][-1]["device"]
    seeds = task.config.train.seeds
    times = f"{seeds} seeds of " if seeds > 1 else ""
    print(f"{times}{facts['parameters']:,} parameters on {device}")


def _restore(run, checkpoints, task, state):
    """The last good state, the best one, and what was known then; only after that is
    the run written to."""
    config, best, known = task.config, None, {}
    metrics = run.metrics()
    step = checkpoints.last_good()
    if step is None and "final_part" in run.read_json("run.json"):
        raise RunError(
            f"{run.directory} has come to its end, but has no good checkpoint any more "
            f"to go on from; its results are kept, start a run with "
            f"run.directory=FOLDER."
        )
    if step is not None:
        if problem := _misfit(config, step, checkpoints.facts(step)):
            raise RunError(
                f"{run.directory} has a checkpoint of step {step}, {problem}, or start "
                f"a run with run.directory=FOLDER."
            )
        like = seed_axis(task.params, config.train.seeds)
        state, best, known = checkpoints.restore(step, state, like)
    if checkpoints.steps[-1:] not in ([], [step]):
        print(f"going on from step {step or 0:,}; damaged ones are set aside.")
        checkpoints.set_aside(later_than=step or 0)
    checkpoints.remove_half_written()
    facts, step = run.read_json("run.json"), int(state.step)
    last = max((line["step"] for line in metrics), default=0)
    if last < step:
        print(f"metrics.jsonl ends at step {last:,}; its curves will have a gap.")
    run.rewind(step)
    resumed = [*facts.get("resumed", []), {"step": step} | _surroundings()]
    if step < config.train.steps:
        facts.pop("final_part", None)  # its figures are to be made again
    facts = _with_diverged(facts, config, known.get("lost", []))
    run.write_json("run.json", facts | {"resumed": resumed})
    run.write_text("config.toml", dump(config))
    return state, best, known


def _misfit(config, step, known):
    """Why a run of this config cannot go on from a checkpoint, and what to do."""
    validations, steps = known["validations"], config.train.steps
    evaluated = validations[-1][0] if validations else None
    if steps < step:
        return f"later than train.steps={steps}; set train.steps={step} or more"
    if steps == step != evaluated:
        return (
            f"where it was not evaluated, and train.steps={steps} leaves nothing to "
            f"train; set train.steps={step + 1} or more"
        )
    extra = evaluated and evaluated < steps and evaluated % config.train.evaluate_every
    if _goes_by_evaluations(config) and extra:
        return (
            f"and was evaluated at step {evaluated}, its end then, as a run of {steps} "
            f"steps would not be, which goes by its evaluations; set "
            f"train.steps={evaluated}"
        )
    validation = Validation.replay(rules(config), config.train.seeds, validations)
    if known["best_step"] != validation.best_step.tolist():
        return (
            f"but with train.patience={config.train.patience} its best would be of "
            f"another step than the parameters that it kept; resume it with the "
            f"train.patience that it had"
        )
    return None


def _goes_by_evaluations(config):
    """Whether one evaluation more would change what comes after it."""
    return config.optimizer.follows_validation or config.train.patience > 0


def _check_resumable(run: Run, task: Task, free: Collection[str]):
    """A run goes on with the model and the data it began with, or not at all."""
    now = task.config
    # In full, since keys may have come into being since then, with their defaults.
    path = run.path("config.toml")
    try:
        before = dump(read_config(read(path)))
    except ConfigError as error:
        raise ConfigError(f"{path}, what the run began with: {error}") from error
    free = set(free)
    if _goes_by_evaluations(now):
        free -= {"train.evaluate_every"}
    differences = changes(tomllib.loads(before), tomllib.loads(dump(now)))
    for key, (old, new) in differences.items():
        if key not in free:
            raise RunError(
                f"{run.directory} was trained with {key}={old!r}, not {new!r}; "
                f"resume it as it was, or start a run with run.directory=FOLDER."
            )
    if "train.steps" in differences and now.optimizer.schedule in ("linear", "cosine"):
        old, new = differences["train.steps"]
        print(
            f"the learning rate goes on as that of a run of {new:,} steps: its "
            f"{now.optimizer.schedule} schedule was to end after {old:,}."
        )
    task.check_same_data(run.read_json("run.json"), run.directory)
