"""``lstm-jax reproduce``: a published figure, trained for and set beside what came out.

The receipt is a small JSON file and a plot: the config, the course of validation, what
every seed came to and how long it took, versions and machine.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.bench.machine import cores, cpu_model
from lstm_jax.commands.setup import Trained, read_config, trained
from lstm_jax.commands.tables import print_table
from lstm_jax.commands.train import train_run
from lstm_jax.config import ConfigError, read
from lstm_jax.data.text import DataError
from lstm_jax.training.plots import new_figure, save_figure
from lstm_jax.training.record import Run, RunError


class Published(NamedTuple):
    """A figure from elsewhere, and what is to be reached."""

    figure: str
    """Its name among our figures."""
    value: float | None
    source: str
    bar: float
    """What ours may be at the most."""
    seeds: tuple[int, ...] = (0,)


_ZAREMBA = "Zaremba, Sutskever & Vinyals 2014"
_FENG = "in Feng et al. 2024 minLSTM 1.555, Mamba 1.575, a Transformer 1.547 (test)"

REPRODUCTIONS = {
    "ptb_small": Published(
        "perplexity",
        114.5,
        f"{_ZAREMBA}, not regularised (TensorFlow's: 115.91)",
        bar=116.0,
        seeds=(0, 1, 2),
    ),
    "ptb_medium": Published(
        "perplexity", 82.7, f"{_ZAREMBA}, medium (TensorFlow's: 82.07)", bar=82.7
    ),
    "ptb_hour": Published("perplexity", None, "a recipe of our own", bar=100.0),
    "awd": Published(
        "perplexity",
        58.8,
        "code of Merity, Keskar & Socher 2018, not fine-tuned (paper: 57.3)",
        bar=58.8,
    ),
    "shakespeare_3min": Published(
        "loss", 1.88, "nanoGPT, its setting for a CPU", bar=1.70
    ),
    "shakespeare": Published(
        "loss", 1.4697, f"nanoGPT, its setting for a GPU; {_FENG}", bar=1.4697
    ),
}
"""Name, also of a file in configs/reproduce/, to what was published."""

_NOT_THE_RECIPE = {"run.directory", "train.block", "train.checkpoint_every"}
"""What does not change what comes out: with other steps on the way, say, a run would
come to something that is of no recipe."""


def add_command(commands) -> None:
    """``lstm-jax reproduce`` and its options."""
    command = commands.add_parser(
        "reproduce", help="train for a published figure, and keep a receipt"
    )
    add = command.add_argument
    add("name", choices=REPRODUCTIONS)
    add("overrides", nargs="*", metavar="key.path=value")
    add("--configs", type=Path, default=Path("configs/reproduce"))
    add("--out", type=Path, default=Path("docs/results"), help="where receipts go")
    command.set_defaults(command=reproduce)


def reproduce(args) -> int:
    """The command; what was interrupted goes on where it stopped."""
    published = REPRODUCTIONS[args.name]
    path = args.configs / f"{args.name}.toml"
    if not path.exists():
        raise ConfigError(
            f"{path} is not there; run this in the project's folder, or name that of "
            f"its configs with --configs FOLDER."
        )
    values = read(path)
    first = read_config(values, args.overrides)
    folder = Path(first.run.directory or Path("runs/reproduce") / args.name)
    _check(args, first)
    runs = []
    for seed in published.seeds:
        directory = folder / f"seed-{seed}"
        mine = [f"seed={seed}", f"run.directory={directory}"]
        config = read_config(values, [*args.overrides, *mine])
        print(f"\n{args.name}, seed {seed}")
        there = (directory / "config.toml").exists()
        _, step, complete = train_run(
            config, directory, resume=there, free=_NOT_THE_RECIPE
        )
        if not complete:
            print(f"stopped at step {step:,}; the same command goes on.")
            return 130
        runs.append(trained(directory))
    facts = receipt(args.name, runs, args.overrides)
    tell(facts)
    print("receipt:", *write(facts, args.out))
    return 0


def _check(args, config):
    """What would be found out too late, after hours of training."""
    own = [o for o in args.overrides if o.startswith(("seed=", "train.seeds="))]
    if own:
        raise ConfigError(f"{own[0]}: a reproduction has seeds of its own.")
    if not Path(config.data.path).exists():
        raise DataError(
            f"data.path={config.data.path} is not there; give your own copy with "
            f"data.path=PATH (docs/language_models.md says which)."
        )
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--out {args.out} cannot be a folder: {error.strerror}; name another."
        ) from error


def receipt(
    name: str, runs: Sequence[Trained], overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """What is kept of the runs of one name."""
    published, task = REPRODUCTIONS[name], runs[0].task
    part = task.final_part
    seeds = [_of_one_seed(run, part) for run in runs]
    obtained = float(np.mean([seed[published.figure] for seed in seeds]))
    facts = runs[0].run.read_json("run.json")
    own = {"data.path", *_NOT_THE_RECIPE}
    return {
        "name": name,
        "figure": f"{part} {published.figure}",
        "published": published.value,
        "source": published.source,
        "bar": published.bar,
        "obtained": obtained,
        "reached": obtained <= published.bar,
        "changed": [o for o in overrides if o.partition("=")[0] not in own],
        "seeds": seeds,
        "parameters": facts["parameters"],
        "data": {"sha256": facts["sha256"], "vocabulary": facts["vocabulary"]},
        "config": _config(task.config),
        "machine": {"cpu": cpu_model(), "cores": cores(), "device": facts["device"]},
        "python": facts["python"],
        "versions": facts["versions"],
    }


def _of_one_seed(run, part):
    metrics = run.run.metrics()
    valid = [line for line in metrics if "valid_loss" in line]
    losses = [line["loss"] for line in metrics if "loss" in line]
    ends = [line["step"] for line in valid]
    starts = [0, *ends[:-1]]
    seconds = run.run.read_json("run.json")["seconds"]
    return {
        "seed": run.task.config.seed,
        **run.run.read_json(f"result-{part}.json"),
        "best_step": int(run.validation.best_step[0]),
        "minutes": round(seconds / 60, 2),
        "course": {
            "step": ends,
            "valid_loss": [round(line["valid_loss"], 4) for line in valid],
            "train_loss": [
                round(float(np.mean(losses[a:b])), 4)
                for a, b in zip(starts, ends, strict=True)
            ],
        },
    }


def _config(config):
    """As it was, but for the place of the data on this machine."""
    values = dataclasses.asdict(config)
    values["data"]["path"] = Path(values["data"]["path"]).name
    return {key: values[key] for key in values if key not in ("run", "seed")}


def write(facts: dict[str, Any], folder: Path) -> list[Path]:
    """The receipt and, if matplotlib is there, its plot; those of another recipe than
    the one in the project's folder under a name of their own."""
    name = facts["name"] + ("-changed" if facts["changed"] else "")
    Run(folder).write_json(f"{name}.json", facts)
    path = folder / f"{name}.json"
    try:
        return [path, plot(facts, folder / f"{name}.png")]
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed; pip install 'lstm-jax[plots]'")
        return [path]


def plot(facts: dict[str, Any], path: Path) -> Path:
    """The course of every seed, training and validation, beside what was published.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    kind = facts["figure"].split()[-1]
    convert = np.exp if kind == "perplexity" else np.asarray
    figure, axes = new_figure()
    for seed in facts["seeds"]:
        course, first = seed["course"], seed is facts["seeds"][0]
        for part, color in (("train", "#9ecae1"), ("valid", "#08519c")):
            line = convert(course[f"{part}_loss"])
            axes.plot(course["step"], line, color=color, label=part if first else None)
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
    name = facts["figure"].split()[-1]
    rows = [
        (f"seed {seed['seed']}", seed[name], seed["minutes"]) for seed in facts["seeds"]
    ]
    minutes = sum(seed["minutes"] for seed in facts["seeds"])
    if len(rows) > 1:
        rows.append(("mean", facts["obtained"], minutes / len(rows)))
    rows.append((facts["source"], facts["published"], None))
    rows.append(("the bar", facts["bar"], None))
    print_table([facts["name"], facts["figure"], "minutes"], rows)
    print("reached." if facts["reached"] else "not reached.")
    if facts["changed"]:
        print("the recipe was changed:", *facts["changed"])
