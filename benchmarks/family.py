"""How much do other cells, remat and many layers cost, compared with the plain LSTM?

    python -m benchmarks.family [--quick] [--only variants,remat,layers]

variants  gradient of every cell and regulariser against that of the plain LSTM
remat     memory and time of the gradient of a long sequence, computed in chunks
layers    compile time of forward + gradient of 1, 4 and 16 equal layers
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax
from benchmarks import properties
from lstm_jax import LSTMCell, Stack, unroll
from lstm_jax.bench import report, timing


def main(argv: list[str] | None = None) -> None:
    args = properties.arguments("family", QUESTIONS, argv)
    jax.config.update("jax_enable_compilation_cache", False)
    results = {}
    for name in args.only:
        results[name], rows = QUESTIONS[name](args)
        print(report.table(rows), end="\n\n", flush=True)
    print("written:", report.save("family", results, args.out))


def cells(H):
    """Everything that runs on ``[T, B, D]``."""
    lstm = LSTMCell(H)
    return {
        "LSTM": lstm,
        "RNN": lstm_jax.RNNCell(H),
        "GRU": lstm_jax.GRUCell(H),
        "GRU, reset before": lstm_jax.ResetBeforeGRUCell(H),
        "peephole": lstm_jax.PeepholeLSTMCell(H),
        "CIFG": lstm_jax.CIFGLSTMCell(H),
        f"projection, P={H // 2}": lstm_jax.LSTMPCell(H, H // 2),
        f"projection, P={H}": lstm_jax.LSTMPCell(H, H),
        "layer norm": lstm_jax.LayerNormLSTMCell(H),
        "multiplicative": lstm_jax.MultiplicativeLSTMCell(H),
        "Mogrifier, 5 rounds": lstm_jax.MogrifierLSTMCell(H),
        "Mogrifier, 5 rounds of rank 16": lstm_jax.MogrifierLSTMCell(H, rank=16),
        "sLSTM, 4 heads": lstm_jax.SLSTMCell(H, heads=4),
        "minLSTM": lstm_jax.MinLSTMCell(H),
        "zoneout": lstm_jax.Zoneout(lstm, h=0.05, c=0.5),
        "recurrent dropout, per gate": lstm_jax.RecurrentDropout(lstm, 0.3),
        "recurrent dropout, tied": lstm_jax.RecurrentDropout(lstm, 0.3, per_gate=False),
        "candidate dropout": lstm_jax.CandidateDropout(lstm, 0.3),
    }


def variants(args):
    """Interleaved, with the key of a random cell among the arguments."""
    B, T, D, H = 32, 128, 128, 128
    _, xs = properties.example((T, B, D), H)
    functions, key = {}, jax.random.key(1)
    for name, cell in cells(H).items():
        params = cell.init(jax.random.key(0), D)
        run = lambda p, xs, key, cell=cell: unroll(cell, p, None, xs, key=key)[1]
        loss = lambda p, xs, key, run=run: jnp.sum(jnp.square(run(p, xs, key)))
        compiled, _ = timing.compile_ahead(
            jax.grad(loss, argnums=(0, 1)), params, xs, key
        )
        functions[name] = functools.partial(compiled, params, xs, key)
    medians, ratios = properties.race(functions, (), args, of_first=False)
    head = f"variants: forward + gradient, B={B} T={T} D={D} H={H}"
    rows = [(head, "ms", "this / LSTM")]
    rows += [(f"  {n}", f"{medians[n]:.1f}", str(ratios.get(n, ""))) for n in medians]
    return dict(B=B, T=T, D=D, H=H, milliseconds=medians, ratios=ratios), rows


def remat(args):
    """``remat=None`` already projects in pieces; ``True`` keeps carries alone."""
    B, T, D, H = (8, 1024, 64, 64) if args.quick else (8, 16384, 256, 256)
    inputs = properties.example((T, B, D), H)
    functions, units = {}, {}
    for name in (True, None):
        run = functools.partial(properties.outputs, remat=name)
        f, _ = timing.compile_ahead(properties.gradient(run), *inputs)
        functions[str(name)] = f
        planned = f.memory_analysis().temp_size_in_bytes
        units[str(name)] = planned / (T * B * H * 4)
    medians, ratios = properties.race(functions, inputs, args)
    head = f"remat: gradient, B={B} T={T} D={D} H={H}"
    rows = [(head, "T*B*H*4 bytes", "ms", "True / this")]
    for n in functions:
        ratio = str(ratios.get(n, ""))
        rows.append((f"  remat={n}", f"{units[n]:.2f}", f"{medians[n]:.0f}", ratio))
    shape = dict(B=B, T=T, D=D, H=H)
    return dict(shape, units=units, milliseconds=medians, ratios=ratios), rows


def layers(args):
    """Interleaved medians; parameters in a tuple, and stacked."""
    B, T, H = 8, 64, 128
    numbers, repeats = (1, 4, 16), 2 if args.quick else 9
    xs = jnp.ones((T, B, H))
    times = {(n, stacked): [] for stacked in (True, False) for n in numbers}
    for round_ in range(repeats + 1):
        for n, stacked in times:
            stack = Stack([LSTMCell(H)] * n, stacked=stacked)
            params = stack.init(jax.random.key(0), H)
            loss = lambda p, xs, stack=stack: jnp.sum(jnp.square(stack(p, None, xs)[1]))
            f = jax.value_and_grad(loss, argnums=(0, 1))
            seconds = timing.compile_ahead(f, params, xs)[1]
            # The first compilation of a process is slower, whatever it compiles.
            if round_ > 0:
                times[n, stacked].append(seconds)
    rows = [
        (
            f"layers: compile, B={B} T={T} H={H}",
            "stacked, s",
            "/ one",
            "tuple, s",
            "/ one",
        )
    ]
    found = {}
    for n in numbers:
        row = []
        for stacked in (True, False):
            t = np.array(times[n, stacked])
            ratio = timing.paired_ratio(t, np.array(times[1, stacked]))
            name = "stacked" if stacked else "tuple"
            found.setdefault(name, {})[n] = dict(
                seconds=float(np.median(t)), ratio=ratio
            )
            row += [f"{np.median(t):.2f}", str(ratio) if n > 1 else ""]
        rows.append((f"  {n}", *row))
    return dict(B=B, T=T, H=H, repeats=repeats, compile=found), rows


QUESTIONS = dict(variants=variants, remat=remat, layers=layers)


if __name__ == "__main__":
    main()
