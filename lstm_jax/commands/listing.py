"""``lstm-jax runs`` and ``lstm-jax compare``: many runs, and two of them."""

import itertools
import json
import os
from pathlib import Path

from lstm_jax.commands.arguments import local_path
from lstm_jax.config import ConfigError, changes
from lstm_jax.interop.files.stored import is_stack
from lstm_jax.runs.summary import Summary
from lstm_jax.tables import figure, print_table
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError


def add_commands(commands) -> None:
    """``lstm-jax runs`` and ``lstm-jax compare``, with their options."""
    command = commands.add_parser(
        "runs",
        help="list runs with their best metrics",
        description="Lists the runs in a folder. Runs of the same task, metric, data "
        "and tokens are ranked together, the best first.",
    )
    command.add_argument(
        "folder", nargs="?", type=local_path, default=Path("runs"), help="(runs)"
    )
    command.add_argument("--json", action="store_true", help="as JSON, for programs")
    command.set_defaults(command=runs)

    command = commands.add_parser("compare", help="two runs side by side")
    command.add_argument("run", help="the folder of a run")
    command.add_argument("other", metavar="run", help="the folder of another run")
    command.set_defaults(command=compare)


def runs(args) -> int:
    """The command ``runs``."""
    found, imported, left_out = [], [], []
    for directory in sorted(_directories(args.folder, left_out)):
        if is_stack(directory):
            imported.append(directory)
            continue
        try:
            found.append(Summary.of(directory))
        except (RunError, ConfigError) as error:
            left_out.append(str(error))
    found.sort(key=lambda s: (s.measured, s.rank))
    if args.json:
        listed = {
            "runs": [summary.as_json() for summary in found],
            "imported": [str(directory) for directory in imported],
            "left_out": left_out,
        }
        print(json.dumps(listed, indent=2))
        return 0
    if not (found or imported or left_out):
        say(f"{args.folder} holds no runs; start one with lstm-jax train CONFIG.")
    for measured, group in itertools.groupby(found, lambda s: s.measured):
        say(measured.title)
        columns = ["run", "state", "steps", "best at", "best", "final"]
        print_table(columns, [_row(summary) for summary in group])
    for directory in imported:
        say(f"imported weights, not a run: {directory} (see lstm-jax export)")
    for error in left_out:
        say(f"left out: {error}")
    return 0


def _directories(folder, left_out):
    """Folders of runs and of imported weights. Folders that cannot be read are added
    to ``left_out``.

    Raises:
        RunError: ``folder`` itself cannot be read.
    """

    def cannot_read(error):
        if Path(error.filename) != folder:
            left_out.append(f"cannot read {error.filename}: {error.strerror}.")
            return
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            said = f"{folder} is not a folder; name a folder that holds runs."
        else:
            said = f"cannot read {folder}: {error.strerror}."
        raise RunError(said) from error

    for path, _, names in os.walk(folder, onerror=cannot_read):
        if {"config.toml", "stack.json"} & {*names}:
            yield Path(path)


def _row(summary):
    return (
        str(summary.run.directory),
        summary.state,
        summary.step,
        summary.best_step,
        summary.best,
        summary.metrics() or "-",
    )


def compare(args) -> int:
    """The command ``compare``: the config keys in which two runs differ, their curves
    and their metrics, side by side."""
    one, other = Summary.of(args.run), Summary.of(args.other)
    names = str(one.run.directory), str(other.run.directory)
    differences = changes(one.whole_config, other.whole_config)
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
    print_table(["metric", *names], rows)
    if one.measured != other.measured:
        said = "; ".join(dict.fromkeys(s.measured.title for s in summaries))
        say(f"their metrics measure different things: {said}")
    return 0


def _said(value):
    return "-" if value is None else repr(value)


def _curves(one, other, count=12):
    """Up to ``count`` steps at which either run was evaluated, with the last one."""
    steps = sorted(one.valid | other.valid)
    every = max(-(-len(steps) // count), 1)
    chosen = steps[::-1][::every][::-1]
    return [(f"{n:,}", one.valid.get(n), other.valid.get(n)) for n in chosen]
