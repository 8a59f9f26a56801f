"""The command ``lstm-jax``: train, evaluate, generate, info, bench."""

import argparse
import difflib
import platform
import shlex
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import jax

import lstm_jax
from lstm_jax import ops
from lstm_jax.bench import command
from lstm_jax.bench.workers import BenchError
from lstm_jax.config import ConfigError, build, changes, dump, override, read
from lstm_jax.data.text import DataError
from lstm_jax.tasks import TASKS
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.loop import Diverged, fit
from lstm_jax.training.plots import plot_run
from lstm_jax.training.record import Run, RunError, environment
from lstm_jax.training.step import init_state, make_block


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status.

    0: done. 1: training diverged. 2: something asked for cannot be done, said in a
    line. 130: stopped by Ctrl-C, with the state saved.
    """
    args = _parse(argv)
    try:
        return args.command(args)
    except (BenchError, ConfigError, DataError, RunError) as error:
        print(f"lstm-jax: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"lstm-jax: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lstm-jax: interrupted.", file=sys.stderr)
        return 130


def _parse(argv):
    """The arguments; overrides may stand before and after options."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if "overrides" in args and not any(word.startswith("-") for word in rest):
        args.overrides += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _parser():
    parser = argparse.ArgumentParser(prog="lstm-jax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train what a config file describes")
    train.add_argument("config", help="a TOML file, such as configs/quickstart.toml")
    train.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the config"
    )
    train.add_argument(
        "--resume", action="store_true", help="go on where a run stopped"
    )
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="evaluate the best checkpoint")
    evaluate.add_argument("run", help="the folder of a run")
    evaluate.add_argument("--part", choices=("train", "valid", "test"), default="test")
    evaluate.set_defaults(command=_evaluate)

    generate = commands.add_parser(
        "generate", help="write text with the best checkpoint"
    )
    generate.add_argument("run", help="the folder of a run")
    generate.add_argument("--prompt", default="The ")
    generate.add_argument("--length", type=_at_least_one, default=400)
    generate.add_argument("--temperature", type=_not_negative, default=0.7)
    generate.add_argument("--seed", type=int, default=0)
    generate.set_defaults(command=_generate)

    info = commands.add_parser("info", help="say what runs on this machine")
    info.set_defaults(command=_info)

    bench = commands.add_parser(
        "bench", help="time our LSTM and those of other libraries on this machine"
    )
    command.add_arguments(bench)
    bench.set_defaults(command=_bench)
    return parser


def _at_least_one(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}, expected 1 or more")
    return int(text)


def _not_negative(text):
    if not float(text) >= 0:
        raise argparse.ArgumentTypeError(f"is {text}, expected 0 or more")
    return float(text)


def _train(args):
    config = _config(read(args.config), args.overrides)
    directory = config.run.directory or Path("runs") / Path(args.config).stem
    _, make_task = TASKS[config.task]
    task = make_task(config)
    data = task.training_data()
    optimizer = config.optimizer.build(config.train.steps)
    state = init_state(task.params, task.init_carry(), optimizer, task.train_key)

    if args.resume:
        run = Run.open(directory)
        checkpoints, state = _resume(run, config, task, state)
    else:
        facts = task.describe() | {"characters_known": task.vocabulary.characters}
        run = Run.create(directory, dump(config), facts | environment())
        checkpoints = Checkpoints(run.path("checkpoints"))
    _print_facts(run)

    start = time.monotonic()
    block = make_block(task.loss, optimizer, task.batch_at, config.train.block)
    state, complete = fit(
        state,
        data,
        block,
        lambda params: task.evaluate(params, "valid"),
        config.train,
        config.optimizer.learning_rates(config.train.steps),
        run,
        checkpoints,
    )
    if not complete:
        print(f"stopped at step {int(state.step):,}; saved in {run.directory}.")
        again = ["lstm-jax", "train", args.config, *args.overrides, "--resume"]
        print(f"go on with: {shlex.join(again)}")
        return 130
    print(f"trained in {time.monotonic() - start:.0f} s.")
    params = checkpoints.restore_best(task.params)
    run.save_weights(params)
    _report(run, task, params, "test")
    _plot(run)
    print(f"run and checkpoints: {run.directory}")
    return 0


