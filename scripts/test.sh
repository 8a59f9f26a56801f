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
# One worker a core: most of the time goes to compiling small programs.
python -m pytest -q -n "$(getconf _NPROCESSORS_ONLN)" "$@"
