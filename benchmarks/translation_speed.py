"""How fast is the translator beside the same model in torch?

    pip install torch==2.13.0
    python -m benchmarks.translation_speed

The model is that of ``configs/translate.toml``: embeddings of 256, 512 units, one
layer, general attention, input feeding, 8,000 tokens of each language.

train         a step of Adam for 64 pairs of 16 and 16 tokens, with dropout and label
              smoothing
train ragged  the same with 10 to 16 tokens
decode 64     beam search of 5 for 1,000 sentences of 5 to 40 tokens, sorted by length,
              64 at a time
decode 1      the same for every tenth sentence, one at a time, in random order

    ... bfloat16  the same with ``model.dtype="bfloat16"``; torch trains under its
                  autocast, and decodes with a model of bfloat16 whose logits become
                  float32

A translation has at most three tokens more than its sentence. The weights are random,
so hardly any ends earlier.

Each library has a process of its own, and they take turns. Before that, torch must
compute our loss and all our gradients without dropout, and find our translations of
every third batch; in bfloat16 the loss, the gradients, and the ranks of the
translations, to 5% of the largest.
Our shapes are fixed: we pad sentences to a multiple of 8 tokens and the last batch to
64 sentences, and torch does not. Compilation is timed apart.

The threads of torch wait for each other in a spin lock. If anything else runs, two of
them are slower than one, and only ``--threads 1`` compares the libraries.
"""

import argparse
import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from benchmarks import RESULTS
from lstm_jax.bench import machine, race, report, timing
from lstm_jax.bench.workers import crew
from lstm_jax.inference import beam_search_batch
from lstm_jax.models.functional import Functional
from lstm_jax.models.translation import PairBatch, TranslatorConfig
from lstm_jax.training.metrics import Aux
from lstm_jax.training.optimizer import Adam
from lstm_jax.training.schedules import Constant
from lstm_jax.training.step import init_state, train_step

VOCABULARY, END, BEGIN, FIRST_WORD = 8000, 1, 2, 3
PAIRS, TOKENS, SHORTEST, STEPS = 64, 16, 10, 2
DROPOUT, SMOOTHING, RATE = 0.3, 0.1, 1e-3
SENTENCES, LONGEST, WIDTH, ALPHA, MORE, MULTIPLE = 1000, 40, 5, 1.0, 3, 8
SHARPER = 5
"""A factor of the output layer for decoding. New weights give all tokens nearly the
same probability, and rounding would choose between translations."""
CASES = {
    "train": ("train", (False, "float32")),
    "train ragged": ("train", (True, "float32")),
    "decode 64": ("decode", (64, "float32")),
    "decode 1": ("decode", (1, "float32")),
    "train bfloat16": ("train", (False, "bfloat16")),
    "decode 64 bfloat16": ("decode", (64, "bfloat16")),
    "decode 1 bfloat16": ("decode", (1, "bfloat16")),
}
TOLERANCE = {"train": 1e-4, "decode": 1e-5}
NARROW = 5e-2
"""The tolerance of bfloat16, which has 8 bits of precision."""


@functools.cache
def translator(rate: float, dtype: str) -> Functional:
    """The model with this dropout rate and compute dtype."""
    config = TranslatorConfig(
        embed_size=256,
        hidden_size=512,
        input_dropout=rate,
        output_dropout=rate,
        label_smoothing=SMOOTHING,
        dtype=dtype,
    )
    return Functional(lambda key: config.build(VOCABULARY, VOCABULARY, nnx.Rngs(key)))


def first_params(kind: str):
    """The weights of all libraries: small random numbers, biases too."""
    rng, sharper = np.random.default_rng(0), SHARPER if kind == "decode" else 1

    def draw(path, leaf):
        scale = min(leaf.shape) ** -0.5
        if path[0].key == "head":
            scale *= sharper
        return rng.uniform(-scale, scale, leaf.shape).astype(np.float32)

    shapes = translator(0.0, "float32").shapes
    return jax.tree_util.tree_map_with_path(draw, shapes)


