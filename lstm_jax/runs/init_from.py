"""Fine-tuning: a run that starts from the best weights of another run.

The new run uses what the other run has learned of its data as well: tokenizer, classes,
features, standardisation, and the names and scales of series. Data that these do not
fit are refused when they are read.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import PyTree
from lstm_jax.config import ConfigError
from lstm_jax.core.trees import by_path
from lstm_jax.runs.configs import differences
from lstm_jax.runs.load import trained
from lstm_jax.training.metadata import Origin, read_metadata
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.step import one_seed

LEARNED = ("tokenizer", "classes", "features", "longest", "standardisation")
LEARNED += ("series", "mean", "std", "frequency", "season", "zone")
LEARNED += ("source_tokenizer", "target_tokenizer")
"""Metadata that a run has learned from its data, and that its weights belong to."""

SAME = ("task", "data.kind", "data.tokens")
"""Config keys that both runs must have the same values of."""


class Source(NamedTuple):
    """The run that another one starts from."""

    params: PyTree
    """The best weights of its best seed."""
    learned: dict[str, Any]
    """The metadata of `LEARNED` that it has."""
    origin: Origin
    """What the new run keeps of it in its metadata."""
    differing: dict[str, tuple[Any, Any]]
    """Keys of the model that may change shapes, to the values here and there."""


def source_of(config: Any) -> Source | None:
    """The run that ``train.init_from`` names; ``None`` where it is unset.

    Raises:
        RunError, ConfigError: there is no such run, it has no weights yet, or it is of
            another task or kind of data.
    """
    directory = config.train.init_from
    if directory is None:
        return None
    try:
        found = trained(directory)
    except (RunError, ConfigError) as error:
        raise type(error)(f"train.init_from: {error}") from error
    theirs = found.task.config
    for key in SAME:
        ours, other = _value(config, key), _value(theirs, key)
        if ours != other:
            raise ConfigError(
                f"train.init_from={directory} has {key}={other!r}, not {ours!r}; set "
                f"{key}={other!r}, or start from another run."
            )
    seed, metadata = found.best_seed, read_metadata(found.run)
    return Source(
        one_seed(found.params, seed, found.seeds),
        {name: metadata[name] for name in LEARNED if name in metadata},
        Origin(
            directory=str(Path(directory)),
            id=metadata.get("id", ""),
            seed=theirs.seed + seed,
            best_step=int(found.validation.best_step[seed]),
        ),
        _sizes(config, theirs),
    )


def _sizes(ours, theirs):
    """The keys of the model that differ. Rates, which change no shape, are left out."""
    return {
        key: (mine, other)
        for key, (mine, other) in differences(ours, theirs).items()
        if key.startswith("model.")
        and not (isinstance(mine, float) or isinstance(other, float))
    }


def check_same_source(source: Source, metadata: Any) -> None:
    """Raises RunError if a run, starting again at step 0, began with other weights."""
    before, now = metadata.get("init_from"), source.origin
    if before is None or (before["id"], before["best_step"]) != (now.id, now.best_step):
        raise RunError(
            f"train.init_from={now.directory} has other weights now (best at step "
            f"{now.best_step:,}) than those the run started from; start a new run with "
            f"run.directory=FOLDER."
        )


def replaced(params: PyTree, source: Source) -> PyTree:
    """The weights of the source, in the structure of ``params``.

    Raises:
        RunError: a parameter is missing on one side, or has another shape.
    """
    ours, theirs = _by_name(params), _by_name(source.params)
    for name in ours | theirs:
        mine, other = (_shape(of.get(name)) for of in (ours, theirs))
        if mine != other:
            raise RunError(
                f"train.init_from={source.origin.directory} does not fit this model: "
                f"{_why(source) or f'{name} is {other} there and {mine} here'}; use "
                f"the sizes of that run."
            )
    leaves = [jnp.array(theirs[name]) for name in ours]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _why(source):
    """The keys that differ, in words; nothing if none does."""
    said = lambda value: "unset" if value is None else json.dumps(value)
    return ", ".join(
        f"{key} is {said(other)} there and {said(mine)} here"
        for key, (mine, other) in source.differing.items()
    )


def _value(config, key):
    for name in key.split("."):
        config = getattr(config, name, None)
    return config


def _by_name(params):
    leaves = by_path(params).items()
    return {name.removesuffix(".value"): leaf for name, leaf in leaves}


def _shape(leaf):
    return "missing" if leaf is None else f"{leaf.dtype}{[*leaf.shape]}"
