"""``lstm-jax evaluate RUN --text FILE``: what any text costs under a language model."""

import csv
import io
import json
import os
import sys

from lstm_jax import files
from lstm_jax.data.stored import read_stream, read_text
from lstm_jax.data.text import counted
from lstm_jax.runs.load import trained
from lstm_jax.tasks.abilities import Scored, ScoresText, require
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.step import one_seed

FORMATS = (".csv", ".jsonl")


def score(args) -> int:
    """Prints the metrics of a text, and writes the loss of every token of it."""
    for option in ("split", "baselines"):
        if getattr(args, option):
            raise RunError(
                f"--{option} is for the data of the run; leave it or --text out."
            )
    _check_out(args.out)
    run = trained(args.run, args.overrides)
    advice = "name a run of the task language_model"
    task = require(run.task, ScoresText, "score text", advice)
    if str(args.text) == "-":
        name = "standard input"
        text = read_stream(sys.stdin.buffer, name, task.config.data.encoding)
    else:
        name = args.text
        text = read_text(name, f"--text {name}", task.config.data.encoding)
    params = one_seed(run.params, run.best_seed, run.seeds)
    found = task.score(params, text)
    say(
        f"{name}: {counted(len(found.tokens), 'token')}, {task.sentence(found.metrics)}"
    )
    if args.out is not None:
        write(found, args.out)
        say(f"losses of {counted(len(found.tokens) - 1, 'token')}: {args.out}")
    return 0


def _check_out(path):
    """Before any work is done."""
    if path is None:
        return
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"--out {path} must end with {' or '.join(FORMATS)}.")
    if os.path.lexists(path):
        raise RunError(f"--out {path} already exists; name another file.")


def write(found: Scored, path) -> None:
    """Writes a row for every token: its index, id, text, and loss in nats.

    Raises:
        RunError: the file cannot be written.
    """
    line = _csv_line if path.suffix.lower() == ".csv" else _json_line
    try:
        with files.writing(path, new=True) as file:
            if line is _csv_line:
                file.write(_csv_line(found.columns))
            for row in found.rows():
                file.write(line(row))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"--out {path} cannot be written: {reason}; name another file."
        ) from error


def _csv_line(row):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()


def _json_line(row):
    values = dict(zip(Scored.columns, row, strict=True))
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()
