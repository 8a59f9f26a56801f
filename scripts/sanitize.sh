#!/usr/bin/env bash
# Builds the native kernel with the address and the undefined-behaviour sanitizer and runs
# its tests with it, in the environment that scripts/test.sh has made.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
use_environment dev

include=$(python -c 'import jax.ffi; print(jax.ffi.include_dir())')
for check in address undefined; do
    folder=build/$check
    cmake -S lstm_jax/kernels/cpu -B "$folder" -DXLA_FFI_INCLUDE_DIR="$include" \
        -DCMAKE_CXX_FLAGS="-g -fsanitize=$check -fno-sanitize-recover=all" >/dev/null
    cmake --build "$folder" --parallel >/dev/null
done

export JAX_PLATFORMS=cpu
echo "address sanitizer"
# Python itself frees little at its end, and does not load the C++ library first.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0 \
    LSTM_JAX_NATIVE=$PWD/build/address/lstm_jax_native.so \
    python -m pytest -q tests/kernels "$@"
echo "undefined-behaviour sanitizer"
LD_PRELOAD=$(g++ -print-file-name=libubsan.so) \
    LSTM_JAX_NATIVE=$PWD/build/undefined/lstm_jax_native.so \
    python -m pytest -q tests/kernels "$@"
