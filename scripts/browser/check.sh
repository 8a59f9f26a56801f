#!/usr/bin/env bash
# Trains a small model, writes its report and opens it in headless Chromium; see
# check.mjs. Chromium and axe-core come from npm, so this needs Node.js and npm.
set -euo pipefail
. "$(dirname "$0")/../environment.sh"
use_environment dev

export JAX_PLATFORMS=cpu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m tests.every_task "$folder" language_model classification forecasting >"$folder/log"
reports=()
for task in language_model classification forecasting; do
    lstm-jax report "$folder/$task/run"
    reports+=("$folder/$task/run/report.html")
done
lstm-jax report "$folder"/{language_model,classification}/run --out "$folder/both.html"
cd scripts/browser
npm install --no-package-lock --no-audit --no-fund --silent
node check.mjs "${reports[@]}" "$folder/both.html"
