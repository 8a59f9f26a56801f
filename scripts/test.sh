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

# Most of the time goes to compiling small programs: one worker a core, and no program
# twice. The cache is as old as this run, so that a test cannot pass by an older one.
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export JAX_COMPILATION_CACHE_DIR=$cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
python -m pytest -q -n "$(getconf _NPROCESSORS_ONLN)" --durations=20 "$@"
