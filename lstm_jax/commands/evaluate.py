"""``lstm-jax evaluate``: the metrics of a trained run."""

from lstm_jax.commands.arguments import add_overrides
from lstm_jax.runs.load import trained
from lstm_jax.runs.results import evaluate_seeds, print_metrics, report, total
from lstm_jax.terminal import say
from lstm_jax.training.run_folder import RunError


def add_command(commands) -> None:
    """``lstm-jax evaluate`` and its options."""
    command = commands.add_parser("evaluate", help="evaluate the best checkpoint")
    command.add_argument("run", help="the folder of a run")
    add_overrides(
        command,
        "evaluation.KEY=VALUE",
        "other ways to evaluate; the results of the run stay as they are",
    )
    command.add_argument(
        "--split",
        "--part",
        choices=("train", "valid", "test"),
        help="the split to evaluate on (test, or valid where there is no test split)",
    )
    command.add_argument(
        "--baselines",
        action="store_true",
        help="compare with baselines that take long as well",
    )
    command.set_defaults(command=evaluate)


def evaluate(args) -> int:
    """The command. Metrics are printed before they are saved, so that a run on a
    read-only disk, or of a colleague, can be evaluated too."""
    run = trained(args.run, args.overrides)
    run.task.check_same_data(run.run.read_json("run.json"), run.run.directory)
    split = args.split or run.task.final_split
    if any(o.partition("=")[0].strip() not in run.task.moved for o in args.overrides):
        # The results of the run stay what they are.
        each = [*evaluate_seeds(run, split)]
        print_metrics(run, split, each)
        line = {"part": split, "overrides": args.overrides} | total(run, each)
        _save_if_possible(lambda: run.run.append_json("evaluations.jsonl", line))
    else:
        name = f"result-{split}.json"
        save = lambda metrics: _save_if_possible(
            lambda: run.run.write_json(name, metrics)
        )
        report(run, split, save, every_baseline=args.baselines)
    return 0


def _save_if_possible(save):
    try:
        save()
    except RunError as error:
        say(f"not saved: {error}", error=True)
