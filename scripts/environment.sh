# Sourced by the scripts beside it: `use_environment EXTRAS` makes .venv (or takes the
# environment that is active) and installs the project into it, unless that was done.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

use_environment() {
    local extras=$1
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        if [ ! -x .venv/bin/python ]; then
            local python=${PYTHON:-python3}
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
                echo "lstm_jax needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2
                exit 2
            }
            echo "making .venv"
            "$python" -m venv .venv
        fi
        # shellcheck disable=SC1091
        . .venv/bin/activate
    fi
    local installed wanted
    installed=$(python -c 'import sys; print(sys.prefix)')/.lstm_jax_installed
    wanted="$PWD $(cat pyproject.toml constraints.txt | cksum)"
    # A line for every set of extras that is in place.
    if ! grep -qxF "$extras $wanted" "$installed" 2>/dev/null; then
        echo "installing lstm_jax with: $extras"
        python -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".[$extras]"
        echo "$extras $wanted" >>"$installed"
    fi
}
