#!/usr/bin/env bash
# The tests of functions and modules and the benchmarks, on this machine's accelerator.
# Installs nothing: what it needs is jax, flax, optax, chex, orbax, torch and pytest.
# Arguments go to benchmarks.unroll, but --tests, which leaves the benchmarks out.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD

tests_only=false
if [ "${1:-}" = --tests ]; then
    tests_only=true
    shift
fi
platform=$(python -c 'import jax; print(jax.default_backend())')
has() { python -c "import $1" 2>/dev/null; }
run_tests() { python -m pytest -q -p no:cacheprovider "$@"; }

# The CPU stays in the list for simulated devices; the accelerator comes first.
LSTM_JAX_TEST_PLATFORM=$platform,cpu \
    run_tests tests/core tests/models tests/nn tests/test_torch_parity.py

kernel=$(JAX_PLATFORMS=cpu python -c \
    'from lstm_jax import ops; print(ops.availability()["native"])')
case $kernel in
available*)
    without=()
    has hypothesis || without+=(--ignore tests/kernels/test_any_shape.py)
    has flatbuffers || without+=(-k "not export")
    [ ${#without[@]} = 0 ] || echo "left out of tests/kernels: ${without[*]}"
    LSTM_JAX_TEST_PLATFORM=cpu run_tests tests/kernels ${without[@]+"${without[@]}"}
    ;;
*) echo "tests/kernels left out: native is $kernel" ;;
esac

$tests_only && exit
python -m benchmarks.unroll "$@"
for name in properties family layers language_model kernel; do
    python -m "benchmarks.$name"
done
