"""Finds speech with the LSTM of Silero VAD: in files and streams, and fine-tuned.

    pip install 'lstm-jax[onnx,speech]'
    pip install --no-deps silero-vad==6.2.3           # weights, MIT; no torch needed
    python examples/silero_vad.py talk.wav            # begin and end of each segment
    python examples/silero_vad.py talk.wav --stream   # the same, a chunk at a time
    python examples/silero_vad.py                     # fine-tunes on synthetic data

    context, chunk     64 and 512 samples at 16 kHz; 32 and 256 at 8 kHz
    STFT               4 magnitudes of 129 (65) frequencies; the end is reflected
    4 convolutions     ReLU; 4 steps become 1
    LSTM               128 units, one step a chunk
    output             ReLU, one number, sigmoid: the probability of speech

The weights are those of ``silero_vad.onnx``, which the package runs. Its safetensors
file has the same layers with other weights; `load` reads them if its path is given.
"""

import argparse
import functools
import math
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from lstm_jax import LSTMCarry, LSTMParams, lstm, lstm_step
from lstm_jax.data.sounds import read_sound
from lstm_jax.interop import from_torch, read_tensors

STRIDES = (1, 2, 2, 1)
BLOCK = 128
"""Chunks in the front end at a time. Their values between layers fit into the cache."""
BRANCHES = {16_000: "then", 8_000: "else"}
"""Where the ONNX file has the network for a rate."""
NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    **{f"encoder.{i}.reparam_conv": f"conv{i + 1}" for i in range(4)},
    "decoder.rnn": "lstm_cell",
    "decoder.decoder.2": "final_conv",
}
"""Names in the ONNX file, and in the safetensors file."""


class Head(NamedTuple):
    """The layers that `fine_tune` trains."""

    lstm: LSTMParams
    w: Any  # [H]
    b: Any  # []


class VAD(NamedTuple):
    """All weights. The length of the window tells the other sizes."""

    basis: Any  # [window, 2 * frequencies]
    convs: Any  # four pairs: [3 * in, out], [out]
    head: Head

    @property
    def chunk(self) -> int:
        return 2 * len(self.basis)

    @property
    def context(self) -> int:
        return len(self.basis) // 4


class State(NamedTuple):
    """What a stream remembers of the chunks before."""

    carry: LSTMCarry
    context: Any  # [context, *B]


def load(path: str | Path | None = None, rate: int = 16_000) -> VAD:
    """The weights of the installed package, or of one of its files."""
    if path is None:  # not imported, because the package needs torch
        path = distribution("silero-vad").locate_file("silero_vad/data/silero_vad.onnx")
    onnx = Path(path).suffix == ".onnx"
    found = _from_onnx_file(path, rate) if onnx else read_tensors(path)
    basis = found.get("stft_conv.weight")
    if basis is None or basis.shape[-1] != rate * 16 // 1000:
        raise SystemExit(f"{path} has no weights of Silero VAD for {rate} Hz")
    convs = [(found[f"conv{i}.weight"], found[f"conv{i}.bias"]) for i in (1, 2, 3, 4)]
    convs = [(w.transpose(2, 1, 0).reshape(-1, len(w)), b) for w, b in convs]
    w, b = found["final_conv.weight"][0, :, 0], found["final_conv.bias"][0]
    head = Head(from_torch(found, prefix="lstm_cell."), w, b)
    return jax.tree.map(jnp.asarray, VAD(basis[:, 0].T, convs, head))


def _from_onnx_file(path, rate):
    """The constants of one network, by their names in the safetensors file."""
    import onnx

    prefix = f"If_0_{BRANCHES[rate]}_branch__Inline_0__"

    def constants(graph):
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name == "value" and node.output[0].startswith(prefix):
                    yield node.output[0].removeprefix(prefix), attribute.t
                yield from constants(attribute.g)

    return {
        name.replace(theirs, ours): onnx.numpy_helper.to_array(tensor)
        for name, tensor in constants(onnx.load(path).graph)
        for theirs, ours in NAMES.items()
        if name.startswith(theirs)
    }


