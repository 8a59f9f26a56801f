#!/usr/bin/env bash
# Builds the documentation site into docs/_build, with warnings as errors, and checks
# that no page requests anything from another host. Arguments go to sphinx-build.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
use_environment docs

export JAX_PLATFORMS=cpu
python -m sphinx -b html -W --keep-going -n -q "$@" docs docs/_build
python docs/_ext/offline.py docs/_build
echo "docs/_build/index.html"
