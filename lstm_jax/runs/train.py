"""A run from its config to its results."""

import dataclasses
import functools
import json
import os
import time
import tomllib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.bench.machine import cores, cpu_model
from lstm_jax.config import ConfigError
from lstm_jax.core.arguments import seed_key
from lstm_jax.runs.configs import (
    find_task,
    make_task,
    monitor_of,
    text_of,
    total_steps,
)
from lstm_jax.runs.enough_memory import check_training_fits
from lstm_jax.runs.extras import print_plots
from lstm_jax.runs.gate_log import LogGates
from lstm_jax.runs.init_from import Source, check_same_source, replaced, source_of
from lstm_jax.runs.load import Trained, params_like, validation_of
from lstm_jax.runs.results import report
from lstm_jax.runs.resume import (
    check_resumable,
    continued,
    known_metadata,
    restore,
    with_ends,
)
from lstm_jax.terminal import output_may_close, say
from lstm_jax.training import processes
from lstm_jax.training.batches import Batches
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.environment import environment
from lstm_jax.training.hooks import Evaluate, Log, Progress, Save, explain
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.placement import ONE_DEVICE, Placement
from lstm_jax.training.plots import plot_run
from lstm_jax.training.progress import ProgressReport
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Onlooker, Run
from lstm_jax.training.step import (
    TrainState,
    init_state,
    make_block,
    one_seed,
    stack_seeds,
)
from lstm_jax.training.stop import Terminated
from lstm_jax.training.task import Task
from lstm_jax.training.trainer import Diverged, Trainer


class Outcome(NamedTuple):
    """Where a training has got to."""

    run: Run
    step: int
    complete: bool
    """Whether the run has its final metrics."""
    stopped_by: str | None
    """The signal that stopped it, such as SIGINT for Ctrl-C; ``None`` if none did."""


@dataclasses.dataclass(eq=False)
class Start:
    """What a new run starts from."""

    task: Task
    batches: Batches
    optimizer: Any
    state: TrainState
    steps: int
    """Steps of the whole run."""
    placement: Placement = ONE_DEVICE

    @classmethod
    def of(cls, task: Task, source: Source | None = None) -> "Start":
        """The start of a new run, from the weights of ``source`` if there is one.

        Raises:
            ConfigError: config and data do not fit.
            RunError: the source has weights of other shapes.
        """
        config, batches = task.config, task.batches()
        monitor_of(config, task.metrics)
        steps = total_steps(config, batches.steps_per_epoch)
        optimizer = config.optimizer.build(steps, batches.steps_per_epoch or 1)
        check_training_fits(task, optimizer)
        averaging, states = config.optimizer.averaging(), []
        for seed in range(config.seed, config.seed + config.train.seeds):
            params, key = first_params(task, seed)
            if source is not None:
                params = replaced(params, source)
            carry = task.init_carry()
            states.append(init_state(params, carry, optimizer, key, averaging))
        state = states[0] if len(states) == 1 else stack_seeds(states)
        placement = placement_of(config, batches)
        start = cls(task, batches, optimizer, state, steps, placement)
        start.state = start.placement.put(state, start.shardings)
        batches.place(placement)
        return start

    @functools.cached_property
    def shardings(self):
        """How the state is split over devices; ``None`` for one device."""
        train = self.task.config.train
        return self.placement.of_state(self.state, train.batch_size, train.seeds)

    @functools.cached_property
    def block(self):
        """A jitted block of steps; see `lstm_jax.training.step.make_block`."""
        config = self.task.config
        return make_block(
            self.task.loss,
            self.optimizer,
            self.batches.at,
            config.train.block,
            averaging=config.optimizer.averaging(),
            seeds=config.train.seeds,
            placement=self.placement,
            shardings=self.shardings,
        )


