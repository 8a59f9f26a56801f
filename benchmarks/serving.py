"""How soon does a served model answer, and does every session get its own answers?

    pip install fastapi "uvicorn[standard]" websockets
    python -m benchmarks.serving
    python -m benchmarks.serving --seconds 10 --every 0.25

``examples/serving/serve.py --demo`` runs in a process of its own: two layers of 256
units, 64 inputs. 200 sessions send a step at a fixed pace, from another process of the
same machine. The time of a step begins when the step is due and ends when its outputs
are read. So a client that falls behind counts as slow. Meanwhile a third process sends
garbage, and has clients that are slow, never read, or vanish during a request.

All outputs are compared with one offline call of the stack over whole sequences.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jax
import numpy as np
import uvloop

from benchmarks import RESULTS, serving_clients
from lstm_jax import LSTMCell, Stack
from lstm_jax.bench import report

SERVE = Path(__file__).parents[1] / "examples" / "serving" / "serve.py"
D, H, LAYERS = 64, 256, 2
STACK = Stack([LSTMCell(H)] * LAYERS)
MOST_ERROR = 1e-6
BAR_MS = 50.0
"""Of the 99th percentile of the time of a step."""
CLIENTS = {
    "websocket": serving_clients.over_websocket,
    "http": serving_clients.over_http,
}
PACES = {"websocket": (0.5, 0.25, 0.125, 0.1), "http": (1.0, 0.5, 0.25)}
"""Seconds between the steps of a session, in the loads that are measured."""
PACES = {"websocket": (0.5, 0.25, 0.125, 0.1), "http": (1.0, 0.5, 0.25)}
"""Seconds between the steps of a session, in the loads that are measured."""
PACES = {"websocket": (0.5, 0.25, 0.125, 0.1), "http": (1.0, 0.5, 0.25)}
"""Seconds between the steps of a session, in the loads that are measured."""
PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "websockets")


@contextlib.contextmanager
def served(port):
    """A server in a process of its own, from when it answers."""
    command = [sys.executable, str(SERVE), "--demo", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            while not answers(port):
                if server.poll() is not None:
                    raise SystemExit(f"{SERVE} ended with status {server.returncode}.")
                time.sleep(0.2)
            yield server.pid
        finally:
            server.terminate()


def answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
    except OSError:
        return False
    return True


def cpu_seconds(pid):
    """Processor time of a process so far; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(client, port, xs, every):
    """All sessions at once, evenly spread over ``every`` seconds."""
    ready = asyncio.Barrier(len(xs))

    def start(n):
        async def begin():
            await ready.wait()
            return time.perf_counter() + 0.5 + every * n / len(xs)

        return begin

    runs = [client(port, x, start(n), every) for n, x in enumerate(xs)]
    return await asyncio.gather(*runs, return_exceptions=True)


def offline(xs):
    """``[S, T, H]`` from one call."""
    params = STACK.init(jax.random.key(0), D)
    call = jax.jit(lambda xs: STACK(params, None, xs, implementation="scan")[1])
    return np.asarray(call(xs.swapaxes(0, 1))).swapaxes(0, 1)


def measure(name, pid, port, sessions, seconds, every, disturbed):
    """One load: times, errors, and what else happened."""
    steps = max(2, round(seconds / every))
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((sessions, steps, D), np.float32)
    busy, before = os.getloadavg()[0], cpu_seconds(pid)
    with contextlib.ExitStack() as stack:
        others = stack.enter_context(disturbers(port, seconds)) if disturbed else None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(load(CLIENTS[name], port, xs, every))
        took = cpu_seconds(pid) - before
        others = json.loads(others.communicate()[0]) if disturbed else {}
    failed = [repr(f) for f in found if isinstance(f, BaseException)]
    answered = [n for n, f in enumerate(found) if not isinstance(f, BaseException)]
    ys = np.array([found[n][0] for n in answered])
    ms = 1e3 * np.concatenate([found[n][1] for n in answered])
    expected = offline(xs)
    errors = np.abs(ys - expected[answered]) / np.abs(expected).max()
    return {
        "transport": name,
        "sessions": sessions,
        "seconds_between_steps": every,
        "steps_per_second": sessions / every,
        "seconds": steps * every,
        "answers": len(ms),
        "lost": sessions * steps - len(ms),
        "wrong": int((~(errors.max(-1) <= MOST_ERROR)).sum()),
        "largest_relative_error": float(errors.max()),
        "failed_sessions": failed[:5],
        "ms": {f"p{q}": float(np.percentile(ms, q)) for q in (50, 95, 99, 100)},
        "server_cpu_ms_per_answer": 1e3 * took / len(ms),
        "load_average_before": busy,
        "disturbances": others,
    }


def disturbers(port, seconds):
    command = [sys.executable, "-m", "benchmarks.serving_clients"]
    command += map(str, (port, D, round(seconds)))
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def passes(name, loads):
    """The highest load that meets the bar, as all lower loads do; steps per second."""
    highest = 0.0
    own = [found for found in loads if found["transport"] == name]
    for found in sorted(own, key=lambda found: found["steps_per_second"]):
        if found["lost"] or found["wrong"] or not found["ms"]["p99"] <= BAR_MS:
            break
        highest = found["steps_per_second"]
    return highest


def row(found):
    """A line of the table, and what went wrong."""
    ms = [f"{found['ms'][q]:.1f}" for q in ("p50", "p95", "p99", "p100")]
    bad = [found["lost"], found["wrong"], len(found["failed_sessions"])]
    name = f"  {found['transport']}, a step every {found['seconds_between_steps']} s"
    cpu = f"{found['server_cpu_ms_per_answer']:.2f}"
    return name, f"{found['steps_per_second']:.0f}", *ms, cpu, *bad


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--every", type=float, nargs="+", help="seconds between steps")
    parser.add_argument("--transport", nargs="+", choices=CLIENTS, default=[*CLIENTS])
    parser.add_argument("--alone", action="store_true", help="no other clients")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    loads = []
    with served(port := free_port()) as pid:
        for name in args.transport:
            for every in args.every or PACES[name]:
                given = args.sessions, args.seconds, every, not args.alone
                loads.append(found := measure(name, pid, port, *given))
                print(*row(found), found["failed_sessions"], found["disturbances"])
    highest = {name: passes(name, loads) for name in args.transport}
    heads = "steps/s", "p50 ms", "p95", "p99", "most", "cpu", "lost", "wrong", "failed"
    print(report.table([(f"{args.sessions} sessions", *heads), *map(row, loads)]))
    results = {
        "model": f"{LAYERS} x {H} LSTM, {D} inputs",
        "highest_steps_per_second": highest,
        "loads": loads,
        "packages": {p: importlib.metadata.version(p) for p in PACKAGES},
    }
    print("written:", report.save("serving", results, args.out))


if __name__ == "__main__":
    main()
