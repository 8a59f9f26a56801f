"""``lstm-jax train``: a run from its config to its results."""

import shlex

from lstm_jax.commands.arguments import add_overrides
from lstm_jax.config import read
from lstm_jax.runs.configs import read_config, run_folder
from lstm_jax.runs.shipped import config_path, shipped
from lstm_jax.runs.train import train_run
from lstm_jax.terminal import say


def add_command(commands) -> None:
    """``lstm-jax train`` and its options."""
    command = commands.add_parser("train", help="train what a config file describes")
    command.add_argument(
        "config",
        help=f"a TOML file, or a config that comes with lstm_jax: "
        f"{', '.join(shipped())}",
    )
    add_overrides(command, said="changes to the config, such as train.steps=100")
    command.add_argument(
        "--resume", action="store_true", help="continue a run from its last checkpoint"
    )
    command.set_defaults(command=train)


def train(args) -> int:
    """The command."""
    path = config_path(args.config)
    config = read_config(read(path), args.overrides)
    directory = run_folder(config, path, args.overrides)
    outcome = train_run(config, directory, resume=args.resume)
    if not outcome.complete:
        by = f" by {outcome.stopped_by}" if outcome.stopped_by else ""
        say(f"stopped at step {outcome.step:,}{by}; saved in {outcome.run.directory}.")
        again = ["lstm-jax", "train", args.config, *args.overrides, "--resume"]
        say(f"go on with: {shlex.join(again)}")
        return 130
    return 0