def placement_of(config: Any, batches: Batches) -> Placement:
    """Where the arrays of a training lie.

    Raises:
        ConfigError: there are not enough devices, or the batch cannot be split.
    """
    # A task of the user's own may have a config without the key.
    placement = getattr(config, "parallel", ParallelConfig()).placement()
    rows = config.train.batch_size
    if not batches.has_weights and rows % placement.data:
        fewer = max(n for n in range(1, placement.data) if rows % n == 0)
        # Processes take all of their devices, and one device has nothing to share.
        can = processes.count() == 1 and fewer > 1
        split = f"set parallel.data={fewer}, or " if can else ""
        nearest = -(-rows // placement.data) * placement.data
        raise ConfigError(
            f"train.batch_size is {rows}, which cannot be split over "
            f"{placement.data} devices; {split}begin a new run with "
            f"train.batch_size={nearest}."
        )
    return placement


def first_params(task: Task, seed: int) -> tuple[PyTree, jax.Array]:
    """The initial parameters of ``seed``, and the key for everything after them."""
    init_key, key = jax.random.split(seed_key(seed))
    return task.init(init_key), key


def train_run(
    config: Any,
    directory: str | Path,
    *,
    resume: bool = False,
    free: Collection[str] = frozenset(),
    make: Callable[..., Any] = make_task,
    listeners: Iterable[Any] = (),
) -> Outcome:
    """Trains, evaluates and plots a run, and prints its progress.

    Args:
        config: the config of its task.
        directory: the folder of the run.
        resume: whether to continue a run that was stopped.
        free: if not empty, the only keys that may change on resume.
        make: makes the task of the config and the metadata of a run that exists.
        listeners: called with new lines of metrics; see `Run.listeners`.
    """
    with output_may_close():  # a closed terminal must not cost a training
        return _train_run(config, directory, resume, free, make, listeners)


def _train_run(config, directory, resume, free, make, listeners):
    folder = Run if processes.is_first() else Onlooker
    _check_same_config(config, resume)
    if resume:
        run = folder(directory)
        run.listeners += listeners
        if not os.path.isdir(run.path("checkpoints")):
            folder.open(directory)  # nothing could restore its config.toml
        with run.alone():
            # A run goes on with what it has learned of its data: another version of
            # a library might read the same data otherwise.
            metadata = _first_alone(lambda: known_metadata(run))
            config = continued(run, config)
            source = None
            if not Checkpoints(run.path("checkpoints")).steps:
                source = source_of(config)  # it starts again at step 0
            if source is not None:
                check_same_source(source, metadata)
            start = Start.of(make(config, metadata), source)
            epoch = start.batches.steps_per_epoch
            check_resumable(run, start.task, epoch, metadata, free)
            return train_alone(run, start, metadata, resume)
    folder.check_vacant(directory)
    source = source_of(config)
    start = Start.of(make(config, source and source.learned), source)
    metadata = start.task.describe() | _surroundings()
    if source is not None:
        metadata |= {"init_from": source.origin.model_dump()}
    monitor = monitor_of(config, start.task.metrics)
    metadata |= {"monitor": monitor.model_dump()}
    run = folder.make(directory)
    run.listeners += listeners
    with run.alone():  # until the end: nobody may begin a run here in between
        metadata = run.begin(text_of(config), metadata)
        return train_alone(run, start, metadata, resume)


def _check_same_config(config, resume):
    """Several processes must train the same. Only the places of data may differ."""
    moved = find_task(config.task)[1].moved
    values = {
        f"{table}.{key}": value
        for table, part in tomllib.loads(text_of(config)).items()
        for key, value in (part.items() if isinstance(part, dict) else [("", part)])
        if f"{table}.{key}" not in moved
    }
    same = [values, resume, environment()["versions"]]
    remedy = "start all processes with the same command and the same versions"
    processes.check_same(same, "config, --resume or version", remedy + ".")


def _first_alone(read):
    """Lets process 0 read, and repair, before the others read."""
    if processes.is_first():
        found = read()
        processes.wait("read")
        return found
    processes.wait("read")
    return read()


def train_alone(
    run: Run, start: Start, metadata: dict[str, Any], resume: bool
) -> Outcome:
    """Trains a run whose folder is held."""
    task, config = start.task, start.task.config
    if processes.count() > 1:
        known = {name: v for name, v in task.describe().items() if name != "data"}
        remedy = "give all processes a copy of the same data."
        processes.check_same(known, "data or model", remedy)
        processes.check_shared(run.directory)
    processes.tell(processes.BEGUN)
    checkpoints = Checkpoints(run.path("checkpoints"))
    state, best, known = start.state, None, {}
    if resume:
        found = restore(
            run, checkpoints, task, state, start.steps, metadata, _surroundings()
        )
        state, best, known, metadata = found
        processes.wait("restored")
    record = {"run.json": json.dumps(metadata), "config.toml": text_of(config)}
    checkpoints = Checkpoints(run.path("checkpoints"), record=record)
    _print_metadata(task, metadata, start.placement)
    if config.train.tensorboard and processes.is_first():
        from lstm_jax.training.events import Events

        run.listeners.append(Events(run.path("tensorboard"), run.metrics()))
    trainer, evaluation = make_trainer(run, checkpoints, start, state, best, known)
    if processes.is_first():
        checkpoints.make()
    began = time.monotonic()
    try:
        complete = trainer.fit()
    except Diverged as error:
        _write_outcome(run, config, metadata, trainer, evaluation)
        raise explain(error, checkpoints) from None
    finally:
        for listener in run.listeners:
            listener.close()
    metadata = _write_outcome(run, config, metadata, trainer, evaluation)
    # A request in the last validation stops the run before its final evaluation.
    complete = complete and trainer.stopped_by is None
    if complete:
        print(f"trained in {time.monotonic() - began:.0f} s.")
        best = start.placement.whole(evaluation.best)
        trained = Trained(run, task, best, evaluation.validation)
        try:
            if processes.is_first():
                _finish(trained, metadata)
        except (KeyboardInterrupt, Terminated):
            say(f"{run.directory} is trained and saved; finish it with --resume.")
            raise
    return Outcome(run, trainer.step, complete, trainer.stopped_by)


def make_trainer(
    run: Run,
    checkpoints: Checkpoints,
    start: Start,
    state: TrainState,
    best: PyTree = None,
    known: Any = None,
) -> tuple[Trainer, Evaluate]:
    """The trainer of a run with its hooks, and the hook that evaluates.

    Args:
        run: the folder of the run.
        checkpoints: its checkpoints.
        start: task, batches and optimizer.
        state: where to start; donated.
        best: the best parameters before ``state``.
        known: what the checkpoint of ``state`` holds beside the arrays.
    """
    task, config, known = start.task, start.task.config, known or {}
    train, seeds = config.train, config.train.seeds
    validation = validation_of(task, known.get("validations", []))
    rate = config.optimizer.applied_rates(
        start.steps, start.batches.steps_per_epoch or 1
    )
    report = ProgressReport(
        start.steps,
        int(state.step),
        task.items_per_step * seeds,
        task.items,
        task.metrics,
    )
    evaluation = Evaluate(
        train.evaluate_every,
        lambda params: task.evaluate(params, "valid"),
        run,
        validation,
        task.metrics,
        train.monitor.removeprefix("valid_"),
        best,
    )
    trainer = Trainer(
        start.block,
        start.batches,
        state,
        train,
        [
            Log(run, rate, validation),
            evaluation,
            *([LogGates(train.evaluate_every, task, run)] if train.log_gates else []),
            Save(train.checkpoint_every, run, checkpoints, evaluation),
            Progress(report),
        ],
        say=report.say,
        placement=start.placement,
        seconds=known.get("seconds", 0.0),
        lost=known.get("lost"),
    )
    return trainer, evaluation


def _write_outcome(run, config, metadata, trainer, evaluation):
    """Writes and returns the metadata; what stands in run.json by now is not read."""
    spent = max(metadata.get("seconds", 0.0), trainer.seconds)
    ended = evaluation.validation.ended_step
    metadata = with_ends(metadata, config, trainer.lost, ended) | {"seconds": spent}
    run.write_json("run.json", metadata)
    return metadata


def _surroundings():
    return environment() | {"cpu": cpu_model(), "cores": cores()}


def last_weights(trained: Trained) -> PyTree:
    """The weights after the last step of a run of one seed, be they its best or not.

    Raises:
        RunError: the run has no checkpoint.
    """
    run, task = trained.run, trained.task
    checkpoints = Checkpoints(run.path("checkpoints"))
    step = checkpoints.last_good()
    if step is None:
        raise RunError(f"{run.directory} has no checkpoint; train it further.")
    like = Start.of(task).state
    return checkpoints.restore(step, like, params_like(task)).state.weights


def _finish(trained: Trained, metadata: dict[str, Any]):
    run, seeds, first = trained.run, trained.seeds, trained.task.config.seed
    for n in range(seeds if seeds > 1 else 0):
        if not np.isfinite(trained.validation.best[n]):
            continue  # diverged before its first evaluation
        name = f"model-seed{first + n}.safetensors"
        run.save_weights(one_seed(trained.params, n, seeds), name)
    run.save_weights(one_seed(trained.params, trained.best_seed, seeds))
    split = trained.task.final_split
    report(trained, split, functools.partial(run.write_json, f"result-{split}.json"))
    run.write_json("run.json", metadata | {"final_part": split})
    print_plots(lambda: plot_run(run, trained.task.metrics))
    say(f"run and checkpoints: {run.directory}")


def _print_metadata(task, metadata, placement):
    say(task.summary(metadata))
    device = [metadata, *metadata.get("resumed", [])][-1]["device"]
    seeds = task.config.train.seeds
    if origin := metadata.get("init_from"):
        say(
            f"from the weights of {origin['directory']}, seed {origin['seed']}, which "
            f"was best at step {origin['best_step']:,}"
        )
    times = f"{seeds} seeds of " if seeds > 1 else ""
    several = f", {placement.devices} devices" if placement.devices > 1 else ""
    if processes.count() > 1:
        several += f" of {processes.count()} processes"
    say(f"{times}{metadata['parameters']:,} parameters on {device}{several}")
