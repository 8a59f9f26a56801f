"""The command: arguments, what is missing, the stages, the exit status."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.accelerator import packages
from benchmarks.accelerator.stages import MINUTES, STAGES, Stage, listing

CANNOT_START = 2
START_SECONDS = 180
NOT_OPTIMISED = "--xla_backend_optimization_level=0"
WHERE = """
import json, jax
from lstm_jax.bench.machine import environment
found = environment()
version = jax.devices()[0].client.platform_version.lower()
kinds = {"gpu": "rocm" if "rocm" in version else "cuda"}
found["platform_name"] = kinds.get(found["backend"], found["backend"])
print(json.dumps(found))
"""
"""Asked of a process that ends: one that goes on would keep the device."""


def main(argv: Sequence[str] | None = None, stages: Sequence[Stage] = STAGES) -> int:
    """Runs the stages; 0 if everything succeeded, 1 if not, 2 if nothing could run."""
    args = _arguments(argv, stages)
    stages = [stage for stage in stages if stage.name in args.only]
    if args.list:
        print(listing(stages, args.minutes))
        return 0
    with tempfile.TemporaryDirectory(prefix="wheels") as folder:
        try:
            where, variables = prepare(args, Path(folder))
        except packages.Missing as reason:
            print(f"benchmarks.accelerator: {reason}", file=sys.stderr)
            return CANNOT_START
        return 0 if run(args, stages, where, variables) else 1


def prepare(args, folder):
    """The environment that was found, and the variables of all processes.

    Raises:
        Missing: a package that everything needs, or a device that works.
    """
    if args.wheels:
        installed = packages.install(args.wheels, folder)
        print(f"from {args.wheels}: {', '.join(installed) or 'nothing is lacking'}")
        # Last, so that nothing takes the place of what the machine has.
        sys.path.append(str(folder))
    for name in packages.missing(tuple(packages.WANTED)):
        print(f"missing: {name}, for {packages.WANTED[name]}")
    if lacking := packages.missing(tuple(packages.NEEDED)):
        why = ", ".join(f"{name} (for {packages.NEEDED[name]})" for name in lacking)
        raise packages.Missing(f"missing: {why}; take them from --wheels FOLDER.")
    variables = dict(os.environ)
    path = [os.environ.get("PYTHONPATH", ""), str(folder)]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    # Several processes share one accelerator.
    variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if args.dry_run:
        variables["JAX_PLATFORMS"] = "cpu"
        # Compiling takes longer than running what is so small.
        flags = f"{NOT_OPTIMISED} {variables.get('XLA_FLAGS', '')}"
        variables["XLA_FLAGS"] = flags
    elif platforms := variables.get("JAX_PLATFORMS"):
        # float64, to compare with, is computed on the CPU.
        variables["JAX_PLATFORMS"] = f"{platforms},cpu"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", WHERE],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise packages.Missing(
            f"JAX has not found a device within {START_SECONDS} s; end what else uses "
            f"the device, or set JAX_PLATFORMS."
        ) from None
    if asked.returncode:
        raise packages.Missing(f"nothing runs here: {asked.stderr.strip()[-1000:]}")
    return json.loads(asked.stdout.splitlines()[-1]), variables


def run(args, stages, where, variables):
    """Whether every stage succeeded."""
    # Both import JAX, which may have come from a wheel a moment ago.
    from benchmarks.accelerator import supervise
    from benchmarks.accelerator.record import Record

    name = re.sub(r"[^a-z0-9]+", "-", where["device"].lower()).strip("-")
    name = f"accelerator-{name}{'-dry-run' if args.dry_run else ''}"
    facts = dict(environment=where, minutes=args.minutes, dry_run=args.dry_run)
    record = Record(args.out / f"{name}.json", facts)
    log = args.out / f"{name}.log"
    log.write_bytes(b"")
    print(f"{where['device']}, JAX {where['versions']['jax']}", flush=True)
    machine = supervise.Machine(where["platform_name"], args.dry_run, variables, log)
    good = supervise.run(stages, machine, record, args.minutes)
    print(f"written: {record.path}", "" if good else "; something failed", sep="")
    return good


def _arguments(argv, stages):
    names = [stage.name for stage in stages]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator")
    add = parser.add_argument
    add("--minutes", type=float, default=MINUTES, help="of the whole run (8)")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    add("--only", type=_split, default=names, help=f"of {','.join(names)}")
    add("--wheels", type=Path, metavar="FOLDER", help="wheels of what is missing")
    add("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    add("--list", action="store_true", help="print the stages and their seconds")
    args = parser.parse_args(argv)
    if unknown := set(args.only) - set(names):
        parser.error(f"--only has {sorted(unknown)}, which must be of {names}")
    if args.minutes <= 0:
        parser.error(f"--minutes is {args.minutes}, which must be more than 0")
    args.out = args.out.absolute()
    return args


def _split(text):
    return text.split(",")
