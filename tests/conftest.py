"""Strict settings for every test, made before JAX starts.

``LSTM_JAX_TEST_PLATFORM=cuda,cpu pytest`` runs the tests on an accelerator; the CPU
stays in the list for the simulated devices of the sharding tests.
"""

import gc
import os
import zlib
from collections import defaultdict

if "LSTM_JAX_TEST_PLATFORM" in os.environ:
    os.environ["JAX_PLATFORMS"] = os.environ["LSTM_JAX_TEST_PLATFORM"]
else:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


MATHEMATICS = ("tests/core/", "tests/kernels/")

SLOWEST = (
    "training/test_processes.py",
    "test_sweep.py",
    "training/test_parallel.py",
    "bench/test_accelerator.py",
    "tasks/test_translation.py",
    "bench/test_benchmarks.py",
    "tasks/test_transcription.py",
    "core/test_compilation.py",
    "inference/test_ctc_decoding.py",
    "core/test_sharding.py",
)
"""These files take longest. One that starts last leaves all other workers idle."""


EVERY_CASE = (
    "tests/data/",
    "tests/scores/",
    "tests/test_annotations.py",
    "tests/test_commands.py",
    "tests/test_config.py",
    "tests/test_docs.py",
    "tests/test_explain.py",
    "tests/test_files.py",
    "tests/test_hostile.py",
    "tests/test_house.py",
    "tests/test_signatures.py",
    # How often two processes meet is the number of its cases.
    "tests/training/test_processes.py::test_two_processes_many_times",
)
"""Of these, no case is left out: most compile nothing."""


def pytest_addoption(parser):
    parser.addoption(
        "--one-case-in",
        type=int,
        default=1,
        metavar="N",
        help="run every test, but of its cases only one in N, and at least one; the "
        "cases differ from test to test, and tests that compile nothing keep all",
    )
    parser.addoption(
        "--but-one-case-in",
        type=int,
        default=0,
        metavar="N",
        help="leave out the cases of the mathematics that --one-case-in N runs, which "
        "run under another Python",
    )


def pytest_collection_modifyitems(config, items):
    every = config.getoption("--one-case-in")
    elsewhere = config.getoption("--but-one-case-in")
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.split("[")[0]].append(item)
    chosen = set()
    for test, mine in cases.items():
        # Cells stand in one order in many tests: each test begins at another one.
        begin = zlib.crc32(test.encode())
        some = mine
        if not test.startswith(EVERY_CASE):
            some = [mine[n] for n in _one_in(every, begin, len(mine))]
        if elsewhere and test.startswith(MATHEMATICS):
            there = {mine[n] for n in _one_in(elsewhere, begin, len(mine))}
            here = [item for item in mine if item not in there] or mine
            some = [item for item in some if item in here] or here[:1]
        chosen.update(some)
    others = [item for item in items if item not in chosen]
    config.hook.pytest_deselected(items=others)
    # The sort keeps the order of all other files.
    others_last = lambda item: not str(item.path).endswith(SLOWEST)
    items[:] = sorted(filter(chosen.__contains__, items), key=others_last)


def pytest_collection_finish():
    """Imported modules live until the end, so the garbage collector need not visit
    them. That saves 5% of the time."""
    gc.collect()
    gc.freeze()


def _one_in(every, begin, count):
    chosen = [n for n in range(count) if (begin + n) % every == 0]
    return chosen or [begin % count]


MOST_MAPPINGS = 20_000
"""Linux gives a process 65,530 mappings of memory. Every compiled program takes some,
and the compiler crashes where there are no more."""


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """Forgets what was compiled, between modules, once it takes many mappings."""
    yield
    if _mappings() > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


def _mappings():
    try:
        with open("/proc/self/maps") as lines:
            return sum(1 for _ in lines)
    except OSError:  # another system, with other limits
        return 0


@pytest.fixture
def x64():
    """float64 for one test; ``pytestmark = pytest.mark.usefixtures("x64")``."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def optax_promotion():
    """Optax mixes step counts with floats, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def translator(tmp_path_factory):
    """Two small translators; see `tests.tasks.translated.Trained`."""
    from tests.tasks import translated

    with jax.numpy_dtype_promotion("standard"):
        return translated.train(tmp_path_factory.mktemp("translator"))


@pytest.fixture(scope="session")
def recogniser(tmp_path_factory):
    """A small recogniser of speech; see `tests.tasks.spoken.Trained`."""
    from tests.tasks import spoken

    with jax.numpy_dtype_promotion("standard"):
        return spoken.train(tmp_path_factory.mktemp("recogniser"))
