"""How fast is the kernel beyond one layer, and how close to the limits of the machine?

    python -m benchmarks.kernel [--quick] [--only streaming,threads,...]

streaming  one step of one row at a time, against an empty call and a bare product
threads    one core against all
bfloat16   against float32, by the scan and by torch
accuracy   against float64 after 1024 steps, with the default initialisation
scaling    with steps, rows, units and layers, beside the scan and torch; a plot
start      from starting Python to the first gradient, and peak memory, beside others
limits     large and small products, and the bandwidth of the memory
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import properties
from benchmarks.fresh import start, threads
from benchmarks.scaling import plot, scaling
from benchmarks.streaming import mix, streaming
from lstm_jax.bench import others, race, report, timing
from lstm_jax.bench.machine import cores
from lstm_jax.bench.workers import Absent, BenchError, crew


def main(argv: list[str] | None = None) -> None:
    args = properties.arguments("kernel", QUESTIONS, argv, budget=15.0)
    jax.config.update("jax_enable_compilation_cache", False)
    results = {}
    try:
        for name in args.only:
            results[name], rows = QUESTIONS[name](args)
            print(report.table(rows), end="\n\n", flush=True)
    except BenchError as error:
        raise SystemExit(f"benchmarks.kernel: {error}") from None
    path = report.save("kernel", results, args.out)
    print("written:", path)
    if "scaling" in results:
        plot(results["scaling"]["points"], path.with_name(f"scaling-{path.stem}.png"))


# ------------------------------------------------------------------------ bfloat16


def bfloat16(args):
    """Parameters in float32, inputs and compute in bfloat16; torch has all in it."""
    sizes = dict(B=32, T=64, D=512, H=512)
    if args.quick:
        sizes = dict(B=4, T=8, D=16, H=16)
    builds = {name: functools.partial(build_16, name) for name in SIXTEEN}
    pace = race.Pace(args.repeats, min(args.budget, 5.0))
    rows, found = [], {}
    with crew(builds) as workers:
        # Eight bits: what differs by more than this is something else.
        contenders, missing = race.contend(workers, sizes, tolerance=0.1)
        for mode in ("forward", "gradient"):
            found[mode] = race.measure(mode, contenders, pace)
            head = ", ".join(f"{k}={v}" for k, v in sizes.items())
            rows.append((f"bfloat16: {mode}, {head}", "ms", "ours / this"))
            for name, one in found[mode].items():
                rows.append((f"  {name}", f"{one['milliseconds']:.2f}", one["ratio"]))
    rows += [(f"  missing: {name}: {why}", "", "") for name, why in missing.items()]
    return dict(sizes, modes=found, missing=missing), rows


SIXTEEN = {
    "ours, bfloat16": dict(dtype=jnp.bfloat16),
    "ours, float32": dict(dtype=jnp.float32),
    "scan, bfloat16": dict(dtype=jnp.bfloat16, implementation="scan"),
    "torch, bfloat16": None,
}


def build_16(name, sizes):
    """In the process of a contender: its calls, outputs, gradient of the inputs."""
    params, xs = properties.example((sizes["T"], sizes["B"], sizes["D"]), sizes["H"])
    xs = xs.astype(jnp.bfloat16)
    if SIXTEEN[name] is None:
        peer = others.Torch(params, xs.astype(jnp.float32))
        half = peer.torch.bfloat16
        peer.module = peer.module.to(half)
        peer.xs = peer.xs.detach().to(half).requires_grad_()
        calls = dict(forward=peer.forward, gradient=peer.gradient)
        values = dict(hs=calls["forward"](), d_xs=calls["gradient"]()[-1])
        values = {n: v.float().cpu().numpy() for n, v in values.items()}
        return calls, (values, dict.fromkeys(calls), peer.device)
    run = functools.partial(properties.outputs, **SIXTEEN[name])
    xs = xs.astype(SIXTEEN[name]["dtype"])
    calls, seconds = {}, {}
    for mode, f in dict(forward=run, gradient=properties.gradient(run)).items():
        f, seconds[mode] = timing.compile_ahead(f, params, xs)
        calls[mode] = lambda f=f: jax.block_until_ready(f(params, xs))
    values = dict(hs=calls["forward"](), d_xs=calls["gradient"]()[1])
    values = {n: np.asarray(v, np.float32) for n, v in values.items()}
    return calls, (values, seconds, jax.default_backend())


# ------------------------------------------------------------------------ accuracy


def accuracy(args):
    """Largest error over the largest value, of outputs and of every gradient."""
    B, T, D, H = 8, 64 if args.quick else 1024, 64, 128
    inputs = properties.example((T, B, D), H)
    with jax.enable_x64(True):
        exact = [np.asarray(a, np.float64) for a in jax.tree.leaves(inputs)]
        exact = jax.tree.unflatten(jax.tree.structure(inputs), exact)
        by = functools.partial(properties.outputs, implementation="plain")
        expected = named(by, exact)
    errors = {}
    for name in ("lstm_jax", "scan", "plain"):
        chosen = None if name == "lstm_jax" else name
        by = functools.partial(properties.outputs, implementation=chosen)
        found = named(by, inputs)
        errors[name] = {k: _error(found[k], expected[k]) for k in expected}
    rows = [(f"accuracy: B={B} T={T} D={D} H={H}", *expected)]
    rows += [(f"  {n}", *(f"{e:.1e}" for e in errors[n].values())) for n in errors]
    return dict(B=B, T=T, D=D, H=H, errors=errors), rows


def named(by, inputs):
    """Outputs and the gradient of their mean square, in the dtype of the inputs."""
    loss = lambda params, xs: jnp.mean(jnp.square(by(params, xs)))
    grads, d_xs = jax.jit(jax.grad(loss, argnums=(0, 1)))(*inputs)
    found = {"hs": jax.jit(by)(*inputs), "d_xs": d_xs}
    found |= {f"d_{name}": d for name, d in grads._asdict().items()}
    return {name: np.asarray(a) for name, a in found.items()}


def _error(got, want):
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


# -------------------------------------------------------------------------- limits


def limits(args):
    """GFLOP/s of a product of 2048, of one step's, and GB/s through memory."""
    n = 256 if args.quick else 2048
    floats = 2**20 if args.quick else 2**26
    random = lambda *shape: jax.random.normal(jax.random.key(0), shape)
    work = {f"XLA, {n} x {n}": (jnp.matmul, (random(n, n), random(n, n)), 2 * n**3)}
    for rows, H in ((16, 256), (32, 128), (64, 512)):
        name = f"XLA, one step's [{rows}, {H}] x [{H}, {4 * H}]"
        operands = (random(rows, H), 0.5 * random(H, 4 * H) / H**0.5)
        work[name] = (chain, operands, STEPS * 2 * rows * H * 4 * H)
    # Read once and written once.
    add = (lambda a: a + 1, (random(floats),), 2 * 4 * floats)
    work["memory, x + 1 (GB/s)"] = add
    calls, amount = {}, {}
    for name, (f, operands, amount[name]) in work.items():
        f, _ = timing.compile_ahead(f, *operands)
        calls[name] = lambda f=f, o=operands: jax.block_until_ready(f(*o))
    clocks = {name: timing.stopwatch(call) for name, call in calls.items()}
    pace = race.Pace(min(args.repeats, 15), min(args.budget, 10.0))
    with crew({TORCH: torch_product}) as workers:
        missing = {}
        try:
            workers[TORCH].build(n)
            name = f"torch, {n} x {n}"
            clocks[name], amount[name] = workers[TORCH].clock("product"), 2 * n**3
        except Absent as reason:
            missing[TORCH] = str(reason)
        times = timing.take_turns(clocks, **pace._asdict())
    speeds = {k: amount[k] / float(np.median(t)) / 1e9 for k, t in times.items()}
    table = [("limits", "GFLOP/s")]
    table += [(f"  {name}", f"{speed:.0f}") for name, speed in speeds.items()]
    return dict(speeds=speeds, missing=missing), table


STEPS = 64


def chain(h, w):
    """Products that wait for each other, as those of a recurrence do."""
    step = lambda h, _: (mix(h @ w), None)
    return jax.lax.scan(step, h, None, length=STEPS)[0]


TORCH = "torch"


def torch_product(n):
    """In a process of its own: its threads go on looking for work after a call."""
    import torch

    torch.set_num_threads(cores())
    a = torch.randn(n, n)
    return {"product": lambda: a @ a}, None


QUESTIONS = dict(
    streaming=streaming,
    threads=threads,
    bfloat16=bfloat16,
    accuracy=accuracy,
    scaling=scaling,
    start=start,
    limits=limits,
)


if __name__ == "__main__":
    main()
