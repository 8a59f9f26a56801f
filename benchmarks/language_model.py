"""How long does a training step of a language model take, compared with torch and Flax?

    python -m benchmarks.language_model [--quick] [--epoch]

The model has an embedding, two LSTM layers of 200, the full softmax over 10,000 words,
cross-entropy and plain in-place SGD, on 20 rows of 35 steps in float32. It is the small
model of Zaremba, Sutskever & Vinyals, "Recurrent Neural Network Regularization", 2014,
without clipping. 8.4 of its 11.1 GFLOP are products with the output matrix. Each
library runs in its own process, starts from the same weights, and must reproduce our
loss. Its first step must also reproduce our gradient of every parameter.

``--epoch`` uses the recipe of configs/reproduce/ptb_small.toml: 20 tokens per window
and gradients clipped by their norm. Every library runs an epoch of the Penn Treebank:
2,323 steps in 23 turns of 101, so that the caches are warm. ``--data PATH`` is the
folder of the text. Without it, the words are random.
"""

import argparse
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import RESULTS
from lstm_jax import LSTMParams, init_lstm
from lstm_jax.bench import others, race, report, timing
from lstm_jax.bench.machine import cores
from lstm_jax.bench.workers import BenchError, crew
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config

RECIPE = Path(__file__).parents[1] / "configs/reproduce/ptb_small.toml"
LAYERS = 2
LEARNING_RATE = 1.0
EPOCH_TURNS, TURN_STEPS = 23, 101
"""2,323 steps are an epoch of the Penn Treebank in 20 rows, 20 tokens at a time."""


class Sizes(NamedTuple):
    B: int = 20
    T: int = 35
    H: int = 200
    V: int = 10_000
    """Words of the vocabulary."""
    clip: float = 0.0
    """The norm that gradients are scaled down to; 0 leaves them."""
    steps: int = 1
    """Steps of a turn."""
    windows: int = 1
    """How many there are of tokens; a step takes the next one."""


class Weights(NamedTuple):
    """Of the whole model, in our layout; embeddings have the size of a layer."""

    embed: Any
    layers: tuple[LSTMParams, ...]
    kernel: Any
    bias: Any


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    builds = {name: functools.partial(build, name) for name in MODELS}
    try:
        with crew(builds) as workers:
            contenders, missing = race.contend(workers, args.sizes, args.data)
            turns = race.times("turn", contenders, args.pace)
    except BenchError as error:
        raise SystemExit(f"benchmarks.language_model: {error}") from None
    per_step = {name: seconds / args.sizes.steps for name, seconds in turns.items()}
    found = race.results("turn", contenders, per_step)
    head = "step: " + ", ".join(f"{k}={v}" for k, v in args.sizes._asdict().items())
    rows = [(head, "median ms", "ours / theirs", "compile s")]
    for name, result in found.items():
        seconds = result["compile_seconds"]
        ratio = "" if name == "lstm_jax" else result["ratio"]
        cells = (f"{result['milliseconds']:.1f}", ratio)
        rows.append((f"  {name}", *cells, "" if seconds is None else f"{seconds:.2f}"))
    print(report.table(rows))
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    results = dict(sizes=args.sizes._asdict(), contenders=found, missing=missing)
    results["words"] = Path(args.data).name if args.data else "drawn at random"
    if args.epoch:
        steps = args.pace.repeats * args.sizes.steps
        totals = {name: float(sum(seconds)) for name, seconds in turns.items()}
        if steps == args.sizes.windows:
            results["epoch_seconds"] = totals
        for name, total in totals.items():
            print(f"{steps} steps: {total:.1f} s by {name}")
    name = "language_model_epoch" if args.epoch else "language_model"
    print("written:", report.save(name, results, args.out))


def build(name, sizes, data=None):
    """`built`, with the compile time of a first run."""
    jax.config.update("jax_enable_compilation_cache", False)
    return built(name, sizes, data)


def built(name, sizes, data=None):
    """In the process of a contender: its step, and what it did to the weights."""
    weights, tokens = example(sizes, data)
    model = MODELS[name](weights, tokens, sizes.clip)
    loss = float(model.step())
    after = model.weights()
    changes = jax.tree.map(lambda old, new: old - np.asarray(new), weights, after)
    values = {"loss": np.array(loss)}
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        values["gradient of " + jax.tree_util.keystr(path)] = change / LEARNING_RATE

    def turn():
        for _ in range(sizes.steps):
            model.step()

    said = (values, {"turn": model.compile_seconds}, jax.default_backend())
    return {"turn": turn}, said


