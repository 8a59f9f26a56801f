#!/usr/bin/env bash
# Installs the development tools and runs style, types and tests.
# Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
use_environment dev

export JAX_PLATFORMS=cpu
ruff format --check .
ruff check .
pyright

# Most of the time goes to compiling small programs: one worker a core, no program twice,
# and none optimised by XLA. The numerical tests are compiled as users do under the newest
# Python, in .ci/run.
compile_quickly
share_compilations
# The tests of a file share what they trained and compiled, so they share a worker. The
# order of the files is that of tests/conftest.py: the slowest first.
python -m pytest -q -n "$(getconf _NPROCESSORS_ONLN)" --dist loadfile \
    --no-loadscope-reorder --durations=20 "$@"
