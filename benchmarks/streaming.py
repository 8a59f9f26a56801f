"""One step at a time, compared with the least possible time."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import properties
from lstm_jax import LSTMCarry, lstm, lstm_step
from lstm_jax.bench import timing

D = H = 512
DISPATCH = "empty call"
PRODUCT = "product in a scan"
CALLED = "product in a Python loop"


def streaming(args):
    """Seconds per step in a Python loop, in a scan and by `lstm`, and the least
    possible time.

    For a Python loop, the least time is a nearly empty jitted call with the same
    arguments, plus a product with as many weights. For a scan it is the product alone.
    In a scan, the threads of the product stay awake from step to step. In a call from
    Python they do not, so the loop is compared with such a product too.
    """
    calls, T = 20 if args.quick else 200, 100 if args.quick else 1000
    params, xs = properties.example((T, 1, D), H)
    per_step = {
        "Python loop": (python_loop(lstm_step, params, xs, calls), calls),
        DISPATCH: (python_loop(empty, params, xs, calls), calls),
        CALLED: (python_loop(product_step, products(params), xs, calls), calls),
        "scan of lstm_step": (compiled(scan_of_steps, params, xs), T),
        "lstm": (compiled(lambda params, xs: lstm(params, None, xs)[1], params, xs), T),
        PRODUCT: (compiled(scan_of_products, *products(params), xs), T),
    }
    timed = {name: call for name, (call, _) in per_step.items()}
    times = timing.interleave(timed, args.repeats, budget=args.budget)
    times = {name: t / per_step[name][1] for name, t in times.items()}
    least = dict.fromkeys(("scan of lstm_step", "lstm"), times[PRODUCT])
    least["Python loop"] = times[DISPATCH] + times[PRODUCT]
    ratios = {n: timing.paired_ratio(times[n], least[n]) for n in least}
    to_called = timing.paired_ratio(times["Python loop"], times[CALLED])
    micros = {name: 1e6 * float(np.median(t)) for name, t in times.items()}
    rows = [(f"streaming: B=1 D={D} H={H}, T={T}", "us a step", "/ least")]
    rows += [(f"  {n}", f"{micros[n]:.1f}", ratios.get(n, "")) for n in micros]
    rows.append(("  Python loop / the product in one", "", to_called))
    found = dict(D=D, H=H, T=T, microseconds=micros, to_least=ratios)
    return found | {"python_loop_to_called_product": to_called}, rows


def empty(params, carry, x):
    """Takes what a step takes and gives what it gives, for hardly any work."""
    del params
    return LSTMCarry(carry.h + x, carry.c + x), x


def product_step(weights, carry, x):
    """A bare product in the place of a step."""
    (w,) = weights
    h = mix(jnp.concatenate([x, carry.h], axis=1) @ w)
    return LSTMCarry(h, carry.c), h


def python_loop(step, params, xs, calls):
    """``calls`` calls of a jitted step, each from the carry of the one before."""
    zeros = jnp.zeros((1, H))
    carry, x = LSTMCarry(zeros, zeros), xs[0]
    f = jax.jit(step)

    def run():
        state = carry
        for _ in range(calls):
            state, h = f(params, state, x)
        jax.block_until_ready(h)

    return run


def compiled(f, *args):
    f, _ = timing.compile_ahead(f, *args)
    return lambda: jax.block_until_ready(f(*args))


def scan_of_steps(params, xs):
    zeros = jnp.zeros((1, H))
    step = lambda carry, x: lstm_step(params, carry, x)
    return jax.lax.scan(step, LSTMCarry(zeros, zeros), xs)[1]


def products(params):
    """``[D + H, 4H]``, small enough for what follows to stay bounded."""
    return (0.5 * jnp.concatenate([params.w_x, params.w_h]),)


def mix(z):
    """``[..., 4H]`` to ``[..., H]``, so that XLA can leave no column out."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return jnp.maximum(i, f) + jnp.minimum(g, o)


def scan_of_products(w, xs):
    """Each reads the product before it, so that none leaves the loop."""

    def step(h, x):
        h = mix(jnp.concatenate([x, h], axis=1) @ w)
        return h, h

    return jax.lax.scan(step, jnp.zeros((1, H)), xs)[1]
