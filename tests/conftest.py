"""Strict settings for every test, made before JAX starts.

``LSTM_JAX_TEST_PLATFORM=cuda,cpu pytest`` runs the tests on an accelerator; the CPU
stays in the list for the simulated devices of the sharding tests.
"""

import os
import zlib
from collections import Counter

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


def pytest_addoption(parser):
    parser.addoption(
        "--one-case-in",
        type=int,
        default=1,
        metavar="N",
        help="run every test, but of its cases only the first and one in N; the cases "
        "differ from test to test",
    )


def pytest_collection_modifyitems(config, items):
    every, seen = config.getoption("--one-case-in"), Counter()
    kept, others = [], []
    for item in items:
        test = item.nodeid.split("[")[0]
        n = seen[test]
        # Cells stand in one order in many tests: each test begins at another one.
        left_out = n and (n + zlib.crc32(test.encode())) % every
        (others if left_out else kept).append(item)
        seen[test] += 1
    config.hook.pytest_deselected(items=others)
    items[:] = kept


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
