"""The command ``lstm-jax``: trains, evaluates, compares, brings weights in and out."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

import lstm_jax
from lstm_jax import ops
from lstm_jax.bench import command as bench
from lstm_jax.bench.workers import BenchError
from lstm_jax.commands import evaluate, generate, interop, predict, reproduce, train
from lstm_jax.commands.describe import config
from lstm_jax.commands.listing import compare, runs
from lstm_jax.commands.memory import ALL_CELLS, memory
from lstm_jax.commands.process import keep_freed_memory
from lstm_jax.config import ConfigError
from lstm_jax.data.text import DataError
from lstm_jax.interop.errors import InteropError
from lstm_jax.terminal import prepare_output, say
from lstm_jax.training.run_folder import RunError
from lstm_jax.training.trainer import Diverged


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status.

    0: done. 1: training diverged. 2: something asked for cannot be done, said in a
    line. 130: stopped by Ctrl-C, with the state saved. 141: whoever read the output
    has closed it.
    """
    prepare_output()
    args = _parse(argv)
    keep_freed_memory()
    try:
        status = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # What is left in the buffer would meet the closed pipe once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say(f"lstm-jax: cannot write the output: {error.strerror}.", error=True)
        return 2
    except (BenchError, ConfigError, DataError, InteropError, RunError) as error:
        say(f"lstm-jax: {error}", error=True)
        return 2
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"lstm-jax: {_too_large(error)}", error=True)
        return 2
    except Diverged as error:
        say(f"lstm-jax: {error}", error=True)
        return 1
    except KeyboardInterrupt:
        print("lstm-jax: interrupted.", file=sys.stderr)
        return 130


def _too_large(error):
    said = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
    return (
        f"the device has not enough memory ({said}); lower train.batch_size, "
        f"evaluation.batch_size, train.seeds or the sizes of the model."
    )


def _parse(argv):
    """The arguments; overrides may stand before and after options."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if "cells" in args:  # an option of many words takes those behind it as well
        cells = ALL_CELLS if args.cells is None else args.cells
        rest = [word for word in cells if "=" in word] + rest
        args.cells = [word for word in cells if "=" not in word]
    if "overrides" in args and not any(word.startswith("-") for word in rest):
        args.overrides += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _parser():
    parser = argparse.ArgumentParser(prog="lstm-jax", description=__doc__)
    version = f"lstm_jax {lstm_jax.__version__}, JAX {jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train.add_command(commands)
    evaluate.add_command(commands)
    generate.add_command(commands)
    predict.add_command(commands)

    command = commands.add_parser("config", help="say what a config can hold")
    command.add_argument("source", nargs="?", help="a task, or a TOML file")
    command.add_argument("overrides", nargs="*", metavar="key.path=value")
    command.add_argument(
        "--schema", action="store_true", help="every key: type, default, meaning"
    )
    command.set_defaults(command=config)

    command = commands.add_parser(
        "memory", help="let cells compete on a problem of long memory"
    )
    command.add_argument("config", help="such as configs/memory_adding.toml")
    command.add_argument("overrides", nargs="*", metavar="key.path=value")
    command.add_argument(
        "--cells",
        nargs="+",
        metavar="CELL",
        action="extend",
        help=", ".join(ALL_CELLS),
    )
    command.add_argument(
        "--resume", action="store_true", help="go on with those that are there"
    )
    command.add_argument(
        "--out", type=Path, help="a folder for copies of figures and plots"
    )
    command.set_defaults(command=memory)

    command = commands.add_parser("runs", help="list runs with their best figures")
    command.add_argument("folder", nargs="?", default="runs")
    command.set_defaults(command=runs)

    command = commands.add_parser("compare", help="two runs side by side")
    command.add_argument("run", help="the folder of a run")
    command.add_argument("other", metavar="run", help="that of another")
    command.set_defaults(command=compare)

    reproduce.add_command(commands)
    interop.add_commands(commands)

    command = commands.add_parser("info", help="say what runs on this machine")
    command.set_defaults(command=_info)

    command = commands.add_parser(
        "bench", help="time our LSTM and those of other libraries on this machine"
    )
    bench.add_arguments(command)
    command.set_defaults(command=_bench)
    return parser


def _info(args):
    del args
    print(f"lstm_jax {lstm_jax.__version__}, JAX {jax.__version__}")
    print("devices:", *jax.devices())
    for name, state in ops.availability().items():
        print(f'implementation="{name}":', state)
    print("None takes the fastest that supports a call.")
    return 0


def _bench(args):
    bench.run(args.shapes, args.peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
