"""The folder of a sweep, and its optuna study.

study.db       the study: parameters, states and values of all trials, in SQLite
claims         locks of the processes that train; see `lstm_jax.sweeps.claims`
trial-000/     the run of a trial, and so on
worker-1.log   what a worker of several said
sweep.jsonl    a line for every trial, the best first
*.png          the history, and every parameter against the metric
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax import files
from lstm_jax.sweeps.claims import Claims
from lstm_jax.sweeps.plan import Plan, check_same_plan
from lstm_jax.training.metadata import Monitor
from lstm_jax.training.run_errors import RunError, cannot_write

STUDY = "study.db"
CLAIMS = "claims"
_OURS = re.compile(rf"{CLAIMS}|{re.escape(STUDY)}.*|worker-\d+\.log")
"""What is in the folder before the study."""
BUSY_SECONDS = 60.0
"""So long SQLite waits for another process."""


class Sweep:
    """A sweep in its folder, opened by one process.

    Args:
        directory: the folder.
        claims: its locks.
        study: its optuna study.
    """

    def __init__(self, directory: Path, claims: Claims, study: Any):
        self.directory, self.claims, self.study = directory, claims, study

    @classmethod
    def start(cls, directory: Path, plan: Plan) -> "Sweep":
        """A new sweep, or the one in the folder if it has the same plan.

        Raises:
            RunError: the folder holds something else, or a sweep of another plan.
        """
        check_vacant(directory)
        try:
            files.make_folders(directory)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise cannot_write(directory, error) from error
        claims = Claims(directory / CLAIMS)
        with claims.alone():
            if not os.path.isfile(directory / STUDY):
                _create(directory, plan)
            study = _open(directory / STUDY)
            check_same_plan(directory, study.user_attrs["plan"], plan)
        return cls(directory, claims, study)

    @classmethod
    def find(cls, directory: Path) -> "Sweep | None":
        """The sweep in a folder; ``None`` if there is none, or none yet.

        Raises:
            RunError: it cannot be read.
        """
        if not os.path.isfile(directory / STUDY):
            return None
        return cls(directory, Claims(directory / CLAIMS), _open(directory / STUDY))

    @property
    def plan(self) -> Mapping[str, Any]:
        """The record of the plan; see `Plan.record`."""
        return self.study.user_attrs["plan"]

    @property
    def monitor(self) -> Monitor:
        """The metric that trials are compared by."""
        return Monitor(**self.plan["monitor"])

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A block that writes the study, while no other process does."""
        with self.claims.alone(), _errors(self.directory / STUDY):
            yield

    def folder(self, number: int) -> Path:
        """The folder of the run of a trial."""
        return self.directory / f"trial-{number:03}"

    def trials(self) -> list[Any]:
        """All trials, as optuna's ``FrozenTrial``, by their numbers."""
        return self.study.get_trials(deepcopy=False)

    def is_done(self, count: int) -> bool:
        """Whether there are ``count`` trials, and all have finished."""
        trials = self.trials()
        return len(trials) >= count and all(t.state.is_finished() for t in trials)

    def claim(self, plan: Plan, count: int) -> "Trial | None":
        """A trial for this process: one that was interrupted, or else a new one.

        Returns:
            ``None`` if there are ``count`` trials already, and each is finished or
            claimed by another process.
        """
        import optuna

        with self.writing():
            trials, State = self.trials(), optuna.trial.TrialState
            for found in trials:
                if found.state == State.RUNNING and self.claims.take(found.number):
                    self.study.sampler = _sampler(plan, found.number)
                    trial = optuna.trial.Trial(self.study, found._trial_id)
                    return Trial(self, trial, plan)
            waiting = any(found.state == State.WAITING for found in trials)
            if len(trials) >= count and not waiting:  # the user may enqueue trials
                return None
            # What is sampled depends on the number of the trial and the finished
            # trials, and not on which process samples.
            self.study.sampler = _sampler(plan, len(trials))
            trial = self.study.ask()
            self.claims.take(trial.number)
            return Trial(self, trial, plan)

    def is_claimed(self, number: int) -> bool:
        """Whether another process trains a trial."""
        if not self.claims.take(number):
            return True
        self.claims.give_back(number)
        return False