def _resume(run, config, task, state):
    """Checkpoints and last state of a run, written to only once both are at hand."""
    _check_resumable(run, config, task)
    checkpoints = Checkpoints(run.path("checkpoints"))
    last = checkpoints.last_step
    if last is not None:
        if last > config.train.steps:
            raise RunError(
                f"train.steps is {config.train.steps} but {run.directory} has a "
                f"checkpoint of step {last}; set train.steps={last} or more, or start "
                f"a run with run.directory=FOLDER."
            )
        state = checkpoints.restore(state)
    facts, step = run.read_json("run.json"), int(state.step)
    resumed = [*facts.get("resumed", []), {"step": step} | environment()]
    run.write_json("run.json", facts | {"resumed": resumed})
    run.write_text("config.toml", dump(config))
    run.rewind(step)
    return checkpoints, state


FREE_ON_RESUME = {
    "run.directory",
    "train.block",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.steps",
}
"""What a run may go on with otherwise than it began."""


def _check_resumable(run, config, task):
    """A run goes on with the model and the data it began with, or not at all."""
    before = read(run.path("config.toml"))
    for key, (old, new) in changes(before, tomllib.loads(dump(config))).items():
        if key not in FREE_ON_RESUME:
            raise RunError(
                f"{run.directory} was trained with {key}={old!r}, not {new!r}; "
                f"resume it as it was, or start a run with run.directory=FOLDER."
            )
    _check_text(run, task)


def _check_text(run, task):
    """Another text, or another Python's reference, would be split elsewhere."""
    facts = run.read_json("run.json")
    if facts["sha256"] == task.describe()["sha256"]:
        return
    text, remedy = "the text", "bring that back"
    if not task.config.data.path:
        text = f"the language reference of Python {platform.python_version()}"
        remedy = f"use Python {facts['python']} again, rename or remove {run.directory}"
    raise RunError(
        f"{text} is not the one {run.directory} was trained on; "
        f"{remedy}, or start a new run with run.directory=FOLDER."
    )


def _config(values, overrides):
    values = override(values, overrides)
    name = values.get("task")
    if name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"task is {name!r}; valid: {', '.join(TASKS)}{hint}")
    config_class, _ = TASKS[name]
    return build(config_class, values)


def _print_facts(run):
    facts = run.read_json("run.json")
    print(
        f"{facts['data']}: {facts['characters']:,} characters, "
        f"{facts['vocabulary']} distinct, sha256 {facts['sha256'][:16]}"
    )
    device = [facts, *facts.get("resumed", [])][-1]["device"]
    print(f"{facts['parameters']:,} parameters on {device}")


def _report(run, task, params, part):
    figures = task.report(task.evaluate(params, part))
    said = f"{part}: {figures['bits_per_character']:.4f} bits per character"
    if part == "test":
        figures["xz_bits"] = task.xz_bits()
        said += f" (xz -9, having seen the rest: {figures['xz_bits']:.3f})"
    run.write_json(f"result-{part}.json", figures)
    print(said)


def _plot(run):
    try:
        paths = plot_run(run)
    except ModuleNotFoundError:
        print("no plots: matplotlib is not installed; pip install 'lstm-jax[plots]'")
    else:
        print("plots:", *paths)


def _trained(directory):
    """A run, its task and its best parameters."""
    run = Run.open(directory)
    checkpoints = Checkpoints(run.path("checkpoints"))
    if checkpoints.best_step is None:
        raise RunError(f"{directory} has no checkpoint yet; train it further.")
    config = _config(read(run.path("config.toml")), [])
    _, make_task = TASKS[config.task]
    task = make_task(config, run.read_json("run.json")["characters_known"])
    return run, task, checkpoints.restore_best(task.params)


def _evaluate(args):
    run, task, params = _trained(args.run)
    _check_text(run, task)
    _report(run, task, params, args.part)
    return 0


def _generate(args):
    _, task, params = _trained(args.run)
    text = task.generate(params, args.prompt, args.length, args.temperature, args.seed)
    print(args.prompt + text)
    return 0


def _info(args):
    del args
    print(f"lstm_jax {lstm_jax.__version__}, JAX {jax.__version__}")
    print("devices:", *jax.devices())
    for name, state in ops.availability().items():
        print(f'implementation="{name}":', state)
    print("None takes the fastest that supports a call.")
    return 0


def _bench(args):
    command.run(args.shapes, args.peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