def example(sizes: Sizes, data: str | None = None) -> tuple[Weights, np.ndarray]:
    """Weights with biases other than 0, and tokens ``[windows, T + 1, B]``."""
    B, T, H, V, *_ = sizes
    rng = np.random.default_rng(0)
    draw = lambda scale, *shape: rng.uniform(-scale, scale, shape).astype(np.float32)
    keys = [jax.random.key(n) for n in range(LAYERS)]
    layers = [jax.tree.map(np.asarray, init_lstm(key, H, H)) for key in keys]
    layers = tuple(p._replace(b=p.b + draw(0.1, 4 * H)) for p in layers)
    weights = Weights(draw(0.1, V, H), layers, draw(0.1, H, V), draw(0.1, V))
    if data:
        return weights, windows_of(data, sizes)
    return weights, rng.integers(V, size=(sizes.windows, T + 1, B), dtype=np.int32)


def windows_of(data: str, sizes: Sizes) -> np.ndarray:
    """``[windows, T + 1, B]``: what a training on this text reads in an epoch.

    Raises:
        ValueError: they are others in number, or of more words, than ``sizes`` says.
    """
    overrides = [f"data.path={data}", f"train.batch_size={sizes.B}"]
    config = read_config(read(RECIPE), [*overrides, f"train.window={sizes.T}"])
    task = make_task(config)
    rows = task.rows.astype(np.int32)
    found = len(np.unique(rows)), (len(rows) - 1) // sizes.T
    if found[0] > sizes.V or found[1] != sizes.windows:
        raise ValueError(
            f"{data} has {found[0]} words in {found[1]} windows, not {sizes.V} in "
            f"{sizes.windows}"
        )
    starts = range(0, sizes.windows * sizes.T, sizes.T)
    return np.stack([rows[start : start + sizes.T + 1] for start in starts])


class Jax:
    """A compiled step that gives its parameters away and gets them back changed."""

    def __init__(self, weights, tokens, clip):
        self.params = self.prepare(jax.tree.map(jnp.asarray, weights))
        tokens = [jnp.asarray(window) for window in tokens]

        def step(params, tokens):
            loss, grads = jax.value_and_grad(self.loss)(params, tokens)
            if clip:
                clipping = optax.clip_by_global_norm(clip)
                grads, _ = clipping.update(grads, clipping.init(params))
            change = lambda p, g: p - LEARNING_RATE * g
            return jax.tree.map(change, params, grads), loss

        step = jax.jit(step, donate_argnums=0)
        self._step, self.compile_seconds = timing.compile_ahead(
            step, self.params, tokens[0]
        )
        self._windows = itertools.cycle(tokens)

    def step(self):
        self.params, loss = self._step(self.params, next(self._windows))
        return jax.block_until_ready(loss)


class Ours(Jax):
    """`lstm_jax.models.language_model.LanguageModel`, as its task trains it."""

    def prepare(self, weights):
        from flax import nnx

        from lstm_jax.models.language_model import LanguageModel

        V, H = weights.embed.shape
        model = LanguageModel(
            V, embed_size=H, hidden_size=H, num_layers=LAYERS, rngs=nnx.Rngs(0)
        )
        self.nnx = nnx
        self.graph, params = nnx.split(model, nnx.Param)
        layers = {n: p._asdict() for n, p in enumerate(weights.layers)}
        tree = {
            "embed": {"embedding": weights.embed},
            "lstm": {"weights": {"forward": layers}},
            "head": {"kernel": weights.kernel, "bias": weights.bias},
        }
        nnx.replace_by_pure_dict(params, tree)
        return params

    def loss(self, params, tokens):
        model = self.nnx.merge(self.graph, params)
        return model.loss(tokens[:-1], tokens[1:])[1]

    def weights(self):
        tree = self.nnx.to_pure_dict(self.params)
        layers = tree["lstm"]["weights"]["forward"]
        layers = tuple(LSTMParams(**layers[n]) for n in range(LAYERS))
        head = tree["head"]
        return Weights(tree["embed"]["embedding"], layers, head["kernel"], head["bias"])


class ByLogits(Ours):
    """The same with the loss taken of all logits at once, by optax."""

    def loss(self, params, tokens):
        model = self.nnx.merge(self.graph, params)
        return cross_entropy(model(tokens[:-1])[1], tokens[1:])


class Nnx(Jax):
    """``nnx.Embed``, ``nnx.RNN`` around ``OptimizedLSTMCell``, ``nnx.Linear``."""

    def prepare(self, weights):
        from flax import nnx

        V, H = weights.embed.shape
        rngs = nnx.Rngs(0)
        cells = [nnx.OptimizedLSTMCell(H, H, rngs=rngs) for _ in range(LAYERS)]
        modules = [
            nnx.Embed(V, H, rngs=rngs),
            *(nnx.RNN(cell, time_major=True) for cell in cells),
            nnx.Linear(H, V, rngs=rngs),
        ]
        trees = [
            {"embedding": weights.embed},
            *({"cell": _nnx_cell(params)} for params in weights.layers),
            {"kernel": weights.kernel, "bias": weights.bias},
        ]
        self.nnx, self.graphs, states = nnx, [], []
        for module, tree in zip(modules, trees, strict=True):
            graph, state, rest = nnx.split(module, nnx.Param, ...)
            nnx.replace_by_pure_dict(state, tree)
            self.graphs.append((graph, rest))
            states.append(state)
        return states

    def loss(self, states, tokens):
        hs = tokens[:-1]
        for (graph, rest), state in zip(self.graphs, states, strict=True):
            hs = self.nnx.merge(graph, state, rest, copy=True)(hs)
        return cross_entropy(hs, tokens[1:])

    def weights(self):
        embed, *cells, head = map(self.nnx.to_pure_dict, self.params)
        layers = []
        for cell in cells:
            i, h = cell["cell"]["dense_i"], cell["cell"]["dense_h"]
            layers.append(LSTMParams(i["kernel"], h["kernel"], h["bias"]))
        return Weights(embed["embedding"], tuple(layers), head["kernel"], head["bias"])


