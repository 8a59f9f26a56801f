"""``lstm-jax train``: a run from its config to its figures, and on where it stopped."""

import functools
import json
import os
import shlex
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax import files
from lstm_jax._types import PyTree
from lstm_jax.bench.machine import cores, cpu_model
from lstm_jax.commands.evaluate import report
from lstm_jax.commands.extras import print_plots
from lstm_jax.commands.setup import (
    FREE_ON_RESUME,
    Trained,
    check_checkpoint,
    config_of,
    differences,
    find_task,
    make_task,
    read_config,
    rules,
    run_folder,
    seed_axis,
    text_of,
)
from lstm_jax.config import ConfigError, read
from lstm_jax.tasks.task import Task
from lstm_jax.terminal import say
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.loop import Diverged, Loop
from lstm_jax.training.metadata import read_metadata
from lstm_jax.training.plots import plot_run
from lstm_jax.training.record import Run, RunError, environment, irregular
from lstm_jax.training.step import init_state, make_block, one_seed, stack_seeds
from lstm_jax.training.validation import Validation


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
    directory = run_folder(config, args.config, args.overrides)
    outcome = train_run(config, directory, resume=args.resume)
    if not outcome.complete:
        say(f"stopped at step {outcome.step:,}; saved in {outcome.run.directory}.")
        again = ["lstm-jax", "train", args.config, *args.overrides, "--resume"]
        say(f"go on with: {shlex.join(again)}")
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
    if resume:
        run = Run(directory)
        if not os.path.isdir(run.path("checkpoints")):
            Run.open(directory)  # nothing could restore its config.toml
        with run.alone():
            # A run goes on with what it knows of its data: another version of a
            # library might cut the same text otherwise.
            facts = _known(run)
            task = make_task(config, facts)
            optimizer = config.optimizer.build(config.train.steps, _epoch(task))
            state = _first_state(task, optimizer)
            _check_resumable(run, task, facts, free)
            return _train_alone(run, task, optimizer, state, facts, resume)
    Run.check_vacant(directory)
    task = make_task(config)
    optimizer = config.optimizer.build(config.train.steps, _epoch(task))
    state, facts = _first_state(task, optimizer), task.describe() | _surroundings()
    run = Run.make(directory)
    with run.alone():  # until the end: nobody may begin a run here in between
        facts = run.begin(text_of(config), facts)
        return _train_alone(run, task, optimizer, state, facts, resume)


def _known(run):
    """The metadata of a run. Where config.toml or run.json is missing or corrupt, the
    copy in the newest checkpoint takes its place."""
    files.remove_leftovers(run.directory)
    config = _read_or_restore(run, "config.toml", lambda: config_of(run))
    kind = find_task(config.task)[1].metadata_type
    return _read_or_restore(run, "run.json", lambda: read_metadata(run, kind))


def _read_or_restore(run, name, reader):
    try:
        return reader()
    except (RunError, ConfigError) as error:
        checkpoints = Checkpoints(run.path("checkpoints"))
        step = checkpoints.last_good()
        if step is None or name not in checkpoints.record(step):
            raise type(error)(f"{error} No checkpoint holds a copy of it.") from error
        run.set_aside(name)
        run.write_text(name, checkpoints.record(step)[name])
        say(f"{error}\n{name} is restored from the checkpoint of step {step:,}.")
    return reader()


def _train_alone(run, task, optimizer, state, facts, resume):
    config = task.config
    checkpoints = Checkpoints(run.path("checkpoints"))
    best, known = None, {}
    if resume:
        state, best, known, facts = _restore(run, checkpoints, task, state, facts)
    record = {"run.json": json.dumps(facts), "config.toml": text_of(config)}
    checkpoints = Checkpoints(run.path("checkpoints"), record=record)
    _print_facts(task, facts)
    loop = _loop(run, checkpoints, task, optimizer, state, best, known)
    checkpoints.make()
    start = time.monotonic()
    try:
        complete = loop.run()
    except Diverged:
        _write_outcome(run, config, facts, loop)
        raise
    finally:
        for listener in run.listeners:
            listener.close()
    facts = _write_outcome(run, config, facts, loop)
    if complete:
        print(f"trained in {time.monotonic() - start:.0f} s.")
        _finish(Trained(run, task, loop.best, loop.validation), facts)
    return Outcome(run, int(loop.state.step), complete, loop.was_asked_to_stop)