def pairs(ragged: bool) -> PairBatch:
    """A batch to train on. The first pair has all tokens."""
    rng = np.random.default_rng(0)

    def side():
        lengths = rng.integers(SHORTEST if ragged else TOKENS, TOKENS + 1, PAIRS)
        lengths[0] = TOKENS
        tokens = rng.integers(FIRST_WORD, VOCABULARY, (TOKENS, PAIRS))
        real = np.arange(TOKENS)[:, None] < lengths
        return np.where(real, tokens, 0).astype(np.int32), lengths.astype(np.int32)

    (source, source_lengths), (outputs, lengths) = side(), side()
    inputs = np.concatenate([np.full((1, PAIRS), BEGIN, np.int32), outputs[:-1]])
    return PairBatch(source, source_lengths, inputs, outputs, lengths)


def batches(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sentences to translate and their lengths, ``[S, rows]`` and ``[rows]``."""
    rng = np.random.default_rng(0)
    # Like captions of Multi30k: 14 tokens in the mean.
    lengths = np.clip(rng.gamma(5, 14 / 5, SENTENCES).round(), 5, LONGEST).astype(
        np.int32
    )
    tokens = rng.integers(FIRST_WORD, VOCABULARY, (LONGEST, SENTENCES), np.int32)
    order = np.arange(0, SENTENCES, 10) if rows == 1 else np.argsort(lengths)
    parts = np.split(order, np.arange(rows, len(order), rows))
    return [(tokens[: lengths[part].max(), part], lengths[part]) for part in parts]


# Ours


def ours_train(ragged, dtype):
    batch = jax.tree.map(jnp.asarray, pairs(ragged))

    def loss(rate, params, carry, batch, key):
        nats, count = translator(rate, dtype)(params).loss(batch, key=key)
        return nats, Aux(carry, {}, count)

    params = first_params("train")
    gradient = jax.value_and_grad(functools.partial(loss, 0.0), has_aux=True)
    (nats, _), found = jax.jit(gradient)(params, (), batch, jax.random.key(0))
    values = {"loss": np.asarray(nats)} | _torch_weights(found)
    optimizer = Adam(learning_rate=RATE, clip_norm=None, schedule=Constant()).build(1)

    def steps(state, batch):
        one = functools.partial(train_step, functools.partial(loss, DROPOUT), optimizer)
        return jax.lax.fori_loop(0, STEPS, lambda _, state: one(state, batch)[0], state)

    state = init_state(params, (), optimizer, jax.random.key(1))
    steps, seconds = timing.compile_ahead(steps, state, batch)

    def call():
        nonlocal state
        state = jax.block_until_ready(steps(state, batch))

    return {"train": call}, (values, {"train": seconds}, "cpu")


def ours_decode(rows, dtype):
    params, model = first_params("decode"), translator(0.0, dtype)

    def step(params, memory, carry, tokens):
        return model(params).step(memory, carry, tokens)[:2]

    @functools.partial(jax.jit, static_argnums=4)
    def translate(params, source, lengths, most, longest):
        memory, carry = model(params).encode(source, lengths)
        begin = jnp.full(rows, BEGIN)
        carry, logits = step(params, memory, carry, begin)
        options = dict(end=END, alpha=ALPHA, max_lengths=most, results=1)
        step_of = Partial(step, params, memory)
        return beam_search_batch(step_of, carry, logits, WIDTH, longest, **options)

    def search(source, lengths):
        steps, sentences = source.shape
        fill = (0, -steps % MULTIPLE), (0, rows - sentences)
        source, lengths = np.pad(source, fill), np.pad(lengths, fill[1])
        most = np.where(lengths > 0, lengths + MORE, 0)
        found = translate(params, source, lengths, most, len(source) + MORE)
        best = np.asarray(found.tokens)[:sentences, 0]
        return best, np.asarray(found.scores)[:sentences, 0]

    return _decode(search, rows, dtype)


# Torch


def torch_train(ragged, dtype):
    import torch

    from benchmarks import torch_translator

    source, source_lengths, inputs, outputs, lengths = pairs(ragged)
    real = np.arange(TOKENS)[:, None] < lengths
    outputs = np.where(real, outputs, torch_translator.IGNORED)
    batch = [torch.tensor(a).long() for a in (source, source_lengths, inputs, outputs)]
    model = _torch_translator("train", DROPOUT)
    narrow = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with narrow:
        nats = model.eval().loss(*batch)
    nats.backward()
    values = {"loss": nats.detach().numpy()} | {
        name: p.grad.numpy().copy()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    model.train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, RATE, fused=True)  # the fastest on a CPU

    def call():
        for _ in range(STEPS):
            optimizer.zero_grad()
            with narrow:
                nats = model.loss(*batch)
            nats.backward()
            optimizer.step()

    return {"train": call}, (values, {"train": None}, "cpu")


def torch_decode(rows, dtype):
    import torch

    model = _torch_translator("decode", 0.0).eval().to(getattr(torch, dtype))

    def search(source, lengths):
        source, lengths = (torch.tensor(a).long() for a in (source, lengths))
        options = dict(begin=BEGIN, end=END, alpha=ALPHA)
        found = model.translate(source, lengths, lengths + MORE, WIDTH, **options)
        return tuple(a.numpy() for a in found)

    return _decode(search, rows, dtype)


def _torch_translator(kind, rate):
    from benchmarks.torch_translator import TorchTranslator

    return TorchTranslator(_torch_weights(first_params(kind)), rate, SMOOTHING)


def _torch_weights(params):
    from benchmarks.torch_translator import weights

    return weights(jax.tree.map(np.asarray, params))


def _decode(search, rows, dtype):
    """The call, its translations, and the seconds of compilation."""
    found = []

    def call():
        found[:] = [search(*batch) for batch in batches(rows)]

    first, second = timing.seconds(call), timing.seconds(call)
    some, end = found[::3], ((0, 0), (0, LONGEST + MORE))
    fill = lambda a: np.pad(a, end, constant_values=END)[:, : LONGEST + MORE]
    values = {"ranks": np.concatenate([ranks for _, ranks in some])}
    if dtype == "float32":
        values["tokens"] = np.concatenate([fill(tokens) for tokens, _ in some])
    return {"decode": call}, (values, {"decode": first - second}, "cpu")


SIDES = {
    "ours": {"train": ours_train, "decode": ours_decode},
    "torch": {"train": torch_train, "decode": torch_decode},
}
"""A side without training, such as onnxruntime, has ``decode`` alone."""


def build(side: str, kind: str, how: tuple):
    """In the process of a side: its calls, and what `race.Contender` keeps."""
    if kind not in SIDES[side]:
        raise NotImplementedError(f"{side} has no {kind}")
    return SIDES[side][kind](*how)


def items(kind: str, how: tuple) -> tuple[str, int]:
    """The unit of a case, and how many of them a call computes."""
    size, _ = how
    if kind == "train":
        return "target tokens", STEPS * int(pairs(bool(size)).lengths.sum())
    return "sentences", sum(len(lengths) for _, lengths in batches(size))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation_speed")
    parser.add_argument("--rounds", type=int, default=11)
    cores = machine.cores()
    parser.add_argument("--threads", type=int, default=cores, help="of each (cores)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    # Of XLA, which takes no other setting, and of torch. Processes inherit them.
    os.environ |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), str(args.threads))
    pace, results = race.Pace(args.rounds, at_least=args.rounds), {}
    with crew({side: functools.partial(build, side) for side in SIDES}) as workers:
        for case in args.cases:
            kind, how = CASES[case]
            tolerance = TOLERANCE[kind] if how[1] == "float32" else NARROW
            contenders, absent = race.contend(workers, kind, how, tolerance=tolerance)
            seconds = race.times(kind, contenders, pace)
            unit, count = items(kind, how)
            found = {
                side: {
                    "per_second": count / float(np.median(seconds[side])),
                    "compile_seconds": contenders[side].compile_seconds[kind],
                    "ours_times_as_fast": timing.paired_ratio(
                        seconds[side], seconds["ours"]
                    ),
                }
                for side in seconds
            }
            results[case] = {"unit": unit, "rounds": args.rounds, "sides": found}
            for side, row in found.items():
                print(
                    f"{case}: {side} {row['per_second']:,.1f} {unit} a second, ours "
                    f"{row['ours_times_as_fast']} times as fast",
                    flush=True,
                )
            for side, reason in absent.items():
                print(f"{case}: {side} is missing: {reason}", flush=True)
    results = {"threads": args.threads, "cases": results}
    print("written:", report.save("translation_speed", results, args.out))


if __name__ == "__main__":
    main()
