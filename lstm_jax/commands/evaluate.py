"""``lstm-jax evaluate``: the metrics of a trained run."""

from lstm_jax.commands.arguments import add_overrides, local_path
from lstm_jax.commands.score import score
from lstm_jax.runs.load import trained
from lstm_jax.runs.results import evaluate_seeds, print_metrics, report, total
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError


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
        help="compute slow baselines too",
    )
    command.add_argument(
        "--text",
        type=local_path,
        metavar="FILE",
        help="evaluate a language model on this text instead; - reads standard input",
    )
    command.add_argument(
        "--out",
        type=local_path,
        metavar="FILE",
        help="a .csv or .jsonl file to write, with the loss of every token of --text",
    )
    command.set_defaults(command=evaluate)


def evaluate(args) -> int:
    """The command. Metrics are printed before they are saved, so a run on a read-only
    disk can be evaluated too."""
    if args.text is not None:
        return score(args)
    if args.out is not None:
        raise RunError("--out takes the losses of a text; name the text with --text.")
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
