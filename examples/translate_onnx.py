"""Translates standard input, a sentence a line, without JAX and lstm_jax.

    lstm-jax export runs/translate --format onnx --out translator
    python examples/translate_onnx.py translator 5 < new.de > new.en

The second command needs numpy, onnxruntime and tokenizers. The number is the width of
the beam: 1 takes the most likely token at every step.
"""

import json
import pathlib
import sys

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

folder, width = pathlib.Path(sys.argv[1]), int(sys.argv[2])
encoder, decoder = (InferenceSession(folder / f"{n}coder.onnx") for n in ("en", "de"))
read = lambda side: Tokenizer.from_file(str(folder / f"{side}.tokenizer.json"))
source, target = read("source"), read("target")
special = json.loads((folder / "vocabulary.json").read_text("utf-8"))
begin, end = special["target"]["begin"], special["target"]["end"]


def run(session, **inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def translate(sentences, alpha=1.0):
    rows = [[*source.encode(s).ids, special["source"]["end"]] for s in sentences]
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.array([row + [0] * (lengths.max() - len(row)) for row in rows])
    state = run(encoder, tokens=tokens.T.astype(np.int32), lengths=lengths)
    memory = {k: state.pop(k) for k in ("keys", "values", "bias") if k in state}
    state = {name: np.repeat(a, width, axis=0) for name, a in state.items()}
    batch, most = np.arange(len(rows))[:, None], 2 * lengths[:, None] + 10
    said = np.full((len(rows), width, most.max() + 1), begin, np.int32)
    nats = np.where(np.arange(width) == 0, 0.0 * batch, -np.inf)  # one to begin with
    ended, counts = np.zeros(nats.shape, bool), np.zeros(nats.shape)
    for t in range(most.max()):
        made = run(decoder, tokens=said[..., t].ravel(), **memory, **state)
        logits = made["logits"].reshape(*nats.shape, -1)
        logits[..., begin] = -np.inf
        log_p = logits - logits.max(-1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
        log_p[ended | (t + 1 >= most), :end] = -np.inf  # `end` is the last token
        log_p[ended, end] = 0  # what has ended stays as it is
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
for at in range(0, len(lines), 32):
    some = lines[at : at + 32]
    for line, text in zip(some, translate(some), strict=True):
        print(text if line.strip() else "")
