"""``lstm-jax runs`` and ``lstm-jax compare``: many runs, and two of them."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from lstm_jax.config import ConfigError, changes, read
from lstm_jax.runs.old_keys import updated
from lstm_jax.tables import figure, print_table
from lstm_jax.terminal import say
from lstm_jax.training.metadata import Monitor, read_metadata
from lstm_jax.training.run_folder import Run, RunError


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is known of a run without training or evaluating anything."""

    run: Run
    config: dict[str, Any]
    step: int
    monitor: Monitor
    valid: dict[int, float]
    """Step to the monitored metric."""
    part: str | None
    """What its final figures are of; None while there are none."""
    final: dict[str, Any]
    diverged: bool
    """Whether no seed is left."""
    stopped_early: tuple[int, ...] = ()
    """The steps at which seeds stopped early."""

    @classmethod
    def of(cls, directory: str | Path) -> "Summary":
        """Raises RunError, ConfigError: there is no run, or it is damaged."""
        run = Run.open(directory)
        config = updated(read(run.path("config.toml")))
        metrics = run.metrics()
        facts = read_metadata(run)
        part = facts.get("final_part")
        monitor = Monitor(**facts.get("monitor", {}))
        name = monitor.name
        train = config.get("train")  # not validated: it may be of another version
        seeds = train.get("seeds", 1) if isinstance(train, dict) else 1
        return cls(
            run,
            config,
            max((line["step"] for line in metrics), default=0),
            monitor,
            {m["step"]: m[name] for m in metrics if m.get(name) is not None},
            part,
            run.read_json(f"result-{part}.json") if part else {},
            len(facts.get("diverged", {})) == seeds,
            tuple(sorted(facts.get("stopped_early", {}).values())),
        )

    @property
    def task(self) -> str:
        return str(self.config.get("task", "-"))

    @property
    def best_step(self) -> int | None:
        pick = max if self.monitor.better == "higher" else min
        return pick(self.valid, key=lambda step: self.valid[step], default=None)

    @property
    def best(self) -> float | None:
        return None if self.best_step is None else self.valid[self.best_step]

    @property
    def rank(self) -> float:
        """Sorts runs, the best first."""
        if self.best is None:
            return float("inf")
        return -self.best if self.monitor.better == "higher" else self.best

    @property
    def state(self) -> str:
        """In a word: whether it came to its end."""
        if self.part and self.stopped_early:
            first, last = self.stopped_early[0], self.stopped_early[-1]
            to = f" to {last:,}" if last > first else ""
            return f"complete, stopped early at {first:,}{to}"
        if self.part:
            return "complete"
        return "diverged" if self.diverged else "stopped"

    def figures(self) -> str:
        """The final figures in a line."""
        return ", ".join(f"{name} {figure(v)}" for name, v in self.named().items())

    def named(self) -> dict[str, float]:
        """The final figures by their names and that of their part."""
        plain = {k: v for k, v in self.final.items() if isinstance(v, int | float)}
        return {f"{self.part} {k.replace('_', ' ')}": v for k, v in plain.items()}


def runs(args) -> int:
    """The command ``runs``: every run in a folder, the best of each task first."""
    folder = Path(args.folder)
    found, damaged = [], []
    for directory in sorted(_directories(folder, damaged)):
        try:
            found.append(Summary.of(directory))
        except (RunError, ConfigError) as error:
            damaged.append(str(error))
    if not found and not damaged:
        say(f"{folder} holds no runs; start one with lstm-jax train CONFIG.")
    found.sort(key=lambda s: (s.task, s.monitor.name, s.rank))
    if found:
        columns = ["run", "task", "state", "steps"]
        columns += ["best at", "monitor", "best", "final"]
        print_table(columns, [_row(summary) for summary in found])
    for error in damaged:
        say(f"left out: {error}")
    return 0


def _directories(folder, damaged):
    """Folders with a config.toml. Those that cannot be read are added to ``damaged``.

    Raises:
        RunError: ``folder`` itself cannot be read.
    """

    def cannot_read(error):
        if Path(error.filename) != folder:
            damaged.append(f"cannot read {error.filename}: {error.strerror}.")
            return
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            said = f"{folder} is not a folder, expected one that holds runs."
        else:
            said = f"cannot read {folder}: {error.strerror}."
        raise RunError(said) from error

    for path, _, names in os.walk(folder, onerror=cannot_read):
        if "config.toml" in names:
            yield Path(path)


def _row(summary):
    return (
        str(summary.run.directory),
        summary.task,
        summary.state,
        summary.step,
        summary.best_step,
        summary.monitor.name.replace("_", " "),
        summary.best,
        summary.figures() or "-",
    )


def compare(args) -> int:
    """The command ``compare``: in what two runs differ, and their curves side by
    side."""
    one, other = Summary.of(args.run), Summary.of(args.other)
    names = str(one.run.directory), str(other.run.directory)
    differences = changes(one.config, other.config)
    differences.pop("run.directory", None)
    rows = [(key, _said(a), _said(b)) for key, (a, b) in sorted(differences.items())]
    if rows:
        print_table(["config", *names], rows)
    else:
        print("their configs are the same.")
    summaries = one, other
    monitors = dict.fromkeys(s.monitor.name.replace("_", " ") for s in summaries)
    print_table([f"{' or '.join(monitors)} at step", *names], _curves(one, other))
    rows = [("state", *(s.state for s in summaries))]
    rows += [(f"best {' or '.join(monitors)}", *(figure(s.best) for s in summaries))]
    rows += [("best at step", *(figure(s.best_step) for s in summaries))]
    for name in one.named() | other.named():
        rows.append((name, *(figure(s.named().get(name)) for s in summaries)))
    print_table(["figure", *names], rows)
    return 0


def _said(value):
    return "-" if value is None else repr(value)


def _curves(one, other, count=12):
    """Up to ``count`` steps at which either was evaluated, the last among them."""
    steps = sorted(one.valid | other.valid)
    every = max(-(-len(steps) // count), 1)
    chosen = steps[::-1][::every][::-1]
    return [(f"{n:,}", one.valid.get(n), other.valid.get(n)) for n in chosen]
