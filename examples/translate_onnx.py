"""Translates standard input, a sentence a line, without JAX and lstm_jax.

    lstm-jax export runs/translate --format onnx --out translator
    python examples/translate_onnx.py translator < new.de > new.en

The second command needs numpy, onnxruntime and tokenizers. A width after the name of
the folder is that of the beam, 5 if there is none; 1 takes the likeliest token.
"""

import json
import pathlib
import sys

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

folder, width = pathlib.Path(sys.argv[1]), int((*sys.argv, 5)[2])
encoder, decoder = (InferenceSession(folder / f"{n}coder.onnx") for n in ("en", "de"))
source, target = (
    Tokenizer.from_file(str(folder / f"{n}.tokenizer.json"))
    for n in ("source", "target")
)
special = json.loads((folder / "vocabulary.json").read_text("utf-8"))


def run(session, **inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def translate(sentences, alpha=1.0):
    """The best translations that a beam search of the whole batch finds."""
    rows = [[*source.encode(s).ids, special["source"]["end"]] for s in sentences]
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.array([row + [0] * (lengths.max() - len(row)) for row in rows])
    state = run(encoder, tokens=tokens.T.astype(np.int32), lengths=lengths)
    memory = {k: state.pop(k) for k in ("keys", "values", "bias") if k in state}
    state = {name: np.repeat(a, width, axis=0) for name, a in state.items()}
    begin, end = special["target"]["begin"], special["target"]["end"]
    batch, most = np.arange(len(rows))[:, None], 2 * lengths[:, None] + 10
    said = np.full((len(rows), width, most.max() + 1), begin, np.int32)
    nats = np.where(np.arange(width) == 0, 0.0 * batch, -np.inf)  # one begins
    ended, counts = np.zeros(nats.shape, bool), np.zeros(nats.shape)
    for t in range(most.max()):
        made = run(decoder, tokens=said[..., t].ravel(), **memory, **state)
        logits = made["logits"].reshape(*nats.shape, -1)
        logits[..., begin] = -np.inf
        log_p = logits - logits.max(-1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
        log_p[ended | (t + 1 >= most), :end] = -np.inf  # `end` is the last token
        log_p[ended, end] = 0
        counts[~ended] = t + 1
        total = nats[..., None] + log_p
        ranks = (total / ((5 + counts[..., None]) / 6) ** alpha).reshape(len(rows), -1)
        best = np.argsort(-ranks, axis=1, kind="stable")[:, :width]
        parents, tokens = np.divmod(best, log_p.shape[-1])
        nats = np.take_along_axis(total.reshape(ranks.shape), best, axis=1)
        said, counts = said[batch, parents], counts[batch, parents]
        said[..., t + 1], ended = tokens, ended[batch, parents] | (tokens == end)
        state = {n: made[f"{n}_out"][(parents + width * batch).ravel()] for n in state}
        if ended.all():
            break
    return target.decode_batch([row[row < begin].tolist() for row in said[:, 0]])


lines = [line.rstrip("\n") for line in sys.stdin]
order = sorted(
    (n for n, s in enumerate(lines) if s.strip()), key=lambda n: len(lines[n])
)
found = [""] * len(lines)
for some in (order[at : at + 32] for at in range(0, len(order), 32)):
    for n, text in zip(some, translate([lines[n] for n in some]), strict=True):
        found[n] = text
print(*found, sep="\n")