def _nnx_cell(params):
    hidden = {"kernel": params.w_h, "bias": params.b}
    return {"dense_i": {"kernel": params.w_x}, "dense_h": hidden}


def cross_entropy(logits, targets):
    """Mean nats, as optax computes them."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


class Torch:
    """``nn.Embedding``, ``nn.LSTM``, ``nn.Linear`` and ``optim.SGD``."""

    compile_seconds = None

    def __init__(self, weights, tokens, clip):
        import torch

        torch.set_num_threads(cores())
        gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        device = "cuda" if gpu else "cpu"
        nn, (V, H) = torch.nn, weights.embed.shape
        array = lambda a: nn.Parameter(torch.tensor(np.asarray(a)))
        self.torch = torch
        self.embed = nn.Embedding(V, H)
        self.embed.weight = array(weights.embed)
        self.lstm = others.load(torch, nn.LSTM(H, H, LAYERS), weights.layers)
        # Two biases of the same gates would each take a step.
        for name, parameter in self.lstm.named_parameters():
            parameter.requires_grad_(not name.startswith("bias_hh"))
        self.head = nn.Linear(H, V)
        self.head.weight, self.head.bias = array(weights.kernel.T), array(weights.bias)
        modules = nn.ModuleList([self.embed, self.lstm, self.head]).to(device)
        self.clip = clip
        self.trained = [p for p in modules.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.trained, lr=LEARNING_RATE)
        tokens = torch.tensor(np.asarray(tokens, np.int64), device=device)
        self.windows = itertools.cycle(tokens.unbind())

    def step(self):
        self.optimizer.zero_grad()
        tokens = next(self.windows)
        logits = self.head(self.lstm(self.embed(tokens[:-1]))[0])
        loss = self.torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[1:].flatten()
        )
        loss.backward()
        if self.clip:
            self.torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        return loss.item()

    def weights(self):
        array = lambda p: p.detach().cpu().numpy().copy()
        layers = []
        for n in range(LAYERS):
            names = (f"weight_ih_l{n}", f"weight_hh_l{n}", f"bias_ih_l{n}")
            layers.append(LSTMParams(*(array(getattr(self.lstm, k)).T for k in names)))
        head = (array(self.head.weight).T, array(self.head.bias))
        return Weights(array(self.embed.weight), tuple(layers), *head)


MODELS: dict[str, Callable[[Weights, np.ndarray], Any]] = {
    "lstm_jax": Ours,
    "lstm_jax by logits": ByLogits,
    "nnx Optimized": Nnx,
    "torch": Torch,
}


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language_model")
    add = parser.add_argument
    add("--quick", action="store_true", help="5 rounds of a small model")
    add("--epoch", action="store_true", help="an epoch of a published recipe, whole")
    add("--data", metavar="PATH", help="of --epoch: the text to take the words from")
    add("--sizes", type=_sizes, metavar="B,T,H,V", help="others than 20,35,200,10000")
    add("--repeats", type=int, help="rounds (31; 23 are an epoch)")
    add("--budget", type=float, default=60.0, help="seconds after which 15 suffice")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    if args.data and (args.quick or args.sizes or not args.epoch):
        parser.error(
            "--data goes with --epoch alone: its windows are those of an epoch"
        )
    args.sizes = args.sizes or (Sizes(4, 6, 16, 50) if args.quick else Sizes())
    if args.epoch:
        args.sizes = args.sizes._replace(
            T=20, clip=0.25, steps=TURN_STEPS, windows=EPOCH_TURNS * TURN_STEPS
        )
    turns = args.repeats or (5 if args.quick else EPOCH_TURNS if args.epoch else 31)
    # Part of an epoch is none.
    args.pace = race.Pace(turns, args.budget, turns if args.epoch else 15)
    return args


def _sizes(text):
    numbers = text.split(",")
    if len(numbers) != 4 or not all(n.isdecimal() and int(n) for n in numbers):
        raise argparse.ArgumentTypeError(
            f"is {text!r}, expected four numbers from 1 up, such as 20,35,200,10000"
        )
    return Sizes(*map(int, numbers))


if __name__ == "__main__":
    main()
