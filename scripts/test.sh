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
# twice.
share_compilations
python -m pytest -q -n "$(getconf _NPROCESSORS_ONLN)" --durations=20 "$@"
