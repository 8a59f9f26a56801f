"""``lstm-jax train``: a run from its config to its results."""

import contextlib
import dataclasses
import os
import shlex

from lstm_jax.commands import worker
from lstm_jax.commands.arguments import add_overrides, count
from lstm_jax.config import read
from lstm_jax.runs.configs import read_config, run_folder
from lstm_jax.runs.shipped import config_path, shipped
from lstm_jax.runs.train import train_run
from lstm_jax.terminal import say
from lstm_jax.training import processes
from lstm_jax.training.run_errors import RunError


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
    several = command.add_argument_group("several processes")
    several.add_argument(
        "--distributed",
        action="store_true",
        help="train with other processes that run the same command; SLURM, Open MPI, "
        "Kubernetes and TPU pods say where they are, or these options",
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="the address of process 0"
    )
    several.add_argument(
        "--processes", type=int, metavar="N", help="the number of processes"
    )
    several.add_argument(
        "--process", type=int, metavar="I", help="the number of this process, from 0"
    )
    several.add_argument(
        "--heartbeat",
        type=count,
        metavar="SECONDS",
        help=f"a process that is silent for so long counts as lost; default "
        f"{processes.HEARTBEAT}",
    )
    several.add_argument(
        "--connect-timeout",
        type=count,
        metavar="SECONDS",
        help=f"how long to wait for the others at the start; default "
        f"{processes.CONNECT}",
    )
    command.set_defaults(command=train)


def train(args) -> int:
    """The command."""
    named = {
        "--coordinator": args.coordinator,
        "--processes": args.processes,
        "--process": args.process,
        "--heartbeat": args.heartbeat,
        "--connect-timeout": args.connect_timeout,
    }
    given = [name for name, value in named.items() if value is not None]
    if not args.distributed:
        if given:
            raise RunError(
                f"{', '.join(given)}: for --distributed only; add it, or leave "
                f"{'them' if len(given) > 1 else 'it'} out."
            )
        return _train(args)
    args.heartbeat = args.heartbeat or processes.HEARTBEAT
    args.connect_timeout = args.connect_timeout or processes.CONNECT
    if not worker.is_worker():
        return _watch(args)
    worker.follow_parent()
    where = args.coordinator, args.processes, args.process
    processes.connect(*where, heartbeat=args.heartbeat, timeout=args.connect_timeout)
    with _quiet_others(), worker.fails_alone(processes.is_lost):
        return _train(args)


def _watch(args) -> int:
    end = worker.watch(args.argv)
    if not end.lost:
        return end.status
    this = "this process" if args.process is None else f"process {args.process}"
    if processes.BEGUN in end.told:
        raise RunError(
            f"{this} has lost another process; the run ends here. Its last checkpoint "
            f"is kept: start all processes again with --resume. Their number may "
            f"change."
        )
    if processes.JOINED in end.told:
        raise RunError(
            f"{this} has lost another process before the training began; see what the "
            f"others said."
        )
    raise RunError(
        f"{this} could not join the others within {args.connect_timeout} s; start all "
        f"processes with the same --coordinator and --processes, and let them reach "
        f"that address."
    )


@contextlib.contextmanager
def _quiet_others():
    """Process 0 alone talks to the user. Errors of the others go to standard error."""
    if processes.is_first():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def _train(args) -> int:
    path = config_path(args.config)
    config = read_config(read(path), args.overrides)
    if args.distributed and not hasattr(config, "parallel"):
        raise RunError(
            f"the task {config.task} cannot use several processes: its config has no "
            f"field parallel, of type ParallelConfig."
        )
    if args.distributed and config.parallel.data == 1:
        everywhere = dataclasses.replace(config.parallel, data=-1)
        config = dataclasses.replace(config, parallel=everywhere)
    directory = run_folder(config, path, args.overrides)
    outcome = train_run(config, directory, resume=args.resume)
    if not outcome.complete:
        by = f" by {outcome.stopped_by}" if outcome.stopped_by else ""
        say(f"stopped at step {outcome.step:,}{by}; saved in {outcome.run.directory}.")
        again = ["lstm-jax", "train", args.config, *args.overrides, "--resume"]
        more = ""
        if args.distributed:
            more = " --distributed, and the same options of each process"
        say(f"go on with: {shlex.join(again)}{more}")
        if not processes.is_first():
            say("stopped; process 0 says how to go on.", error=True)
        return 130
    return 0
