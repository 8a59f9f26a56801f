"""Files of Keras: ``.keras``, and ``.h5`` of models or of weights, without Keras.

The arrays are read by h5py and the description of the model as JSON, so that nothing of
a file runs: layers of Python code, which such files can hold, stay text. Names become
those of the layouts ``keras``, ``keras.gru``, ...:

    layers/lstm/cell/vars/0                       layers.lstm.kernel
    layers/bidirectional/forward_layer/cell/...   layers.bidirectional.forward. ...

A layer whose description says that it is not as ours (`keras_facts`) is refused.
"""

import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lstm_jax.interop.entries import (
    TOO_LARGE,
    Budget,
    Entries,
    Entry,
    by_dots,
    entry,
    nothing,
)
from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.keras_facts import FACTS, MERGES, differences

LARGEST_CONFIG = 64 * 2**20
DEEPEST = 64
"""Levels of a description, and of groups in a file."""

VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""What a recurrent cell makes, in this order; Keras 3 keeps their numbers."""


class Facts(NamedTuple):
    """What a description says of the layers of one name."""

    differences: tuple[str, ...]
    merge: str = ""


def open_keras(path: Path, budget: Budget) -> Entries:
    """The arrays of a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive:
        config = archive.getinfo("config.json")
        weights = archive.getinfo("model.weights.h5")
        if config.file_size > LARGEST_CONFIG or weights.file_size > budget.left:
            raise InteropError(TOO_LARGE)
        with archive.open(config) as file:
            description = json.loads(file.read(LARGEST_CONFIG))
        with archive.open(weights) as file:
            data = io.BytesIO(file.read(weights.file_size))
    return _open(data, description, budget)


def open_h5(path: Path, budget: Budget) -> Entries:
    """The arrays of a ``.h5`` file."""
    return _open(path, None, budget)


def _open(source, description, budget):
    import h5py

    file = h5py.File(source, "r")
    if description is None and "model_config" in file.attrs:
        said: Any = file.attrs["model_config"]
        description = json.loads(said)
    by_name = _by_name(description)
    numbered = "layer_names" not in {*file.attrs, *_attributes(file, "model_weights")}
    found = []
    for path, dataset in _datasets(file, (), set(), h5py):
        names = [*(_names_beside(file, path) if numbered else path)]
        merges = {by_name[name].merge for name in names if name in by_name}
        merge = "".join(merges)
        name = _renamed(".".join(path), dataset.parent, in_two_directions=bool(merge))
        one = _entry(name, dataset, budget)
        found.append((name, _judged(one, name, names, merge, by_name)))
    return by_dots(found)


def _datasets(group, path, seen, h5py) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dataset by its path; links to other places and files are not followed."""
    address = h5py.h5o.get_info(group.id).addr
    if address in seen or len(path) > DEEPEST:
        raise InteropError(f"its groups have no end, or {DEEPEST} levels and more.")
    seen.add(address)
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            inner = group[name]
            if isinstance(inner, h5py.Group):
                yield from _datasets(inner, (*path, name), seen, h5py)
            elif isinstance(inner, h5py.Dataset):
                yield (*path, name), inner


def _attributes(file, group) -> Mapping[str, Any]:
    return file[group].attrs if group in file else {}


def _names_beside(file, path) -> Iterator[str]:
    """The names of the layers that an array is in, as Keras 3 notes them beside the
    variables of each; the path itself has names that only count the layers."""
    for n in range(len(path)):
        attributes = _attributes(file, "/".join((*path[:n], "vars")))
        if "name" in attributes:
            yield str(attributes["name"])


def _renamed(name, group, in_two_directions):
    """A name in the words of our layouts."""
    name = re.sub(r"\.(forward|backward)_layer\b(\.cell)?", r".\1", name)
    if in_two_directions:  # Keras 2 has forward_NAME for any name
        name = re.sub(r"\.(forward|backward)_\w+\.\w+_cell(_\d+)?", r".\1", name)
    number = re.search(r"(\.cell)?\.vars\.([012])$", name)
    if number is None or len(getattr(group.get("1"), "shape", ())) < 2:
        return name  # a dense layer has its bias as the second
    return f"{name[: number.start()]}.{VARIABLES[int(number[2])]}"


def _entry(name, dataset, budget) -> Entry:
    if dataset.external or dataset.is_virtual or dataset.shape is None:
        return nothing(
            f"{name} keeps its numbers elsewhere, expected them in the file."
        )

    def load():
        budget.spend(dataset.size * dataset.dtype.itemsize)
        return dataset[()]

    return entry(name, dataset.shape, dataset.dtype.name, load)


# The description


def _by_name(description) -> dict[str, Facts]:
    """What is said of every name; of one that two layers have, all of it."""
    found: dict[str, Facts] = {}
    for name, facts in _facts(description):
        before = found.get(name, Facts(()))
        found[name] = Facts(
            before.differences + facts.differences, before.merge or facts.merge
        )
    return found


def _facts(description, depth=0) -> Iterator[tuple[str, Facts]]:
    """What is said of every recurrent layer, and of the layers around them, by name."""
    if depth > DEEPEST:
        raise InteropError(f"its description is nested deeper than {DEEPEST} levels.")
    if isinstance(description, Mapping):
        kind, config = description.get("class_name"), description.get("config")
        if isinstance(config, Mapping) and "name" in config:
            facts = _of_layer(str(kind), config)
            if facts is not None:
                yield str(config["name"]), facts
        description = [*description.values()]
    if isinstance(description, list):
        for inner in description:
            yield from _facts(inner, depth + 1)


def _of_layer(kind, config) -> Facts | None:
    if kind == "Bidirectional":
        inner = [config.get("layer"), config.get("backward_layer")]
        found = [d for one in inner for d in _inside(one) if "go_backwards" not in d]
        merge = config.get("merge_mode", "concat")
        return Facts(tuple(found), MERGES.get(merge, str(merge)))
    if kind == "RNN":
        return Facts(tuple(_inside(config.get("cell"))) + _backwards(config))
    if kind.removesuffix("Cell") not in FACTS:
        return None
    return Facts(tuple(differences(kind, config.get)) + _backwards(config))


def _backwards(config):
    return ("go_backwards=True, expected False",) if config.get("go_backwards") else ()


def _inside(description):
    return [d for _, facts in _facts(description) for d in facts.differences]


def _judged(one: Entry, name, names, merge, said) -> Entry:
    """The entry, refused where a layer that it is in is not as ours."""
    facts = [said[name] for name in dict.fromkeys(names) if name in said]
    if not facts and name.partition(":")[0].rpartition(".")[2] in VARIABLES:
        facts = [
            *said.values()
        ]  # the description has not its name: it may be any layer's
    found = dict.fromkeys(d for fact in facts for d in fact.differences)
    if merge:  # the second layer of two goes backwards
        found = {d: None for d in found if "go_backwards" not in d}
    refusal = (
        f"the layer of {name} has {'; '.join(found)}; its weights alone would compute "
        f"something else."
    )
    refusal = one.refusal or (refusal if found else "")
    layer = next((name for name in names if name in said), "")
    return dataclasses.replace(one, merge=merge, refusal=refusal, layer=layer)
