"""The first epochs of AWD-LSTM in plain torch, to compare ours with.

    python -m benchmarks.awd data.path=PATH [--epochs 2]

Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", 2018, shows
no learning curve. So this script implements the recipe of configs/reproduce/awd.toml
again, in plain torch. It starts from our weights and reads the same windows, but has
its own random numbers. After every epoch, our model takes the weights and evaluates
them.
"""

import argparse
import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import RESULTS
from lstm_jax.bench import report
from lstm_jax.bench.machine import cores
from lstm_jax.config import read
from lstm_jax.core.cells.lstm import LSTMParams
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import first_params

CONFIG = Path(__file__).parents[1] / "configs/reproduce/awd.toml"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.awd")
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key.path=value", help="data.path, for one")
    add("--epochs", type=int, default=2)
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    if not 1 <= args.epochs <= 5:
        parser.error(f"--epochs is {args.epochs}, expected 1 to 5: averages come later")
    task = make_task(read_config(read(CONFIG), args.overrides))
    found = [("epoch", "valid perplexity", "training loss", "minutes")]
    epochs = []
    for epoch, (params, loss, minutes) in enumerate(train(task, args.epochs), 1):
        valid = task.evaluate(params, "valid")["perplexity"]
        epochs.append(dict(valid_perplexity=valid, loss=loss, minutes=minutes))
        found.append((str(epoch), f"{valid:.1f}", f"{loss:.4f}", f"{minutes:.1f}"))
        print(f"epoch {epoch}: {valid:.1f} after {minutes:.1f} minutes", flush=True)
    print(report.table(found))
    changed = [
        change for change in args.overrides if not change.startswith("data.path")
    ]
    results = dict(changed=changed, epochs=epochs)
    print("written:", report.save("awd_torch", results, args.out))


def train(task, epochs):
    """Parameters in our layout, with the mean loss and minutes of every epoch."""
    import torch

    torch.set_num_threads(cores())
    torch.manual_seed(task.config.seed)
    model = AWD(torch, task)
    optimizer = optimizer_of(torch, model, task)
    rows = torch.tensor(task.rows.astype(np.int64))
    window = task.config.train.window
    for _ in range(epochs):
        start, losses, carry = time.perf_counter(), [], None
        for step in range((len(rows) - 1) // window):
            tokens = rows[step * window : (step + 1) * window + 1]
            loss, carry = model.step(optimizer, tokens, carry)
            losses.append(loss)
        minutes = (time.perf_counter() - start) / 60
        yield model.ours(task.model.shapes), float(np.mean(losses)), minutes


def optimizer_of(torch, model, task):
    """The rule of the recipe, without its averages."""
    rule = task.config.optimizer
    return torch.optim.SGD(
        model.parameters, lr=rule.learning_rate, weight_decay=rule.weight_decay
    )


class AWD:
    """Embedding, three LSTM layers, and an output layer tied to the embedding."""

    def __init__(self, torch, task, device="cpu"):
        self.torch, self.config, self.device = torch, task.config.model, device
        self.clip_norm = task.config.optimizer.clip_norm
        tree = nnx.to_pure_dict(first_params(task, task.config.seed)[0])
        tensor = lambda a: torch.nn.Parameter(
            torch.tensor(np.asarray(a), device=device)
        )
        self.table, self.bias = tensor(tree["embed"]["embedding"]), tensor(tree["bias"])
        layers = tree["lstm"]["weights"]["forward"]
        layers = [LSTMParams(**layers[n]) for n in range(len(layers))]
        self.layers = [[tensor(p.T) for p in params] for params in layers]
        self.parameters = [self.table, self.bias, *itertools.chain(*self.layers)]

    def step(self, optimizer, tokens, carry):
        """The loss of a window, of which the weights then take a step, and states."""
        optimizer.zero_grad()
        loss, carry = self.loss(tokens[:-1], tokens[1:], carry)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        optimizer.step()
        return loss.item(), carry

    def loss(self, tokens, targets, carry):
        """Cross-entropy and penalties of a window, and the states after it."""
        torch, rates, F = self.torch, self.config, self.torch.nn.functional
        table = self.table * self.mask(rates.embedding_dropout, len(self.table), 1)
        hs = self.locked(F.embedding(tokens, table), rates.input_dropout)
        carries = []
        for n, (w_x, w_h, b) in enumerate(self.layers):
            hs = self.locked(hs, rates.dropout) if n else hs
            zeros = torch.zeros(1, tokens.shape[1], w_h.shape[1], device=self.device)
            before = [c.detach() for c in carry[n]] if carry else [zeros, zeros]
            w_h = w_h * self.mask(rates.weight_drop, *w_h.shape)
            # torch has two biases; the second stays 0. If both were trained, as in the
            # authors' code, their sum would take steps of twice the size.
            weights = [w_x, w_h, b, torch.zeros_like(b)]
            hs, *after = torch.lstm(
                hs, before, weights, True, 1, 0.0, True, False, False
            )
            carries.append(after)
        raw, hs = hs, self.locked(hs, rates.output_dropout)
        logits = F.linear(hs, self.table, self.bias).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten())
        loss = loss + rates.activation_penalty * hs.square().mean()
        loss = loss + rates.temporal_penalty * (raw[1:] - raw[:-1]).square().mean()
        return loss, carries

    def mask(self, rate, *shape):
        mask = self.torch.empty(shape, device=self.device)
        return mask.bernoulli_(1 - rate) / (1 - rate)

    def locked(self, hs, rate):
        """Dropout with one mask for all the steps of a window."""
        return hs * self.mask(rate, *hs.shape[1:])

    def ours(self, params):
        """Its weights in the layout of our model's ``params``."""
        array = lambda p: jnp.asarray(p.detach().cpu().numpy().copy())
        layers = [LSTMParams(*(array(p).T for p in layer)) for layer in self.layers]
        tree = {
            "embed": {"embedding": array(self.table)},
            "lstm": {
                "weights": {"forward": {n: p._asdict() for n, p in enumerate(layers)}}
            },
            "bias": array(self.bias),
        }
        params = jax.tree.map(lambda p: p, params)
        nnx.replace_by_pure_dict(params, tree)
        return params


if __name__ == "__main__":
    main()
