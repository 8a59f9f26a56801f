"""Config keys of older versions, and the keys that hold the same now.

`updated` translates the values of a file, be it a config or the config.toml of a run.
Files of older versions therefore work as they are, and ``lstm-jax config FILE`` prints
them with the keys of now. On the command line an old key is an error that names the new
one (`check_new`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lstm_jax.config import ConfigError

RENAMED = {
    "name": "kind",
    "warmup_steps": "schedule.warmup_steps",
    "final_share": "schedule.final_fraction",
    "decay": "schedule.decay",
    "decay_after": "schedule.after",
    "average_decay": "average.decay",
    "average_after": "average.after",
}
"""Keys of ``[optimizer]`` that have moved."""

NOTHING_BY_ZERO = (
    "final_share",
    "decay",
    "decay_after",
    "average_decay",
    "average_after",
    "momentum",
    "weight_decay",
    "beta1",
    "beta2",
    "clip_value",
)
"""Keys of ``[optimizer]`` that were 0 where nobody set them."""


def updated(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a config file with the keys of now.

    >>> updated({"optimizer": {"name": "sgd", "schedule": "constant", "decay": 0.0}})
    {'optimizer': {'schedule': {'kind': 'constant'}, 'kind': 'sgd'}}
    """
    old = values.get("optimizer")
    if not isinstance(old, Mapping) or "kind" in old or not [*_old_keys(old)]:
        return values
    new = dict(old)
    for table in ("schedule", "average"):
        if isinstance(new.get(table), str):
            new[table] = {"kind": new[table]}
    if new.get("average") == {"kind": "none"}:
        del new["average"]
    if _is_zero(new.get("clip_norm")):
        new["clip_norm"] = "none"
    for key in NOTHING_BY_ZERO:
        if _is_zero(new.get(key)):
            del new[key]
    for key, path in RENAMED.items():
        if key in new:
            _move(new, key, path)
    if old.get("schedule") == "epochs":  # without decay_after, that was 0
        new["schedule"] = {"after": 0} | new["schedule"]
    return values | {"optimizer": new}


def check_new(values: Mapping[str, Any]) -> None:
    """Raises ConfigError if a config has a key of older versions, naming the new one.

    >>> check_new({"optimizer": {"name": "sgd"}})
    Traceback (most recent call last):
        ...
    lstm_jax.config.keys.ConfigError: optimizer.name is now optimizer.kind; use that.
    """
    optimizer = values.get("optimizer")
    if isinstance(optimizer, Mapping) and (found := [*_old_keys(optimizer)]):
        raise ConfigError(
            "\n".join(f"{old} is now {new}; use that." for old, new in found)
        )


def _old_keys(optimizer) -> Iterator[tuple[str, str]]:
    for key, path in RENAMED.items():
        if key in optimizer:
            yield f"optimizer.{key}", f"optimizer.{path}"
    for table in ("schedule", "average"):
        word = optimizer.get(table)
        if isinstance(word, str) and word != "none":
            yield f"optimizer.{table}={word}", f"optimizer.{table}.kind={word}"
    if _is_zero(optimizer.get("clip_norm")):
        yield "optimizer.clip_norm=0", "optimizer.clip_norm=none"


def _is_zero(value):
    return type(value) in (int, float) and value == 0


def _move(table, key, path):
    """Moves a value, unless the new key has one already."""
    *sections, name = path.split(".")
    target = table
    for section in sections:
        inner = target.get(section, {})
        if not isinstance(inner, Mapping):
            return
        target[section] = dict(inner)
        target = target[section]
    if name not in target:
        target[name] = table.pop(key)