def front_end(params: VAD, chunks):
    """What the LSTM reads, ``[..., H]``, of ``[..., context + chunk]``."""
    window, pad = len(params.basis), params.context
    x = jnp.concatenate([chunks, chunks[..., -2 : -2 - pad : -1]], axis=-1)
    starts = range(0, 4 * window // 2, window // 2)
    frames = jnp.stack([x[..., i : i + window] for i in starts], axis=-2)
    real, imaginary = jnp.split(frames @ params.basis, 2, axis=-1)
    x = jnp.sqrt(real * real + imaginary * imaginary)
    for (w, b), stride in zip(params.convs, STRIDES, strict=True):
        steps = x.shape[-2]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (0, 0)])
        taps = [x[..., k : k + steps : stride, :] for k in range(3)]
        x = jax.nn.relu(jnp.concatenate(taps, axis=-1) @ w + b)
    return x[..., 0, :]


def logits(head: Head, hs):
    return jax.nn.relu(hs) @ head.w + head.b


@jax.jit
def features(params: VAD, sounds, lengths=None):
    """The front end of all chunks ``[T, *B, H]``, and which are real, ``[T, *B]``.

    ``sounds`` are ``[N, *B]``, and ``lengths`` their real samples. What comes after
    them is 0. The last chunk is filled up with zeros.
    """
    batch, chunk, context = sounds.shape[1:], params.chunk, params.context
    lengths = jnp.full(batch, len(sounds)) if lengths is None else jnp.asarray(lengths)
    before = lambda steps, n: jnp.arange(steps).reshape(-1, *[1] * len(batch)) < n
    sounds = jnp.where(before(len(sounds), lengths), sounds, 0)
    ends = [(context, -len(sounds) % chunk)] + [(0, 0)] * len(batch)
    x = jnp.moveaxis(jnp.pad(sounds, ends), 0, -1)  # [*B, context + T * chunk]
    cut = lambda x: x.reshape(*batch, -1, chunk)
    rows = [cut(x[..., :-context])[..., :context], cut(x[..., context:])]
    rows = jnp.moveaxis(jnp.concatenate(rows, axis=-1), -2, 0)
    rows = rows.reshape(-1, context + chunk)
    xs = jax.lax.map(functools.partial(front_end, params), rows, batch_size=BLOCK)
    xs = xs.reshape(-1, *batch, xs.shape[-1])
    return xs, before(len(xs), -(-lengths // chunk))


@jax.jit
def probabilities(params: VAD, sounds, lengths=None):
    """The probability of speech in every chunk, ``[T, *B]``, of sounds ``[N, *B]``.

    Chunks after the ``lengths`` of a row have probability 0.
    """
    xs, real = features(params, sounds, lengths)
    _, hs = lstm(params.head.lstm, None, xs, mask=real)
    return jnp.where(real, jax.nn.sigmoid(logits(params.head, hs)), 0)


def start(params: VAD, batch=()) -> State:
    """The state before the first chunk."""
    h = jnp.zeros((*batch, len(params.head.w)))
    return State(LSTMCarry(h, h), jnp.zeros((params.context, *batch)))


def step(params: VAD, state: State, chunk):
    """The state after a chunk ``[chunk, *B]``, and its probabilities ``[*B]``."""
    x = jnp.concatenate([state.context, chunk])
    xs = front_end(params, jnp.moveaxis(x, 0, -1))
    carry, h = lstm_step(params.head.lstm, state.carry, xs)
    p = jax.nn.sigmoid(logits(params.head, h))
    return State(carry, x[-params.context :]), p


def stream(params: VAD, batch=()):
    """`step` with as little work as possible around it.

    Returns the first state and a function: ``state, p = call(state, chunk)``. The state
    is one array of numpy, and the weights are constants of the program. On a CPU, set
    ``jax_cpu_enable_async_dispatch`` to False first, so that no call changes threads.
    """
    first, unravel = ravel_pytree(start(params, batch))
    size, count = len(first), math.prod(batch)

    @jax.jit
    def run(both, chunk):  # the state, and room for the probabilities
        state, p = step(params, unravel(both[:size]), chunk)
        return jnp.concatenate([ravel_pytree(state)[0], p.ravel()])

    def call(state, chunk):
        state = np.asarray(run(state, chunk))
        return state, state[size:].reshape(batch)

    return np.zeros(size + count, np.float32), call


def fine_tune(
    params: VAD, sounds, labels, lengths=None, *, steps=100, learning_rate=1e-3
):
    """Trains the LSTM and the output on new sounds. The front end stays as it is.

    Args:
        sounds: ``[N, *B]``, with ``lengths`` as in `features`.
        labels: 1 for a chunk with speech and 0 without, ``[T, *B]``.

    Returns:
        The new weights, and the loss before every step in nats per chunk.
    """
    optimizer = optax.adam(learning_rate)
    xs, real = features(params, sounds, lengths)
    labels = jnp.asarray(labels, jnp.float32)

    def loss(head):
        _, hs = lstm(head.lstm, None, xs, mask=real)
        nats = optax.sigmoid_binary_cross_entropy(logits(head, hs), labels)
        return jnp.where(real, nats, 0).sum() / real.sum()

    @jax.jit
    def update(head, state):
        nats, gradient = jax.value_and_grad(loss)(head)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(head, updates), state, nats

    head, losses = params.head, []
    state = optimizer.init(head)
    for _ in range(steps):
        head, state, nats = update(head, state)
        losses.append(float(nats))
    return params._replace(head=head), losses


def tones(chunks: int, rows: int, size: int):
    """Synthetic data: noise in which tones, of 8 chunks each, count as speech."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random((-(-chunks // 8), rows)) < 0.5, 8, axis=0)[:chunks]
    tone = 0.2 * np.sin(0.4 * np.arange(chunks * size))[:, None]
    noise = 0.05 * rng.normal(size=(chunks * size, rows))
    return (noise + tone * np.repeat(labels, size, 0)).astype(np.float32), labels


def segments(p, seconds: float, threshold: float = 0.5) -> np.ndarray:
    """Begin and end of all runs of chunks with ``p >= threshold``, ``[K, 2]``."""
    speech = np.concatenate([[False], np.asarray(p) >= threshold, [False]])
    return np.flatnonzero(speech[1:] != speech[:-1]).reshape(-1, 2) * seconds


def main(argv=None):
    parser = argparse.ArgumentParser(description="Prints speech segments, in seconds.")
    parser.add_argument("file", nargs="?", help="sound; without: fine-tunes on tones")
    parser.add_argument("--weights", help="a file of silero-vad (default: installed)")
    parser.add_argument("--rate", type=int, choices=BRANCHES, default=16_000)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--stream", action="store_true", help="read a chunk at a time")
    args = parser.parse_args(argv)
    jax.config.update("jax_cpu_enable_async_dispatch", not args.stream)
    params = load(args.weights, args.rate)
    if args.file is None:
        _, losses = fine_tune(params, *tones(chunks=64, rows=8, size=params.chunk))
        print(f"{losses[0]:.3f} nats before, {losses[-1]:.3f} nats after")
        return
    p, sound = [], read_sound(args.file, args.rate)
    if args.stream:
        state, call = stream(params)
        sound = np.pad(sound, (0, -len(sound) % params.chunk))
        for chunk in sound.reshape(-1, params.chunk):
            state, one = call(state, chunk)
            p.append(one)
    else:
        p = probabilities(params, sound)
    for begin, end in segments(p, params.chunk / args.rate, args.threshold):
        print(f"{begin:.3f} {end:.3f}")


if __name__ == "__main__":
    main()
