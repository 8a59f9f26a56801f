"""A run goes on from its last good checkpoint, or is refused."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from lstm_jax import files
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
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.metadata import read_metadata
from lstm_jax.training.run_folder import Run, RunError, irregular
from lstm_jax.training.step import TrainState
from lstm_jax.training.task import Task


def known_metadata(run: Run) -> dict[str, Any]:
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


def with_diverged(facts: dict[str, Any], config: Any, lost: Any) -> dict[str, Any]:
    """Metadata with the seeds that have diverged, and the steps at which they did."""
    over = {config.seed + n: int(at) for n, at in enumerate(lost) if at}
    rest = {name: value for name, value in facts.items() if name != "diverged"}
    return rest | ({"diverged": over} if over else {})


def restore(
    run: Run,
    checkpoints: Checkpoints,
    task: Task,
    state: TrainState,
    steps: int,
    facts: dict[str, Any],
    surroundings: dict[str, Any],
) -> tuple[TrainState, PyTree, dict[str, Any], dict[str, Any]]:
    """The last good state, the best one, what was known then, and the new metadata.

    The run is written to only after all of it is at hand.

    Args:
        run: the run.
        checkpoints: its checkpoints.
        task: its task.
        state: the state before the first step.
        steps: steps of the whole run.
        facts: its metadata.
        surroundings: versions and machine of now.
    """
    config, best, known = task.config, None, {}
    step = checkpoints.last_good()
    metrics = run.metrics(synced=step)
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
        if problem := _misfit(task, step, steps, checkpoints.facts(step)):
            raise RunError(
                f"{run.directory} has a checkpoint of step {step}, {problem}, or start "
                f"a run with run.directory=FOLDER."
            )
        like = params_like(task)
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
    resumed = [*facts.get("resumed", []), {"step": step} | surroundings]
    if step < steps:  # its results are to be made again
        facts = {name: facts[name] for name in facts if name != "final_part"}
    facts = with_diverged(facts, config, known.get("lost", []))
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


def _misfit(task, step, steps, known):
    """Why a run of so many steps cannot go on from a checkpoint, and what to do."""
    validations, config = known["validations"], task.config
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
    validation = validation_of(task, validations)
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


def check_resumable(
    run: Run,
    task: Task,
    steps_per_epoch: int | None,
    facts: Mapping[str, Any],
    free: Collection[str],
) -> None:
    """A run goes on with the model and the data it began with, or not at all.

    Args:
        run: the run.
        task: its task, with the config of now.
        steps_per_epoch: of its data; ``None`` where they never end.
        facts: its metadata.
        free: if not empty, the only keys that may have other values.

    Raises:
        RunError: it cannot go on.
    """
    now = task.config
    # In full, since keys may have come into being since then, with their defaults.
    before = config_of(run)
    free = set(free or FREE_ON_RESUME | task.moved)
    if _goes_by_evaluations(now):
        free -= {"train.evaluate_every"}
    changed = differences(before, now)
    for key, (old, new) in changed.items():
        if key not in free:
            raise RunError(
                f"{run.directory} was trained with {key}={old!r}, not {new!r}; "
                f"resume it as it was, or start a run with run.directory=FOLDER."
            )
    task.check_same_data(facts, run.directory)
    old, new = (total_steps(config, steps_per_epoch) for config in (before, now))
    if old != new and now.optimizer.schedule in ("linear", "cosine"):
        say(
            f"the learning rate goes on as that of a run of {new:,} steps: its "
            f"{now.optimizer.schedule} schedule was made for {old:,}."
        )
