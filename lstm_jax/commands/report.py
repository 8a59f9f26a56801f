"""``lstm-jax report``: a trained run, or several, as one HTML file."""

import functools
import time
from pathlib import Path

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.output_file import check_new, write_output
from lstm_jax.report.one_run import report as report_of
from lstm_jax.report.several_runs import comparison
from lstm_jax.runs.load import trained
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError

NAME = "report.html"


def add_command(commands) -> None:
    """``lstm-jax report`` and its options."""
    command = commands.add_parser(
        "report",
        help="write what a run has learned into one HTML file",
        description="Writes one HTML file that opens without a network: metrics, "
        "curves, samples, gates, gradients, config and versions. Several runs are "
        "compared.",
    )
    add = command.add_argument
    add("runs", nargs="+", metavar="RUN", help="the folder of a run")
    add(
        "--out",
        type=local_path,
        metavar="FILE.html",
        help=f"a new file to write (RUN/{NAME}, which is replaced; needed for several "
        f"runs)",
    )
    command.set_defaults(command=report)


def report(args) -> int:
    """The command."""
    start = time.perf_counter()
    check_new("--out", args.out)
    warn = functools.partial(say, error=True)
    if len(args.runs) == 1:
        run = trained(args.runs[0])
        html, out = report_of(run, warn), args.out or run.run.path(NAME)
    else:
        if args.out is None:
            raise RunError("several runs need --out FILE.html; add it.")
        if len({Path(run).resolve() for run in args.runs}) < len(args.runs):
            raise RunError("a run is named twice; name each run once.")
        html, out = comparison(args.runs), args.out
    write_output(out, html, f"report, {len(html) / 2**20:.2f} MB")
    say(f"made in {time.perf_counter() - start:.0f} s; open it in a browser.")
    return 0
