#!/usr/bin/env bash
# Is the library right and fast on this machine's accelerator? Runs the stages of
# benchmarks/accelerator within minutes and installs nothing. For the arguments:
# scripts/accelerator.sh --help
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# A second run reads what the first one compiled.
: "${JAX_COMPILATION_CACHE_DIR:=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/lstm_jax/accelerator}"
export JAX_COMPILATION_CACHE_DIR
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

python=${PYTHON:-$(command -v python || command -v python3)}
exec "$python" -m benchmarks.accelerator "$@"
