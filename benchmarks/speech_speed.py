"""How fast is training with CTC beside torch, and how fast does a stream answer?

    pip install torch==2.13.0
    python -m benchmarks.speech_speed

train    a step of Adam: three bidirectional layers of 256 units, a readout and CTC, for
         16 recordings of 400 frames of 80 features, 30 classes and 40 labels each.
         Features are not computed. torch has ``nn.LSTM`` and ``nn.CTCLoss``.
stream   one recording of 60 s at 16 kHz, in pieces of 30 ms, from samples to text: two
         layers of 256 units in one direction, 80 mel bands, one thread. The weights are
         random and the blank is made likely, so that few labels come, as of a trained
         model. The real-time factor is the time of all pieces by that of the sound.

In ``train`` each library has a process of its own, and they take turns. Before that,
torch must compute our loss and all our gradients. Compilation is timed apart.
"""

import argparse
import functools
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import RESULTS
from lstm_jax import LSTMCell, Stack
from lstm_jax.audio import FeatureConfig
from lstm_jax.bench import machine, race, report, timing
from lstm_jax.bench.workers import crew
from lstm_jax.data.standardise import Standardisation
from lstm_jax.data.tokens import Characters
from lstm_jax.interop import to_torch
from lstm_jax.models.acoustic import AcousticConfig
from lstm_jax.models.ctc import ctc_nats
from lstm_jax.models.functional import Functional
from lstm_jax.tasks.transcribing import Transcribing
from lstm_jax.tasks.transcription_search import TranscriptionOptions
from lstm_jax.tasks.transcription_stream import TranscriptStream

T, B, D, H, K, L, LAYERS, STEPS = 400, 16, 80, 256, 30, 40, 3, 2
RATE, SECONDS, PIECE = 16_000, 60, 480
STACK = Stack([LSTMCell(H)] * LAYERS, bidirectional=True)
LIKELY = 8.0
"""Added to the score of the blank."""


def data():
    """Features ``[T, B, D]`` and labels ``[L, B]``; class 0 is the blank."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(T, B, D)).astype(np.float32)
    return xs, rng.integers(1, K, (L, B)).astype(np.int32)


def first_params():
    """The weights of both sides."""
    rng = np.random.default_rng(1)
    draw = lambda shape: rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)
    layers = jax.tree.map(lambda a: draw(a.shape), STACK.init(jax.random.key(0), D))
    return {"layers": layers, "w": draw((2 * H, K)), "b": draw(K)}


def ours():
    xs, labels = map(jnp.asarray, data())
    params = jax.tree.map(jnp.asarray, first_params())
    optimizer = optax.adam(1e-3)

    def loss(params):
        _, hs = STACK(params["layers"], None, xs)
        logits = hs @ params["w"] + params["b"]
        return ctc_nats(logits, labels).mean()

    def steps(params, state):
        def step(_, both):
            params, state = both
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, STEPS, step, (params, state))

    nats, gradients = jax.jit(jax.value_and_grad(loss))(params)
    values = {"loss": np.asarray(nats)} | _by_name(gradients)
    both = params, optimizer.init(params)
    steps, seconds = timing.compile_ahead(steps, *both)

    def call():
        nonlocal both
        both = jax.block_until_ready(steps(*both))

    return {"train": call}, (values, {"train": seconds}, "cpu")


def _by_name(params):
    """Weights or gradients by torch's names, with one bias."""
    layers = to_torch(jax.tree.map(np.asarray, params["layers"]))
    kept = {name: a for name, a in layers.items() if "bias_hh" not in name}
    return kept | {"w": np.asarray(params["w"]), "b": np.asarray(params["b"])}


