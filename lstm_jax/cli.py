"""The command ``lstm-jax``: trains, evaluates, compares, imports and exports models."""

import argparse
import sys
import traceback
from collections.abc import Sequence

import jax

import lstm_jax
from lstm_jax import ops
from lstm_jax.bench import command as bench
from lstm_jax.bench.workers import BenchError
from lstm_jax.commands import (
    backtest,
    describe,
    evaluate,
    explain,
    generate,
    interop,
    listing,
    memory,
    predict,
    report,
    reproduce,
    sweep,
    train,
    transcribe,
    translate,
    worker,
)
from lstm_jax.commands.process import keep_freed_memory, quiet_after_failed_writes
from lstm_jax.config import ConfigError, keys_named
from lstm_jax.data.text import DataError
from lstm_jax.interop.errors import InteropError
from lstm_jax.tasks import TASKS
from lstm_jax.terminal import LOST_OUTPUT, drop_output, prepare_output, say
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.stop import Terminated, termination_raises
from lstm_jax.training.trainer import Diverged


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status.

    0: done. 1: training diverged. 2: the command cannot be done; one line says why.
    130: stopped by Ctrl-C; a run that trains has saved its state. 141: the reader of
    the output has closed it. 143: stopped by SIGTERM or SIGHUP outside training.
    """
    prepare_output()
    args = _parse(argv)
    keep_freed_memory()
    quiet_after_failed_writes()
    with termination_raises():
        try:
            status = _run(args)
        except BaseException:
            if worker.is_worker():
                traceback.print_exc()
            worker.leave(1)
            raise
        return worker.leave(status)


def _run(args):
    try:
        status = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        drop_output(sys.stdout)
        return 141
    except OSError as error:
        if error.filename is not None or error.errno not in LOST_OUTPUT:
            raise
        drop_output(sys.stdout)
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
    except worker.ProcessLost:
        return worker.LOST
    except KeyboardInterrupt:
        say("lstm-jax: interrupted.", error=True)
        return 130
    except Terminated as error:
        say(f"lstm-jax: stopped by {error}.", error=True)
        return 143


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
    args.argv = sys.argv[1:] if argv is None else [*argv]
    if "cells" in args:  # an option of many words takes those behind it as well
        cells = memory.ALL_CELLS if args.cells is None else args.cells
        rest = [word for word in cells if "=" in word] + rest
        args.cells = [word for word in cells if "=" not in word]
    if "overrides" in args and not any(word.startswith("-") for word in rest):
        args.overrides += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}{_hint(args, rest)}")
    return args


def _hint(args, words):
    """The key of a config that was meant by an option."""
    option, *values = words
    name, _, value = option.lstrip("-").partition("=")
    if "overrides" not in args or not option.startswith("--"):
        return ""
    value = value or next(iter(values), "VALUE")
    name = name.replace("-", "_")
    keys = dict.fromkeys(k for c, _ in TASKS.values() for k in keys_named(c, name))
    meant = [f"{key}={value}" for key in keys]
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""


def _parser():
    said = "Trains, evaluates, compares, imports and exports models."
    parser = argparse.ArgumentParser(prog="lstm-jax", description=said)
    version = f"lstm_jax {lstm_jax.__version__}, JAX {jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train.add_command(commands)
    sweep.add_command(commands)
    evaluate.add_command(commands)
    generate.add_command(commands)
    translate.add_command(commands)
    transcribe.add_command(commands)
    predict.add_command(commands)
    backtest.add_command(commands)

    describe.add_command(commands)
    memory.add_command(commands)
    explain.add_command(commands)
    report.add_command(commands)
    listing.add_commands(commands)
    reproduce.add_command(commands)
    interop.add_commands(commands)

    command = commands.add_parser("info", help="say what runs on this machine")
    command.set_defaults(command=_info)

    command = commands.add_parser(
        "bench", help="time this LSTM and other libraries on this machine"
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
    if args.schema:
        bench.print_schema()
    else:
        bench.run(args.shapes, args.peers, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
