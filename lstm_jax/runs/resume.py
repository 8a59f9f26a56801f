"""A run continues from its newest valid checkpoint, or is refused."""

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError
from lstm_jax.runs.configs import (
    FREE_ON_RESUME,
    config_of,
    differences,
    find_task,
    text_of,
    total_steps,
)
from lstm_jax.runs.load import check_checkpoint, params_like, validation_of
from lstm_jax.terminal import say
from lstm_jax.training import processes
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.metadata import read_metadata
from lstm_jax.training.metrics_file import irregular
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from lstm_jax.training.schedules import Cosine, Linear
from lstm_jax.training.step import TrainState
from lstm_jax.training.task import Task


def known_metadata(run: Run) -> dict[str, Any]:
    """The metadata of a run. Where config.toml or run.json is missing or corrupt, the
    copy in the newest checkpoint takes its place."""
    run.remove_leftovers()
    config = _read_or_restore(run, "config.toml", lambda: config_of(run))
    kind = find_task(config.task)[1].metadata_type
    return _read_or_restore(run, "run.json", lambda: read_metadata(run, kind))


def continued(run: Run, config: Any) -> Any:
    """The config with which a run continues: where it names no data, those of the run.

    Raises:
        RunError: it is the config of another task.
    """
    before = config_of(run)
    if before.task != config.task:
        raise RunError(
            f"{run.directory} was trained with task={before.task!r}, not "
            f"{config.task!r}; resume with a config of the task {before.task}, or "
            f"start a new run with run.directory=FOLDER."
        )
    keys = [key.removeprefix("data.") for key in find_task(config.task)[1].moved]
    named = [
        getattr(config.data, key) != getattr(type(config.data)(), key) for key in keys
    ]
    if not keys or any(named):
        return config
    known = {key: getattr(before.data, key) for key in keys}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **known))


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


def with_ends(
    facts: dict[str, Any], config: Any, diverged: Any, stopped_early: Any
) -> dict[str, Any]:
    """Metadata with the seeds that have diverged or stopped early.

    Args:
        facts: the metadata.
        config: the config of the run.
        diverged: for every seed the step at which it diverged, or 0.
        stopped_early: for every seed the step at which its patience ended, or 0.
    """
    ends = {"diverged": diverged, "stopped_early": stopped_early}
    found = {
        name: {config.seed + n: int(at) for n, at in enumerate(steps) if at}
        for name, steps in ends.items()
    }
    rest = {name: value for name, value in facts.items() if name not in ends}
    return rest | {name: seeds for name, seeds in found.items() if seeds}


def restore(
    run: Run,
    checkpoints: Checkpoints,
    task: Task,
    state: TrainState,
    steps: int,
    facts: dict[str, Any],
    surroundings: dict[str, Any],
) -> tuple[TrainState, PyTree, dict[str, Any], dict[str, Any]]:
    """The last valid state, the best parameters, what the checkpoint knows beside its
    arrays, and the new metadata.

    The run is written to only after all of this is read.

    Args:
        run: the run.
        checkpoints: its checkpoints.
        task: its task.
        state: the state before the first step.
        steps: steps of the whole run.
        facts: its metadata.
        surroundings: the versions and the machine of this process.
    """
    config, best, known = task.config, None, {}
    step = _last_good(checkpoints)
    metrics = run.metrics(synced=step)
    if step is None and "final_part" in facts:
        raise RunError(
            f"{run.directory} is complete, but has no valid checkpoint to continue "
            f"from. Its results are kept; start a new run with run.directory=FOLDER."
        )
    if step is None:
        _check_never_saved(run, checkpoints, metrics)
    else:
        check_checkpoint(run, config, facts, checkpoints, step)
        if problem := _misfit(task, step, steps, checkpoints.facts(step)):
            raise RunError(
                f"The checkpoint of {run.directory} is at step {step}, {problem}, or "
                f"start a new run with run.directory=FOLDER."
            )
        state, best, known = checkpoints.restore(step, state, _like(task, state))
    step = int(state.step)
    validation = validation_of(task, known.get("validations", []))
    trains = step < steps and not validation.has_ended.all()
    now = {"step": step} | surroundings | _changed(run, config, trains)
    if trains:
        _warn_of_cores(facts, surroundings)
    if processes.is_first():
        _make_room(checkpoints, step)
    evaluated = [at for at, _ in known.get("validations", [])]
    for said in irregular(metrics, step, evaluated):
        print(said)
    run.rewind(step)
    resumed = [*facts.get("resumed", []), now]
    if step < steps:  # the final metrics will be computed again
        facts = {name: facts[name] for name in facts if name != "final_part"}
    facts = with_ends(facts, config, known.get("lost", []), validation.ended_step)
    facts |= {"resumed": resumed}
    run.write_json("run.json", facts)
    run.write_text("config.toml", text_of(config))
    return state, best, known, facts


def _last_good(checkpoints):
    """The step of the newest valid checkpoint; process 0 finds it for all."""
    step = checkpoints.last_good() if processes.is_first() else None
    found = int(processes.of_first(-1 if step is None else step))
    return None if found < 0 else found


def _like(task, state):
    """The shapes of the best parameters, and on a mesh their shardings."""
    like = params_like(task)
    if not any(isinstance(a.sharding, NamedSharding) for a in jax.tree.leaves(state)):
        return like
    put = lambda a, p: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=p.sharding)
    return jax.tree.map(put, like, state.params)


