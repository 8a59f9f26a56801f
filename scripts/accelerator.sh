#!/usr/bin/env bash
# The tests of functions and modules and the benchmark, on this machine's accelerator.
# Installs nothing: what it needs is jax, flax, optax, chex, orbax, torch and pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
platform=$(python -c 'import jax; print(jax.default_backend())')
LSTM_JAX_TEST_PLATFORM=$platform,cpu \
    python -m pytest -q -p no:cacheprovider tests/core tests/nn tests/test_torch_parity.py
python -m benchmarks.unroll "$@"
python -m benchmarks.properties
python -m benchmarks.family