def torch():
    import torch

    xs, labels = map(torch.tensor, data())
    params = first_params()
    model = torch.nn.LSTM(D, H, LAYERS, bidirectional=True)
    to_torch(params["layers"], into=model)
    head = torch.nn.Linear(2 * H, K)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(params["w"].T))
        head.bias.copy_(torch.tensor(params["b"]))
    count, long = torch.full((B,), T), torch.full((B,), L)
    ctc = torch.nn.CTCLoss(reduction="sum")
    weights = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-3, fused=True)  # the fastest on a CPU

    def loss():
        log_p = head(model(xs)[0]).log_softmax(-1)
        return ctc(log_p, labels.T.long(), count, long) / B

    def step():
        optimizer.zero_grad()
        nats = loss()
        nats.backward()
        optimizer.step()
        return nats

    optimizer.zero_grad()
    nats = loss()
    nats.backward()
    found = {
        name: p.grad.numpy().copy()
        for name, p in model.named_parameters()
        if "bias_hh" not in name
    }
    found |= {
        "w": head.weight.grad.numpy().T.copy(),
        "b": head.bias.grad.numpy().copy(),
    }
    values = {"loss": nats.detach().numpy()} | found

    def call():
        for _ in range(STEPS):
            step()

    return {"train": call}, (values, {"train": None}, "cpu")


SIDES = {"ours": ours, "torch": torch}


def build(side: str):
    """In the process of a side: its calls, and what `race.Contender` keeps."""
    return SIDES[side]()


def stream(rounds: int) -> dict[str, float]:
    """The real-time factor, and the time of a piece in milliseconds."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    of = FeatureConfig(rate=RATE)
    scale = Standardisation((-5.0,) * of.size, (3.0,) * of.size)
    tokenizer = Characters("".join(sorted(" 'abcdefghijklmnopqrstuvwxyz")))
    config = AcousticConfig(hidden_size=256, num_layers=2, bidirectional=False)
    classes = len(tokenizer) + 1
    model = Functional(lambda key: config.build(of, scale, classes, nnx.Rngs(key)))
    params = model.init(jax.random.key(0))
    params["head"]["bias"][...] = params["head"]["bias"][...].at[-1].add(LIKELY)
    transcribing = Transcribing(model, tokenizer, RATE, of.hop_size / RATE)
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.normal(size=RATE * SECONDS).astype(np.float32)
    pieces, took = np.split(sound, len(sound) // PIECE), []
    for n in range(rounds + 1):
        options = TranscriptionOptions()
        live = TranscriptStream(transcribing, model, params, of, 1, RATE, options)
        for piece in pieces:
            began = time.perf_counter()
            live.feed(piece)
            _ = live.final_words
            if n:  # the first round compiles
                took.append(time.perf_counter() - began)
    took = np.array(took)
    return {
        "real_time_factor": float(took.sum() / rounds / SECONDS),
        "median_ms": 1e3 * float(np.median(took)),
        "p99_ms": 1e3 * float(np.quantile(took, 0.99)),
        "rounds": rounds,
    }


def train(rounds: int) -> dict[str, dict]:
    """Seconds of a step of both sides."""
    pace = race.Pace(rounds, at_least=rounds)
    with crew({side: functools.partial(build, side) for side in SIDES}) as workers:
        contenders, absent = race.contend(workers, tolerance=1e-3)
        seconds = race.times("train", contenders, pace)
        found = {
            side: {
                "ms": 1e3 * float(np.median(took)) / STEPS,
                "compile_seconds": contenders[side].compile_seconds["train"],
                "ours_to_theirs": timing.paired_ratio(seconds["ours"], took),
            }
            for side, took in seconds.items()
        }
    for side, row in found.items():
        print(f"train: {side} {row['ms']:.1f} ms, ours {row['ours_to_theirs']} of it")
    for side, reason in absent.items():
        print(f"train: {side} is missing: {reason}")
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech_speed")
    parser.add_argument("--rounds", type=int, default=15)
    cores = machine.cores()
    parser.add_argument("--threads", type=int, default=cores, help="in train (cores)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    # Of XLA, which takes no other setting, and of torch. Processes inherit them.
    os.environ |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), str(args.threads))
    results = {"threads": args.threads, "train": train(args.rounds)}
    os.environ |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), "1")
    results["stream"] = stream(3)
    print(
        "stream:", *(f"{name} {value:.4g}" for name, value in results["stream"].items())
    )
    print("written:", report.save("speech_speed", results, args.out))


if __name__ == "__main__":
    main()
