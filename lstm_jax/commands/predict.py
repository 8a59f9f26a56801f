"""``lstm-jax predict``: what a trained model says of new data."""

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.output_file import check_new
from lstm_jax.commands.predictions_file import write_predictions
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import Predicts, PredictsAhead, require
from lstm_jax.tasks.forecast_columns import conformal_levels, quantile_columns


def add_command(commands) -> None:
    """``lstm-jax predict`` and its options."""
    command = commands.add_parser("predict", help="predict on new data")
    add = command.add_argument
    add("run", help="the folder of a run")
    add(
        "--data",
        type=local_path,
        required=True,
        help="a file or folder like that of training; labels are not needed and not "
        "read",
    )
    add("--out", type=local_path, help="a CSV file to write (standard output)")
    ahead = command.add_argument_group("forecasts")
    add = ahead.add_argument
    add("--horizon", type=int, metavar="N", help="steps to forecast (as in training)")
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="prediction intervals, such as 80 95",
    )
    add(
        "--quantiles",
        type=float,
        nargs="+",
        metavar="Q",
        help="quantiles, such as 0.1 0.9",
    )
    add(
        "--conformal",
        action="store_true",
        help="calibrate the intervals of --level on the newest data of the file",
    )
    command.set_defaults(command=predict)


def predict(args) -> int:
    """The command. Every row of the data has its rows in the output, in order."""
    check_new("--out", args.out)
    _, task, params = best_of(args.run)
    write_predictions(args.out, _predictions(task, params, args), "predictions")
    return 0


def _predictions(task, params, args):
    data = str(args.data)
    options = args.horizon, args.level, args.quantiles
    if not args.conformal and all(option is None for option in options):
        advice = "use a run of the task classification, tagging or forecasting"
        does = "predict on new data"
        return require(task, Predicts, does, advice).predict(params, data)
    advice = "leave out --horizon, --level, --quantiles and --conformal"
    able = require(task, PredictsAhead, "forecast", advice)
    if args.conformal:
        usual = task.config.evaluation.conformal
        percents = conformal_levels(args.level, args.quantiles, usual)
        return able.predict_ahead(params, data, args.horizon, conformal=percents)
    columns = None
    if args.level is not None or args.quantiles is not None:
        columns = quantile_columns(args.level or (), args.quantiles or ())
    return able.predict_ahead(params, data, args.horizon, columns)