class Trial:
    """A trial that this process has claimed.

    Args:
        sweep: the sweep, whose study nobody else may write meanwhile.
        trial: the trial of optuna.
        plan: how the sweep samples and prunes.
    """

    def __init__(self, sweep: Sweep, trial: Any, plan: Plan):
        self._sweep, self._trial, self._prunes = sweep, trial, plan.prune
        self.number: int = trial.number
        self.directory = sweep.folder(self.number)
        # A trial that was interrupted has its parameters, or the first of them.
        self.sampled = [space.suggest(trial) for space in plan.spaces]
        """Overrides of the keys that vary."""
        self.overrides = [*plan.constants, *self.sampled]
        starts = trial.user_attrs.get("starts", 0) + 1
        trial.set_user_attr("starts", starts)
        trial.set_user_attr("overrides", self.sampled)
        self._reported = self._last().intermediate_values.keys()

    def report(self, step: int, value: float) -> None:
        """Reports the monitored metric of an evaluation; once for each step."""
        if step not in self._reported:
            with self._sweep.writing():
                self._trial.report(value, step)

    def should_stop(self) -> bool:
        """Whether the trial is to be pruned, from what is reported so far."""
        if not self._prunes:
            return False
        with self._sweep.writing():
            return self._trial.should_prune()

    def complete(self, value: float) -> None:
        """Finishes the trial with its value."""
        self._finish("COMPLETE", value)

    def pruned(self) -> None:
        """Finishes the trial with the last value that was reported."""
        self._finish("PRUNED")

    def failed(self, reason: str) -> None:
        """Finishes the trial without a value."""
        self._finish("FAIL", reason=reason)

    def _finish(self, state, value=None, reason=""):
        import optuna

        with self._sweep.writing():
            if reason:
                self._trial.set_user_attr("reason", reason)
            state = optuna.trial.TrialState[state]
            self._sweep.study.tell(self._trial, value, state=state)

    def _last(self):
        return self._sweep.study.get_trials(deepcopy=False)[self.number]

    def give_back(self) -> None:
        """Ends the claim. A trial that is not finished can be continued."""
        self._sweep.claims.give_back(self.number)


def _sampler(plan, number):
    import optuna

    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    if plan.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _create(directory, plan):
    """Makes the study of a new sweep: all of it, or nothing if it is interrupted."""
    import optuna

    path, aside = directory / STUDY, directory / f"{STUDY}.tmp"
    for left in directory.glob(f"{STUDY}*"):
        left.unlink()
    with _errors(path):
        storage = _storage(aside)
        study = optuna.create_study(
            study_name="sweep",
            storage=storage,
            direction="maximize" if plan.monitor.better == "higher" else "minimize",
        )
        study.set_user_attr("plan", plan.record())
        storage.remove_session()
        storage.engine.dispose()
        os.replace(aside, path)
        files.sync(directory)


def _open(path):
    """The study in a file.

    Raises:
        RunError: it is corrupt, or of something else.
    """
    import optuna

    with _errors(path):
        pruner = optuna.pruners.MedianPruner()
        return optuna.load_study(
            study_name="sweep", storage=_storage(path), pruner=pruner
        )


def _storage(path):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The path does not go into the URL, where some of its characters mean more.
    connect = lambda: sqlite3.connect(
        path, timeout=BUSY_SECONDS, check_same_thread=False
    )
    return optuna.storages.RDBStorage(
        f"sqlite:///{STUDY}", engine_kwargs={"creator": connect}
    )


@contextlib.contextmanager
def _errors(path):
    """Turns errors of the storage into a RunError."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except KeyError as error:
        raise RunError(f"{path} holds no sweep; name a new folder.") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"cannot use {path}: {reason}; bring a copy back, or name a new folder "
            f"with --directory."
        ) from error


def check_vacant(directory: Path) -> None:
    """Raises RunError if a folder holds something that is not a sweep."""
    if os.path.isfile(directory):
        raise RunError(f"--directory {directory} is a file, expected a folder.")
    if not os.path.isdir(directory) or os.path.isfile(directory / STUDY):
        return
    names = sorted(path.name for path in directory.iterdir())
    there = [name for name in names if not _OURS.fullmatch(name)]
    if there:
        raise RunError(
            f"{directory} is not a sweep, but holds {there[0]}; name a new folder with "
            f"--directory."
        )
