"""Strict settings for every test, made before JAX starts.

``LSTM_JAX_TEST_PLATFORM=cuda,cpu pytest`` runs the tests on an accelerator; the CPU
stays in the list for the simulated devices of the sharding tests.
"""

import os

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
