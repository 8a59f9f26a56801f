"""Where does the time of the kernel go: packing, products, gates, waiting, the rest?

    python -m benchmarks.phases [--quick] [--shapes 20,35,200,200 ...]

Builds a kernel that times its phases (x86-64; needs cmake and a C++ compiler), in a
temporary folder. Fractions are of the total time of all threads, from the call of a
compiled function to its end. The speed of the products, compared with the limit (the
speed of one large product), shows how much faster they could be. The timing itself
takes some percent for small tiles, and counts as the rest.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import RESULTS

SHAPES = [
    (8, 16, 128, 128),
    (20, 35, 200, 200),
    (16, 256, 256, 256),
    (128, 50, 512, 1024),
]
"""B, T, D, H: where others are nearest, and two of the large ones."""
PHASES = ("whole", "pack", "inputs", "recurrent", "gates", "products")
"""As in lstm_jax/kernels/cpu/src/phases.h; the first holds all the others."""
AROUND, IDLE = "around the kernel", "waiting, rest"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phases")
    add = parser.add_argument
    add("--shapes", nargs="+", type=_shape, default=SHAPES, metavar="B,T,D,H")
    add("--quick", action="store_true", help="an instant for every row")
    add("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        # Read when lstm_jax is imported, which must not be before.
        os.environ["LSTM_JAX_NATIVE"] = str(build_with_clocks(Path(folder)))
        measure_all(args)


def _shape(text):
    sizes = tuple(map(int, text.split(",")))
    if len(sizes) != 4:
        raise argparse.ArgumentTypeError(f"{text}: expected four sizes, B,T,D,H")
    return sizes


def build_with_clocks(folder: Path) -> Path:
    """The library in this folder."""
    source = Path(__file__).parents[1] / "lstm_jax/kernels/cpu"
    include = f"-DXLA_FFI_INCLUDE_DIR={jax.ffi.include_dir()}"
    options = [include, "-DCMAKE_CXX_FLAGS=-DLSTM_PHASES"]
    for command in (
        ["cmake", "-S", str(source), "-B", str(folder), *options],
        ["cmake", "--build", str(folder)],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise SystemExit("benchmarks.phases: cmake is not installed.") from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"benchmarks.phases: {error.stderr}") from None
    return folder / "lstm_jax_native.so"


def measure_all(args):
    from lstm_jax.bench import report, timing
    from lstm_jax.bench.machine import cores
    from lstm_jax.bench.one_layer import GEMM, MODES
    from lstm_jax.kernels.cpu import library

    clocks = library.load()
    if not hasattr(clocks, "lstm_jax_phases"):
        sys.exit(f"benchmarks.phases: no kernel with clocks here: {clocks}")
    a = jax.random.normal(jax.random.key(0), (GEMM, GEMM))
    product, _ = timing.compile_ahead(jax.numpy.matmul, a, a)
    seconds = 0.1 if args.quick else 3.0
    limit = 2 * GEMM**3 / np.median(_times(lambda: product(a, a), seconds)) / 1e9
    head = ("B,T,D,H", "mode", "ms", *PHASES[1:], IDLE, AROUND, "product GFLOP/s")
    rows: list[tuple[str, ...]] = [head]
    found = []
    for shape in args.shapes:
        for mode in MODES:
            one: dict[str, Any] = phases(clocks, shape, mode, seconds, cores())
            found.append(dict(shape=shape, mode=mode, **one))
            shares = (f"{one['shares'][name]:.1%}" for name in (*head[3:-1],))
            sizes, ms = ",".join(map(str, shape)), f"{one['milliseconds']:.3f}"
            rows.append((sizes, mode, ms, *shares, f"{one['product_gflops']:.0f}"))
    print(report.table(rows))
    print(f"limit, a product of {GEMM}: {limit:.0f} GFLOP/s")
    results = dict(threads=cores(), limit_gflops=limit, rows=found)
    print("written:", report.save("phases", results, args.out))


def phases(clocks, shape, mode, seconds, threads):
    """Milliseconds of a call, and the shares of its phases."""
    from benchmarks.properties import gradient, outputs
    from lstm_jax.bench import one_layer, timing

    inputs = one_layer.example(shape)
    timed = outputs if mode == "forward" else gradient(outputs)
    f, _ = timing.compile_ahead(timed, *inputs)
    call = lambda: f(*inputs)
    _times(call, seconds / 3)
    before, start, now = _read(clocks), _now(clocks), time.perf_counter()
    times = _times(call, seconds)
    hertz = (_now(clocks) - start) / (time.perf_counter() - now)
    cycles = (_read(clocks) - before) / hertz / len(times)
    inside = dict(zip(PHASES, map(float, cycles), strict=True))
    had, whole = times.mean() * threads, inside.pop("whole") * threads
    inside |= {IDLE: whole - sum(inside.values()), AROUND: had - whole}
    shares = {name: spent / had for name, spent in inside.items()}
    multiplying = sum(inside[name] for name in ("inputs", "recurrent", "products"))
    speed = one_layer.operations(shape, mode) * threads / multiplying / 1e9
    milliseconds = 1e3 * float(np.median(times))
    return dict(milliseconds=milliseconds, shares=shares, product_gflops=speed)


def _times(call, seconds):
    """Seconds of every call, for so long."""
    took, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - start)
    return np.array(took)


def _read(clocks):
    sums = (ctypes.c_uint64 * len(PHASES))()
    clocks.lstm_jax_phases(sums)
    return np.array(sums, float)


def _now(clocks):
    clocks.lstm_jax_now.restype = ctypes.c_uint64
    return clocks.lstm_jax_now()


if __name__ == "__main__":
    main()
