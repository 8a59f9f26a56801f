# Sourced by the scripts beside it: `use_environment EXTRAS` makes .venv (or takes the
# environment that is active) and installs the project into it, unless that was done.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

use_environment() {
    local extras=$1
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        need_python python "activate a newer environment, or none"
    else
        make_venv
        # shellcheck disable=SC1091
        . .venv/bin/activate
        need_python python "remove .venv"
    fi
    local installed wanted
    installed=$(python -c 'import sys; print(sys.prefix)')/.lstm_jax_installed
    wanted="$PWD $(sources | sort | xargs cat | cksum)"
    # A line for every set of extras that is in place.
    if ! grep -qxF "$extras $wanted" "$installed" 2>/dev/null; then
        echo "installing lstm_jax with: $extras"
        python -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".[$extras]"
        # What was made from something else is no longer in place.
        { grep -F " $wanted" "$installed" 2>/dev/null || true; echo "$extras $wanted"; } \
            >"$installed.new"
        mv "$installed.new" "$installed"
    fi
}

# What an installation is made from; Python itself it reads where it stands.
sources() {
    echo pyproject.toml
    echo constraints.txt
    [ ! -d lstm_jax/kernels/cpu ] || find lstm_jax/kernels/cpu/CMakeLists.txt \
        lstm_jax/kernels/cpu/src -type f
}

# What one process has compiled, the others read, until the script ends. A cache that
# lived longer could let a test pass by a program of older code.
share_compilations() {
    JAX_COMPILATION_CACHE_DIR=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$JAX_COMPILATION_CACHE_DIR'" EXIT
    export JAX_COMPILATION_CACHE_DIR
    export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
    export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
}

# For programs that run once, XLA optimises nothing. Merging operations is most of the
# time of compiling, so it is off, too. An unknown flag would end Python, so each is tried.
compile_quickly() {
    local flag
    for flag in --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
        --xla_cpu_parallel_codegen_split_count=1; do
        if XLA_FLAGS=$flag python -c 'import jax; jax.devices()' >/dev/null 2>&1; then
            export XLA_FLAGS="$flag ${XLA_FLAGS:-}"
        fi
    done
}

make_venv() {
    if ! .venv/bin/python -c '' 2>/dev/null; then
        local python=${PYTHON:-python3}
        need_python "$python" "set PYTHON=/path/to/python3"
        echo "making .venv"
        "$python" -m venv --clear .venv
    elif [ ! -f .venv/bin/activate ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        # Pip and activate come last: an interrupted making left them out.
        echo "completing .venv"
        .venv/bin/python -m venv .venv
    fi
}

need_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "lstm_jax needs Python 3.11 or newer, $1 is $("$1" --version 2>&1); $2" >&2
        exit 2
    }
}
