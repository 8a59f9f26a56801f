"""``lstm-jax backtest``: how good forecasts would have been, series by series."""

import numpy as np

from lstm_jax import files
from lstm_jax.commands.arguments import add_overrides, local_path
from lstm_jax.commands.output_file import check_new
from lstm_jax.commands.predictions_file import write_predictions
from lstm_jax.data.text import counted
from lstm_jax.runs.extras import print_plots
from lstm_jax.runs.fan_charts import draw_fan
from lstm_jax.runs.load import trained
from lstm_jax.tables import print_table
from lstm_jax.tasks.abilities import Backtest, Backtests, require
from lstm_jax.terminal import say
from lstm_jax.training.step import one_seed

RANKED_BY = ("mase", "mae", "loss")
"""Series are ranked by the first of these metrics that is a number."""


def add_command(commands) -> None:
    """``lstm-jax backtest`` and its options."""
    command = commands.add_parser(
        "backtest", help="forecast the last windows of the final split, and compare"
    )
    add = command.add_argument
    add("run", help="the folder of a run that forecasts")
    add_overrides(command, "data.path=FILE", "where the data lie now")
    add("--windows", type=int, default=4, help="windows of every series (4)")
    add(
        "--step",
        type=int,
        help="steps from one window to the next (those of the horizon)",
    )
    add("--out", type=local_path, help="a CSV file to write, with every forecast")
    add(
        "--plots",
        type=local_path,
        metavar="FOLDER",
        help="a folder to make, with charts of the best, median and worst series",
    )
    command.set_defaults(command=backtest)


def backtest(args) -> int:
    """The command. The table is printed before anything is written."""
    check_new("--out", args.out)
    check_new("--plots", args.plots)
    run = trained(args.run, args.overrides)
    advice = "use a run of the task forecasting"
    task = require(run.task, Backtests, "be backtested", advice)
    run.task.check_same_data(run.run.read_json("run.json"), run.run.directory)
    params = one_seed(run.params, run.best_seed, run.seeds)
    found = task.backtest(params, args.windows, args.step)
    say(f"{counted(args.windows, 'window')} of {counted(len(found.fans), 'series')}")
    chosen = _chosen(found)
    _print(found, chosen)
    if args.out is not None:
        write_predictions(args.out, found.forecasts, "forecasts")
    if args.plots is not None:
        files.make_folders(args.plots)
        fans = [(place, found.fans[n]) for place, n in chosen.items()]
        print_plots(
            lambda: [draw_fan(args.plots / f"{place}.png", fan) for place, fan in fans],
            "charts",
        )
    return 0


def _chosen(found: Backtest):
    """Best, median and worst to the number of a series; fewer of fewer series."""
    by = next(
        (name for name in RANKED_BY if np.isfinite(found.metrics.get(name, np.nan))),
        RANKED_BY[-1],
    )
    values = np.array([row[by] for row in found.by_series])
    order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")
    order = order.tolist()
    places = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    if len(order) < 3:
        places.pop("median")
    return {"only": order[0]} if len(order) == 1 else places


def _print(found, chosen):
    names = [*found.metrics]
    rows = [["all series", "", *found.metrics.values()]]
    for place, n in chosen.items():
        row = found.by_series[n]
        rows.append([place, row["series"], *(row[name] for name in names)])
    print_table(["", "series", *(name.replace("_", " ") for name in names)], rows)
