#!/usr/bin/env bash
# From nothing to a trained character language model: installs, trains, writes a sample.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
use_environment plots

run=runs/quickstart
if [ -f $run/config.toml ]; then
    lstm-jax train configs/quickstart.toml --resume
else
    lstm-jax train configs/quickstart.toml
fi
echo
echo "a sample:"
lstm-jax generate $run --prompt "The "
echo
echo "again, otherwise: lstm-jax generate $run --prompt 'A class' --temperature 0.5"
echo "on your own text: lstm-jax train configs/quickstart.toml data.path=FILE run.directory=runs/mine"
