"""Several processes that train one run together, on JAX's own distributed runtime.

Every process runs the same program, has the devices of its machine, and computes the
same decisions. Process 0 alone writes the run and talks to the user. Where processes
could disagree, such as on a request to stop, they follow all of them or process 0.

A function with the remark "together" must be called by every process, in the same
order.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lstm_jax import files
from lstm_jax.training.run_errors import RunError, cannot_write

WORKER = "LSTM_JAX_WORKER"
"""An environment variable of a process whose parent watches it: the parent's number."""

JOINED, BEGUN = (f"lstm-jax worker: {word}" for word in ("joined", "begun"))
"""What such a process tells its parent: all have found each other; training begins."""

HEARTBEAT = 60
"""Seconds without a sign of life after which a process counts as lost."""

CONNECT = 300
"""Seconds that a process waits for the others at the start."""

SEE = 15
"""Seconds until a file of one machine has to be seen by another."""

FINISH = 7 * 24 * 3600
"""Seconds that a process waits at its end for process 0, which evaluates last."""


def count() -> int:
    """The number of processes."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process writes the run: always true where there is only one."""
    return jax.process_index() == 0


def connect(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat: int = HEARTBEAT,
    timeout: int = CONNECT,
) -> None:
    """Joins the other processes; call it before anything else of JAX.

    Without arguments, JAX finds them in the environment that SLURM, Open MPI,
    Kubernetes and TPU pods set.

    Args:
        coordinator: ``HOST:PORT`` of process 0, which every process can reach.
        processes: how many there are.
        process: the number of this one, from 0.
        heartbeat: see `HEARTBEAT`.
        timeout: see `CONNECT`.

    Raises:
        RunError: nothing says where the others are, or they do not answer.
    """
    named = {
        "--coordinator": coordinator,
        "--processes": processes,
        "--process": process,
    }
    missing = [name for name, value in named.items() if value is None]
    if missing and len(missing) < len(named):
        raise RunError(
            f"--distributed lacks {' and '.join(missing)}; give all of "
            f"{', '.join(named)}, or none of them under SLURM, MPI or Kubernetes."
        )
    if processes is not None and not 0 <= (process or 0) < processes:
        raise RunError(
            f"--process is {process}, expected 0 to {processes - 1} for --processes="
            f"{processes}."
        )
    if coordinator is not None and not re.fullmatch(r".+:[0-9]+", coordinator):
        raise RunError(
            f"--coordinator is {coordinator}, expected HOST:PORT, such as "
            f"10.0.0.1:1234."
        )
    if _simulated() > 1:
        raise RunError(
            "XLA_FLAGS asks for several simulated devices, which are not supported "
            "in several processes; unset --xla_force_host_platform_device_count."
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=FINISH,
        )
        with _without_output():  # Gloo says here how many it has found
            wait("connected")
        tell(JOINED)
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0]
        if missing:
            raise RunError(
                f"--distributed finds no cluster ({said}); start one process a machine "
                f"with {', '.join(named)}."
            ) from error
        raise RunError(
            f"process {process} cannot join the others at {coordinator} ({said}); "
            f"choose a free port of process 0, and start all {processes} processes "
            f"within {timeout} s."
        ) from error


@contextlib.contextmanager
def _without_output():
    """Drops what libraries in C print on standard output."""
    sys.stdout.flush()
    before = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


def _simulated() -> int:
    flags = os.environ.get("XLA_FLAGS", "")
    found = re.findall(r"xla_force_host_platform_device_count=(\d+)", flags)
    return int(found[-1]) if found else 1


def tell(word: str) -> None:
    """Tells the parent that watches this process, if there is one."""
    if WORKER in os.environ:
        print(word, file=sys.stderr, flush=True)


def check_same(values: Any, what: str, remedy: str) -> None:
    """Refuses processes that differ from process 0. Together.

    Args:
        values: what must be the same, for JSON.
        what: a name for it.
        remedy: what to do.

    Raises:
        RunError: in every process, with the number of the first that differs.
    """
    if count() == 1:
        return
    text = json.dumps(values, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).digest()
    found = of_all(np.frombuffer(digest, np.int32))
    _refuse((found != found[0]).any(1), f"has another {what} than process 0; {remedy}")


def check_shared(folder: Path) -> None:
    """Refuses a folder that not all processes see. Together.

    Raises:
        RunError: in every process, with the number of the first that does not see it;
            or in process 0, which cannot write to it.
    """
    if count() == 1:
        return
    numbers = of_all(np.frombuffer(secrets.token_bytes(8), np.int32))[0]
    mark = folder / f".{numbers.tobytes().hex()}{files.ASIDE}"
    if is_first():
        try:
            files.write_bytes(mark, b"")
        except OSError as error:
            raise cannot_write(folder, error) from error
    wait("marked")
    end = time.monotonic() + SEE
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.1)
    found = of_all([mark.exists()])[:, 0]
    if is_first():
        mark.unlink(missing_ok=True)
    _refuse(
        found == 0,
        f"does not see the folder {folder} of process 0; name one on a disk that all "
        f"processes share with run.directory=FOLDER.",
    )


def _refuse(differs, said):
    if differs.any():
        raise RunError(f"process {int(differs.argmax())} {said}")


def wait(moment: str) -> None:
    """Goes on when all processes have come here. Together."""
    if count() > 1:
        multihost_utils.sync_global_devices(moment)


def of_first(values: Any) -> np.ndarray:
    """The numbers that process 0 has. Together.

    Args:
        values: numbers, in an array of the same shape everywhere.
    """
    values = np.asarray(values, np.float64)
    if count() == 1:
        return values
    # As bytes: JAX would make float32 of them.
    raw = multihost_utils.broadcast_one_to_all(values.reshape(-1).view(np.uint8))
    return np.asarray(raw, np.uint8).view(np.float64).reshape(values.shape)


def of_all(values: Any) -> np.ndarray:
    """The whole numbers of every process, ``[P, ...]``. Together."""
    values = np.asarray(values, np.int32)
    if count() == 1:
        return values[None]
    return np.asarray(multihost_utils.process_allgather(values))


_LOST = re.compile(
    "gloo|nccl|coordination|distributed service|connection (reset|closed|refused)|"
    "socket closed|heartbeat",
    re.IGNORECASE,
)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process does not answer any more."""
    kinds = (RuntimeError, ValueError)
    other = isinstance(error, RunError) or not isinstance(error, kinds)
    return not other and count() > 1 and bool(_LOST.search(str(error)))
