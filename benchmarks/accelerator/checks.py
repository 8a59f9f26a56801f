"""Do the tests of the mathematics pass on this device?

Runs a sample of their cases; `tests.conftest` explains ``--one-case-in``. When the time
of a part is over, pytest is interrupted and says how far it came.
"""

import functools
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading

from lstm_jax import ops
from lstm_jax.bench.machine import cores

CORE = (
    *("worked_example", "values", "gradients", "derivatives", "dtypes", "padding"),
    *("vmap", "cell_oracles", "stream", "newton"),
)
PARTS = {
    "core": [f"tests/core/test_{name}.py" for name in CORE],
    "modules": ["tests/nn/test_lstm.py", "tests/nn/test_modules.py"],
    "parity with torch": ["tests/test_torch_parity.py"],
}
ONE_CASE_IN = 6
PART_SECONDS = 60
"""Then pytest is interrupted."""
NO_KERNELS = ("scan", "plain", "newton")
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|deselected|errors?)\b")


def cases(setting):
    if setting.dry_run:
        files = ["tests/core/test_worked_example.py"]
        return {"core": functools.partial(check, files, setting.platform, 100)}
    kernels = {
        f'kernel "{name}"': functools.partial(kernel, name, setting.platform)
        for name in ops.availability()
        if name not in NO_KERNELS
    }
    return kernels | {
        name: functools.partial(check, files, setting.platform, ONE_CASE_IN)
        for name, files in PARTS.items()
    }


def kernel(name, platform):
    """The tests of a kernel: files or a folder of its name in tests/kernels."""
    from benchmarks.accelerator.supervise import ROOT

    if not (said := ops.availability()[name]).startswith("available"):
        raise NotImplementedError(said.removeprefix("not available: "))
    folder = ROOT / "tests" / "kernels"
    files = [*folder.glob(f"test_{name}*.py"), *folder.glob(f"{name}/test_*.py")]
    if not files:
        raise FileNotFoundError(f"tests/kernels has no tests named after {name}")
    on = "cpu" if name == "native" else platform
    yield from check(sorted(map(str, files)), on, ONE_CASE_IN)


def check(files, platform, one_in):
    """Runs the tests in these files on a platform; how many passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Warnings of another version of JAX say nothing about the numbers.
    command += [f"--one-case-in={one_in}", "--tb=line", "-W", "default", *files]
    processes = min(8, cores() // 2)
    if processes > 1 and importlib.util.find_spec("xdist"):
        command += [f"-n{processes}"]
    # The CPU stays in the list for simulated devices; the accelerator comes first.
    platforms = platform if platform == "cpu" else f"{platform},cpu"
    process = subprocess.Popen(
        command,
        env=os.environ | {"LSTM_JAX_TEST_PLATFORM": platforms},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    interrupt = threading.Timer(PART_SECONDS, process.send_signal, [signal.SIGINT])
    interrupt.start()
    said, _ = process.communicate()
    interrupt.cancel()
    print(said, flush=True)
    yield summary(said, process.returncode)


def summary(said, status):
    """A row of what pytest has printed and returned."""
    last = said.splitlines()[-20:]
    row = {what: int(n) for n, what in COUNTS.findall("\n".join(last[-2:]))}
    if status == pytest_interrupted():
        reason = f"interrupted after {PART_SECONDS} s"
        failed = "failed" if row.get("failed") else "no time left"
        return {"status": failed, "reason": reason} | row
    if status:
        return {"status": "failed", "reason": "\n".join(last)} | row
    return row


def pytest_interrupted():
    import pytest

    return pytest.ExitCode.INTERRUPTED