def _write_outcome(run, config, facts, loop):
    """Writes and returns the metadata; what stands in run.json by now is not read."""
    spent = max(facts.get("seconds", 0.0), loop.seconds)
    facts = _with_diverged(facts, config, loop.lost) | {"seconds": spent}
    run.write_json("run.json", facts)
    return facts


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


def _finish(trained: Trained, facts: dict[str, Any]):
    run, seeds, first = trained.run, trained.seeds, trained.task.config.seed
    for n in range(seeds if seeds > 1 else 0):
        if not np.isfinite(trained.validation.best[n]):
            continue  # over before its first evaluation
        name = f"model-seed{first + n}.safetensors"
        run.save_weights(one_seed(trained.params, n, seeds), name)
    run.save_weights(one_seed(trained.params, trained.best_seed, seeds))
    part = trained.task.final_part
    report(trained, part, functools.partial(run.write_json, f"result-{part}.json"))
    run.write_json("run.json", facts | {"final_part": part})
    print_plots(lambda: plot_run(run, trained.task.unit))
    say(f"run and checkpoints: {run.directory}")


def _print_facts(task, facts):
    say(task.summary(facts))
    device = [facts, *facts.get("resumed", [])][-1]["device"]
    seeds = task.config.train.seeds
    times = f"{seeds} seeds of " if seeds > 1 else ""
    say(f"{times}{facts['parameters']:,} parameters on {device}")


def _restore(run, checkpoints, task, state, facts):
    """The last good state, the best one, what was known then, and the new metadata;
    only after that is the run written to."""
    config, best, known = task.config, None, {}
    metrics = run.metrics()
    step = checkpoints.last_good()
    if step is None and "final_part" in facts:
        raise RunError(
            f"{run.directory} has come to its end, but has no good checkpoint any more "
            f"to go on from; its results are kept, start a run with "
            f"run.directory=FOLDER."
        )
    if step is None:
        _check_never_saved(run, checkpoints, metrics)
    else:
        check_checkpoint(run, config, facts, checkpoints, step)
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
    step = int(state.step)
    evaluated = [at for at, _ in known.get("validations", [])]
    for said in irregular(metrics, step, evaluated):
        print(said)
    run.rewind(step)
    resumed = [*facts.get("resumed", []), {"step": step} | _surroundings()]
    if step < config.train.steps:  # its figures are to be made again
        facts = {name: facts[name] for name in facts if name != "final_part"}
    facts = _with_diverged(facts, config, known.get("lost", []))
    facts |= {"resumed": resumed}
    run.write_json("run.json", facts)
    run.write_text("config.toml", text_of(config))
    return state, best, known, facts


def _check_never_saved(run, checkpoints, metrics):
    """A run without a usable checkpoint starts at step 0 only if it never had one.

    Raises:
        RunError: its checkpoints are lost; starting again would cut its metrics.
    """
    last = max((line["step"] for line in metrics), default=0)
    folder = run.path("checkpoints")
    if not last:
        return
    if checkpoints.steps:
        lost = "holds no usable checkpoint any more"
    elif not os.path.isdir(folder):
        there = os.path.islink(folder)
        lost = "is a link to a folder that is not there" if there else "is missing"
    else:
        # The second checkpoint waits until the first is on disk.
        every = config_of(run).train.checkpoint_every
        if last <= 2 * every:
            print("there is no checkpoint yet; training starts again at step 0.")
            return
        lost = "is empty"
    raise RunError(
        f"{folder} {lost}, but metrics.jsonl goes to step {last:,}; bring the "
        f"checkpoints back, or start a new run with run.directory=FOLDER."
    )


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


def _check_resumable(
    run: Run, task: Task, facts: Mapping[str, Any], free: Collection[str]
):
    """A run goes on with the model and the data it began with, or not at all."""
    now = task.config
    # In full, since keys may have come into being since then, with their defaults.
    before = config_of(run)
    free = set(free)
    if _goes_by_evaluations(now):
        free -= {"train.evaluate_every"}
    changed = differences(before, now)
    for key, (old, new) in changed.items():
        if key not in free:
            raise RunError(
                f"{run.directory} was trained with {key}={old!r}, not {new!r}; "
                f"resume it as it was, or start a run with run.directory=FOLDER."
            )
    if "train.steps" in changed and now.optimizer.schedule in ("linear", "cosine"):
        old, new = changed["train.steps"]
        print(
            f"the learning rate goes on as that of a run of {new:,} steps: its "
            f"{now.optimizer.schedule} schedule was to end after {old:,}."
        )
    task.check_same_data(facts, run.directory)
