"""Measurements that need a fresh process: the first result, and fewer cores."""

import functools
import json
import os
import subprocess
import sys
import time

import numpy as np

from lstm_jax.bench import machine, one_layer, race, timing
from lstm_jax.bench.workers import BenchError, crew

B, T, D, H = 32, 128, 128, 128

IN_JAX = """
import jax, jax.numpy as jnp
{}
loss = lambda p, xs: jnp.sum(jnp.square(run(p, xs)))
jax.block_until_ready(jax.jit(jax.value_and_grad(loss))(params, xs))
"""
OURS = """
from lstm_jax import init_lstm, lstm
params = init_lstm(jax.random.key(0), {D}, {H})
xs = jnp.ones(({T}, {B}, {D}))
run = lambda p, xs: lstm(p, None, xs)[1]
"""
NNX = """
from flax import nnx
cell = nnx.OptimizedLSTMCell({D}, {H}, rngs=nnx.Rngs(0))
graph, params, rest = nnx.split(nnx.RNN(cell, time_major=True), nnx.Param, ...)
xs = jnp.ones(({T}, {B}, {D}))
run = lambda p, xs: nnx.merge(graph, p, rest, copy=True)(xs)
"""
TORCH = """
import torch
lstm = torch.nn.LSTM({D}, {H})
lstm(torch.ones({T}, {B}, {D}))[0].square().sum().backward()
"""
# On Linux, the peak of getrusage starts from the peak of the parent process.
PEAK = """
import json, os, re, resource
if os.path.exists("/proc/self/status"):
    status = open("/proc/self/status").read().expandtabs()
    peak = re.search("VmHWM: *([0-9]+)", status)[1]
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(int(peak)))
"""
SCRIPTS = {
    "lstm_jax": IN_JAX.format(OURS),
    "nnx Optimized": IN_JAX.format(NNX),
    "torch": TORCH,
}


def start(args):
    """Seconds from starting Python to forward + gradient, and the peak of memory."""
    rounds = 1 if args.quick else 3
    sizes = dict(B=B, T=T, D=D, H=H)
    seconds, peaks, missing = {}, {}, {}
    for _ in range(rounds):
        for name, script in SCRIPTS.items():
            if name in missing:
                continue
            try:
                took, peak = first_result(name, script.format(**sizes) + PEAK)
            except ImportError as error:
                missing[name] = str(error)
                continue
            seconds.setdefault(name, []).append(took)
            peaks.setdefault(name, []).append(peak)
    found = {
        name: dict(seconds=float(np.median(t)), peak_mib=float(np.median(peaks[name])))
        for name, t in seconds.items()
    }
    rows = [(f"start: to forward + gradient, B={B} T={T} D={D} H={H}", "s", "peak MiB")]
    for name, one in found.items():
        rows.append((f"  {name}", f"{one['seconds']:.2f}", f"{one['peak_mib']:.0f}"))
    return dict(sizes, rounds=rounds, found=found, missing=missing), rows


def first_result(name, script):
    """Seconds and MiB of a script in a fresh Python, compile caches left aside."""
    env = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-c", script]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    took = time.perf_counter() - begin
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        error = ImportError if "ModuleNotFoundError" in last else BenchError
        raise error(f"the first result of {name} failed: {last}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return took, json.loads(done.stdout) / unit


def threads(args):
    """One core against all of them, by the affinity of a process."""
    shapes = [(32, 128, 128, 128)] if args.quick else [(32, 128, 128, 128), SHAPE]
    counts = (1, machine.cores())
    builds = {
        f"{name}, cores={n}": functools.partial(on_cores, n, name)
        for name in ("lstm_jax", "torch")
        for n in counts
    }
    pace = race.Pace(args.repeats, budget=min(args.budget, 6.0))
    rows, found = [("threads", "one, ms", "all, ms", "one / all")], []
    with crew(builds) as workers:
        for shape in shapes:
            contenders, _ = race.contend(workers, shape)
            for mode in one_layer.MODES:
                times = race.times(mode, contenders, pace)
                found.append(dict(shape=shape, mode=mode, cores=counts, by={}))
                for name in ("lstm_jax", "torch"):
                    pair = [times.get(f"{name}, cores={n}") for n in counts]
                    if any(t is None for t in pair):
                        continue
                    ms = [1e3 * float(np.median(t)) for t in pair]
                    ratio = timing.paired_ratio(*pair)
                    found[-1]["by"][name] = dict(milliseconds=ms, ratio=ratio)
                    head = f"  {name}, {mode}, {', '.join(map(str, shape))}"
                    rows.append((head, *(f"{m:.2f}" for m in ms), ratio))
    return dict(rows=found), rows


SHAPE = (16, 256, 256, 256)


def on_cores(count, name, shape):
    """`one_layer.build` where the process may use so many cores."""
    if not hasattr(os, "sched_setaffinity"):
        raise NotImplementedError("this system does not bind a process to cores")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    return one_layer.build(name, shape)