def _make_room(checkpoints, step):
    """Renames and removes what stands in the way of the checkpoints to come."""
    if checkpoints.steps[-1:] not in ([], [step]):
        print(f"resuming at step {step:,}; corrupt checkpoints are renamed.")
        checkpoints.set_aside(later_than=step)
    checkpoints.remove_half_written()


def _changed(run, config, trains):
    """What a resume changes of the config, as the metadata have it.

    Raises:
        RunError: another learning rate, and nothing is left to train with it.
    """
    changed = differences(config_of(run), config)
    rate = changed.get("optimizer.learning_rate")
    if rate and not trains:
        raise RunError(
            f"{run.directory} has nothing left to train with optimizer.learning_rate="
            f"{rate[1]!r}; set train.steps to more than it has."
        )
    if rate:
        say(f"optimizer.learning_rate is {rate[1]!r} from here on, after {rate[0]!r}.")
    both = {key: [old, new] for key, (old, new) in changed.items()}
    return {"changed": both} if both else {}


def _warn_of_cores(facts, surroundings):
    """Sums are split over the cores, and the split decides how they are rounded."""
    before = [facts, *facts.get("resumed", [])][-1].get("cores")
    now = surroundings.get("cores")
    if before is not None and before != now:
        say(
            f"this run was trained on {before} cores and continues on {now}. Its "
            f"numbers may differ in the last bits from those of a run that stayed on "
            f"{before}."
        )


def _check_never_saved(run, checkpoints, metrics):
    """A run without a valid checkpoint starts at step 0 only if it never had one.

    Raises:
        RunError: its checkpoints are lost. Starting again would cut its metrics, and
            begin a run that was fine-tuned from other weights.
    """
    last = max((line["step"] for line in metrics), default=0)
    folder = run.path("checkpoints")
    if not last and not checkpoints.steps:
        return
    if checkpoints.steps:
        lost = "holds no valid checkpoint"
    elif not os.path.isdir(folder):
        there = os.path.islink(folder)
        lost = "is a link to a missing folder" if there else "is missing"
    else:
        # The second checkpoint waits until the first is on disk.
        every = config_of(run).train.checkpoint_every
        if last <= 2 * every:
            print("there is no checkpoint yet; training starts again at step 0.")
            return
        lost = "is empty"
    began = f"metrics.jsonl goes to step {last:,}" if last else "the run had begun"
    raise RunError(
        f"{folder} {lost}, but {began}; restore the checkpoints, or start a new run "
        f"with run.directory=FOLDER."
    )


def _misfit(task, step, steps, known):
    """Why a run of ``steps`` steps cannot continue from a checkpoint, and what to
    do."""
    validations, config = known["validations"], task.config
    evaluated = validations[-1][0] if validations else None
    if steps < step:
        return f"but train.steps is {steps}; set train.steps={step} or more"
    if steps == step != evaluated:
        return (
            f"which has no evaluation, and train.steps={steps} leaves nothing to "
            f"train; set train.steps={step + 1} or more"
        )
    extra = evaluated and evaluated < steps and evaluated % config.train.evaluate_every
    if _goes_by_evaluations(config) and extra:
        return (
            f"and its last evaluation is at step {evaluated}. A run of {steps} steps "
            f"would not evaluate there, and evaluations decide how it continues; set "
            f"train.steps={evaluated}"
        )
    validation = validation_of(task, validations)
    if known["best_step"] != validation.best_step.tolist():
        return (
            f"but with train.patience={config.train.patience} the best step would be "
            f"another than that of the saved parameters; resume with the "
            f"train.patience of the run"
        )
    return None


def _goes_by_evaluations(config):
    """Whether one more evaluation would change what comes after it."""
    return config.optimizer.follows_validation or config.train.patience > 0


def check_resumable(
    run: Run,
    task: Task,
    steps_per_epoch: int | None,
    facts: Mapping[str, Any],
    free: Collection[str],
) -> None:
    """Checks that a run continues with the model and the data it began with.

    Args:
        run: the run.
        task: its task, with the new config.
        steps_per_epoch: steps of an epoch; ``None`` for endless data.
        facts: its metadata.
        free: if not empty, the only keys that may have other values.

    Raises:
        RunError: the run cannot continue.
    """
    now = task.config
    # The whole config: newer keys have their defaults.
    before = config_of(run)
    free = set(free or FREE_ON_RESUME | task.moved)
    if _goes_by_evaluations(now):
        free -= {"train.evaluate_every"}
    changed = differences(before, now)
    for key, (old, new) in changed.items():
        if key not in free:
            raise RunError(
                f"{run.directory} was trained with {key}={old!r}, not {new!r}; "
                f"resume with the old value, or start a new run with "
                f"run.directory=FOLDER. A resume may change {', '.join(sorted(free))}."
            )
    task.check_same_data(facts, run.directory)
    old, new = (total_steps(config, steps_per_epoch) for config in (before, now))
    schedule = now.optimizer.schedule
    if old != new and isinstance(schedule, Linear | Cosine):
        say(
            f"the learning rate continues as in a run of {new:,} steps; so far the "
            f"{schedule.kind} schedule was that of {old:,} steps."
        )
