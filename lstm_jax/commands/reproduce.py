"""``lstm-jax reproduce``: trains a published model and compares the result.

The receipt is a small JSON file and a plot: the config, the curves, the result and the
time of every seed, versions and machine.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lstm_jax import files
from lstm_jax.commands.arguments import add_overrides, local_path
from lstm_jax.commands.receipts import (
    altering,
    data_paths,
    machine_of,
    not_the_recipe,
    recipe_of,
)
from lstm_jax.config import ConfigError, changes, read
from lstm_jax.data.text import DataError
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.extras import print_plots
from lstm_jax.runs.load import Trained, trained
from lstm_jax.runs.old_keys import updated
from lstm_jax.runs.shipped import shipped_folder
from lstm_jax.runs.train import last_weights, train_run
from lstm_jax.tables import print_table
from lstm_jax.terminal import say
from lstm_jax.training.metrics import Metric
from lstm_jax.training.plots import new_figure, save_figure
from lstm_jax.training.run_errors import cannot_write, make_folder
from lstm_jax.training.run_folder import Run


class Published(NamedTuple):
    """A published result, and the bar for ours."""

    figure: str
    """The name of the metric."""
    value: float | None
    source: str
    bar: float
    """The value that counts as reached, or a better one."""
    data: str
    """The SHA-256 of the data and their splits; where runs have several, that of them
    all."""
    recipe: str
    """That of the config, as `digest` takes it."""
    seeds: tuple[int, ...] = (0,)
    minutes: float | None = None
    """The longest time for a seed."""
    also: Mapping[str, float] = MappingProxyType({})
    """Other metrics and their bars; lower values are better."""
    variants: tuple[str, ...] = ()
    """Changes to the recipe, one for each run instead of seeds, such as what is left
    out for testing."""
    of_last_step: bool = False
    """Whether it is of the parameters after the last step, as published, and not of
    those that were best in validation."""

    @property
    def runs(self) -> list[tuple[str, str]]:
        """The folder of each run, and what of the recipe it changes."""
        if self.variants:
            return [(f"variant-{n}", change) for n, change in enumerate(self.variants)]
        return [(f"seed-{seed}", f"seed={seed}") for seed in self.seeds]


OF_LOSS = ("loss", "perplexity")
"""Metrics that a curve of the loss shows."""

_ZAREMBA = "Zaremba, Sutskever & Vinyals 2014"
_FENG = "in Feng et al. 2024 minLSTM 1.555, Mamba 1.575, a Transformer 1.547 (test)"
_PENN_TREEBANK = "8024837dbc63d627bf49405d324706ae56d7343d8e4369cc9775aa0f088ed595"
_SHAKESPEARE = "54f1a840a7cc264e57da755fefb3917c9409cbeca311131f41bc1a486b661aff"

_ETTH1 = "be765d4a5376dae07e878c84051dbfc3f199c04b06543b85c9d6409484bf00d0"
_ETTH1_END = "1b210b68efa1fd50b501de2cfcf2bc32ea636320ee5204034b03c26a63ee1196"
_M4_HOURLY = "7ffca1066dde0072c1b9d4992b69a566bb46ebc86a3f498dba2323ee729c9336"
_MULTI30K_EN_DE = "980c151d22cc73e11b5af248803c4d231f162e325748e25f5e611be7ea7f39cf"
_MULTI30K_DE_EN = "ea7480d375e34018fba3ad85871eaee12247ec3f601d4cf2a20c580a81d8cf5f"
_MULTI30K = "8659e926954fcfc30a3e28f4708ff3cc6907ba56d3b676095dd834203c59bdda"
"""The recipe of both directions."""
_SEGRNN = {
    96: (0.351, "5e72b027b2d1b0a250ba70cb457e18aea54303d548d4de0935d7050d716a6e16"),
    192: (0.392, "e17af66c94416dc36c2e59b541a698425774bf8b3428bd533a3dca919d8fd292"),
    336: (0.423, "d2056c8f9efb2fbe15062238f3993fb5fbae2e36f94f31a00fbbcc28badd9fd9"),
    720: (0.466, "f55c5ba614019048a0540233059ee085338b38b621220c81a7f8a1bbd080e595"),
}
"""By horizon the published figure, and the SHA-256 of our recipe."""
_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
"""Of the Free Spoken Digit Dataset."""

REPRODUCTIONS = {
    "ptb_small": Published(
        "perplexity",
        114.5,
        f"{_ZAREMBA}, not regularised (TensorFlow's: 115.91)",
        bar=116.0,
        data=_PENN_TREEBANK,
        recipe="e80265d67a53e19e0f30174a46981818aa388e90acbe404fde5c5d054d2b161d",
        seeds=(0, 1, 2),
        of_last_step=True,
    ),
    "ptb_medium": Published(
        "perplexity",
        82.7,
        f"{_ZAREMBA}, medium (TensorFlow's: 82.07)",
        bar=82.7,
        data=_PENN_TREEBANK,
        recipe="c3121464b996fc44cd6f5954cf8e811565f27af08297ced5ba160f9a80408b03",
        of_last_step=True,
    ),
    "ptb_hour": Published(
        "perplexity",
        None,
        "a recipe of our own",
        bar=100.0,
        data=_PENN_TREEBANK,
        recipe="39b7e2c237b7c5fe5e2d7702ff2e108e5aaedba4a998637f613959e88fb5f586",
        minutes=60.0,
    ),
    "awd": Published(
        "perplexity",
        58.8,
        "code of Merity, Keskar & Socher 2018, not fine-tuned (paper: 57.3)",
        bar=58.8,
        data=_PENN_TREEBANK,
        recipe="809d247e62eb2d959de7a74137fd7a279a89c97df0cfd82d924d890ea57aec70",
    ),
    "shakespeare_3min": Published(
        "loss",
        1.88,
        "nanoGPT, its setting for a CPU",
        bar=1.70,
        data=_SHAKESPEARE,
        recipe="53d7915376dc0dd5f108c10784811746390d83ca309ac5f6417f704b481fdbec",
        minutes=3.0,
    ),
    "shakespeare": Published(
        "loss",
        1.4697,
        f"nanoGPT, its setting for a GPU; {_FENG}",
        bar=1.4697,
        data=_SHAKESPEARE,
        recipe="ca0804592d28136ff165adccc82e8bfc18b8eb1fc4c922c6fb46574fac25c402",
        minutes=60.0,
    ),
    **{
        f"etth1_{horizon}": Published(
            "mse",
            value,
            "SegRNN (Lin et al. 2023), corrected",
            bar=value,
            data=_ETTH1,
            recipe=recipe,
            seeds=(0, 1, 2),
            minutes=15.0,
        )
        for horizon, (value, recipe) in _SEGRNN.items()
    },
    "etth1_quantiles": Published(
        "wql",
        0.233,
        "DeepAR in GIFT-Eval, on sums of quarter-hours",
        bar=0.190,
        data=_ETTH1_END,
        recipe="c1ada8bf06532641572f0bb4e094e6eab71f46eeb3b31bfa2f3764fd535f631b",
        minutes=15.0,
    ),
    "m4_hourly": Published(
        "owa",
        0.440,
        "ES-RNN, the winner of M4 (Smyl 2020)",
        bar=0.440,
        data=_M4_HOURLY,
        recipe="d2af4d297b461d851170e56787b49417272e44f4f0bb58f7cb70969f074f72a4",
        minutes=30.0,
    ),
    "multi30k_en_de": Published(
        "bleu",
        35.5,
        "OpenNMT-py, 2 x 500 units with attention",
        bar=36.5,
        data=_MULTI30K_EN_DE,
        recipe=_MULTI30K,
        seeds=(0, 1, 2),
        minutes=60.0,
    ),
    "multi30k_de_en": Published(
        "bleu",
        36.1,
        "a biLSTM with bilinear attention, beam search, validation split",
        bar=39.0,
        data=_MULTI30K_DE_EN,
        recipe=_MULTI30K,
        minutes=60.0,
    ),
    "fsdd": Published(
        "accuracy",
        0.997,
        "a convolutional network on cepstra; no LSTM was found",
        bar=0.993,
        data="a2c8c000d986104df9e6dc4346cb9f495c32a5d6aeb1f2bb47fe49f5273f562f",
        recipe="ef04bca808560df79b949820a5eb365c7e24bdc18ae227268cea681d67aaf77f",
        seeds=(0, 1, 2, 3, 4),
    ),
    "fsdd_speakers": Published(
        "accuracy",
        None,
        "a recipe of our own",
        bar=0.93,
        data="93295c3ed056339031117516fe43ad45fa354c3f91eebb4b08395298b8ecbd09",
        recipe="e6b4890f71c6c572d94c15b35360931b0c6ee3e6ff52d9eb1536d8ff2746d256",
        variants=tuple(f'data.test_groups=["{name}"]' for name in _SPEAKERS),
    ),
    "fsdd_connected": Published(
        "wer_0dB",
        None,
        "a recipe of our own",
        bar=0.08,
        also=MappingProxyType({"wer_10dB": 0.02, "wer_20dB": 0.01}),
        data="635d18b3d40c20e5f52bbb666043031f7306d616fa67575f02ed261fa5dbe76d",
        recipe="1b7e6604140f5ee6160757178e1d5383857399e844a80d0b99db90546b51e8aa",
    ),
}
"""Name, also of a file in configs/reproduce/, to what was published."""


def add_command(commands) -> None:
    """``lstm-jax reproduce`` and its options."""
    command = commands.add_parser(
        "reproduce", help="train a published result, and keep a receipt"
    )
    add = command.add_argument
    add("name", choices=REPRODUCTIONS)
    add_overrides(command)
    add("--configs", type=local_path, help="a folder of configs (those of lstm_jax)")
    add(
        "--out",
        type=local_path,
        default=Path("docs/results"),
        help="the folder for receipts (docs/results)",
    )
    command.set_defaults(command=reproduce)


def reproduce(args) -> int:
    """The command; it continues runs that were interrupted."""
    published = REPRODUCTIONS[args.name]
    path = (args.configs or shipped_folder() / "reproduce") / f"{args.name}.toml"
    if not os.path.exists(path):
        raise ConfigError(
            f"{path} does not exist; name the folder of the configs with --configs "
            f"FOLDER, or leave --configs out."
        )
    values = read(path)
    recipe = digest(updated(values))
    first = read_config(values, args.overrides)
    folder = Path(first.run.directory or Path("runs/reproduce") / args.name)
    _check(args, first)
    runs = []
    for name, change in published.runs:
        directory = folder / name
        mine = [change, f"run.directory={directory}"]
        config = read_config(values, [*args.overrides, *mine])
        print(f"\n{args.name}, {change.replace('=', ' ')}")
        there = Run(directory).has_begun
        free = not_the_recipe(config.task)
        outcome = train_run(config, directory, resume=there, free=free)
        if outcome.stopped_by:
            print(f"stopped at step {outcome.step:,}; the same command continues.")
            return 130
        runs.append(trained(directory))
    facts = receipt(args.name, runs, recipe, args.overrides)
    tell(facts)
    say("receipt:", *write(facts, args.out))
    return 0


def _check(args, config):
    """Checks the arguments before hours of training."""
    own = [o for o in args.overrides if o.startswith(("seed=", "train.seeds="))]
    if own:
        raise ConfigError(f"{own[0]}: a reproduction has seeds of its own.")
    for key in data_paths(config.task):
        path = getattr(config.data, key.removeprefix("data."), "")
        if path and not os.path.exists(path):
            raise DataError(
                f"{key}={path} is not there; give your own copy with {key}=PATH "
                f"(docs/results.md says which)."
            )
    make_folder(args.out, "--out")


def digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of a recipe: of what its file holds and has a say in the outcome."""
    held = {key: value for key, (_, value) in changes({}, values).items()}
    free = not_the_recipe(values["task"])
    recipe = {key: held[key] for key in held if key not in free}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def receipt(
    name: str, runs: Sequence[Trained], recipe: str, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """What is kept of the runs of one name, with a recipe of this `digest`."""
    published, task = REPRODUCTIONS[name], runs[0].task
    part = task.final_split
    seeds = [_of_one_seed(run, part, published) for run in runs]
    for kept, change in zip(seeds, published.variants, strict=False):
        kept["variant"] = change
    obtained = float(np.mean([seed["obtained"] for seed in seeds]))
    minutes = max(seed["minutes"] for seed in seeds)
    in_time = published.minutes is None or minutes <= published.minutes
    metric = task.metrics.get(published.figure, Metric())
    higher = metric.better == "higher"
    good = obtained >= published.bar if higher else obtained <= published.bar
    others = {
        name: float(np.mean([seed[name] for seed in seeds])) for name in published.also
    }
    good &= all(value <= published.also[name] for name, value in others.items())
    facts = runs[0].run.read_json("run.json")
    changed = altering(overrides, task.config.task)
    if recipe != published.recipe:
        changed.append("the recipe")
    if _data_of(runs) != published.data:
        changed.append("the data")
    return {
        "name": name,
        "figure": f"{part} {published.figure}",
        "published": published.value,
        "source": published.source,
        "bar": published.bar,
        "minutes": published.minutes,
        "obtained": obtained,
        **({"also": others, "bars": dict(published.also)} if others else {}),
        "reached": good and in_time,
        "changed": changed,
        "seeds": seeds,
        "parameters": facts["parameters"],
        "data": {key: facts[key] for key in ("sha256", "vocabulary") if key in facts},
        "config": recipe_of(task.config),
        "machine": machine_of(runs),
        "python": facts["python"],
        "versions": facts["versions"],
    }


def _data_of(runs):
    """The SHA-256 of the data; where runs have several, that of them all."""
    each = list(dict.fromkeys(run.run.read_json("run.json")["sha256"] for run in runs))
    if len(each) == 1:
        return each[0]
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def _of_one_seed(run, part, published):
    valid = run.run.evaluations()
    losses = {m["step"]: m["loss"] for m in run.run.metrics() if "loss" in m}
    ends = [line["step"] for line in valid]
    starts = [0, *ends[:-1]]
    between = lambda a, b: [losses[n] for n in range(a + 1, b + 1) if n in losses]
    seconds = run.run.read_json("run.json")["seconds"]
    best = run.run.read_json(f"result-{part}.json")
    figures = {"obtained": best[published.figure]} | best
    if published.of_last_step:
        last = run.task.evaluate(last_weights(run), part)
        figures |= {"obtained": last[published.figure], "last": last}
    of_figure, shown = f"valid_{published.figure}", {}
    if published.figure not in OF_LOSS:
        shown = {of_figure: [round(line[of_figure], 4) for line in valid]}
    return {
        "seed": run.task.config.seed,
        **figures,
        "best_step": int(run.validation.best_step[0]),
        "minutes": round(seconds / 60, 2),
        "course": {
            "step": ends,
            "valid_loss": [round(line["valid_loss"], 4) for line in valid],
            "train_loss": [
                round(float(np.mean(between(a, b))), 4) if between(a, b) else None
                for a, b in zip(starts, ends, strict=True)
            ],
        }
        | shown,
    }


def write(facts: dict[str, Any], folder: Path) -> list[Path]:
    """The receipt and, if matplotlib is there, its plot; those of another recipe or
    text than `REPRODUCTIONS` knows under a name of their own.

    Raises:
        RunError: they cannot be written.
    """
    name = facts["name"] + ("-changed" if facts["changed"] else "")
    path = folder / f"{name}.json"
    try:
        files.write_json(path, facts)
    except OSError as error:
        raise cannot_write(path, error, "the runs are kept") from error
    return [path, *print_plots(lambda: [plot(facts, folder / f"{name}.png")], "plot")]


def plot(facts: dict[str, Any], path: Path) -> Path:
    """The curves of every seed, training and validation, beside what was published.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    kind = facts["figure"].split()[-1]
    convert = np.exp if kind == "perplexity" else np.asarray
    figure, axes = new_figure()
    curves = {"train_loss": ("train", "#9ecae1"), "valid_loss": ("valid", "#08519c")}
    if kind not in OF_LOSS:
        curves = {f"valid_{kind}": ("valid", "#08519c")}
    for seed in facts["seeds"]:
        course, first = seed["course"], seed is facts["seeds"][0]
        for name, (part, color) in curves.items():
            line = convert(np.array(course[name], float))
            axes.plot(course["step"], line, color=color, label=part if first else None)
        if kind not in OF_LOSS:
            label = facts["figure"].split()[0] if first else None
            best = [seed["best_step"]], [seed["obtained"]]
            axes.plot(*best, "x", color="#d94801", label=label)
    lines = [("bar", facts["bar"], ":")]
    if facts["published"] is not None:
        lines.append((facts["source"], facts["published"], "--"))
    for label, value, style in lines:
        axes.axhline(value, color="#d94801", ls=style, lw=1, label=label)
    axes.set(xlabel="step", ylabel=kind)
    if kind == "perplexity":
        axes.set_yscale("log")
    axes.set_title(f"{facts['name']}: {facts['figure']} {facts['obtained']:.4g}")
    axes.legend(frameon=False)
    return save_figure(figure, path)


def tell(facts: dict[str, Any]) -> None:
    """Published and obtained, side by side."""
    name, seeds = facts["figure"].split()[-1], facts["seeds"]
    rows = []
    for seed in seeds:
        whose = seed.get("variant", f"seed {seed['seed']}")
        rows.append((whose, seed["obtained"], seed["minutes"]))
        if "last" in seed:
            rows.append(("  at its best in validation", seed[name], None))
    if len(seeds) > 1:
        minutes = float(np.mean([seed["minutes"] for seed in seeds]))
        rows.append(("mean", facts["obtained"], minutes))
    rows.append((facts["source"], facts["published"], None))
    rows.append(("the bar", facts["bar"], facts["minutes"]))
    print_table([facts["name"], facts["figure"], "minutes"], rows)
    print("reached." if facts["reached"] else "not reached.")
    if facts["changed"]:
        say("the recipe was changed:", *facts["changed"])
