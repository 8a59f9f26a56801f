"""Keras files: ``.keras``, and ``.h5`` of models or weights, read without Keras.

h5py reads the arrays, and the description of the model is read as JSON. So nothing of a
file runs: layers of Python code, which such files may contain, stay text. Names become
those of the layouts ``keras``, ``keras.gru``, ...:

    layers/lstm/cell/vars/0                       layers.lstm.kernel
    layers/bidirectional/forward_layer/cell/...   layers.bidirectional.forward. ...

A layer is refused if its description differs from our cell (`keras_facts`), if the
description leaves it out, or if its class is not one of Keras's own, which may compute
anything.
"""

import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.weights.entries import (
    TOO_LARGE,
    Budget,
    Entries,
    Entry,
    by_dots,
    entry,
    nothing,
)
from lstm_jax.interop.weights.keras_facts import FACTS, MERGES, differences

LARGEST_CONFIG = 64 * 2**20
DEEPEST = 64
"""The most levels of a description, and of groups in a file."""

VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""The variables of a recurrent cell, in order. Keras 3 stores only their numbers."""


CONTAINERS = ("Sequential", "Functional", "Model", "TimeDistributed", "InputLayer")
WRAPPERS = ("Bidirectional", "RNN", "StackedRNNCells")


class Facts(NamedTuple):
    """What a description says about the layers of one name.

    Attributes:
        differences: differences from our cell.
        merge: how the two directions are joined.
        recurrent: whether one of them is a recurrent Keras layer.
        unknown: a class among them that is not one of Keras's own.
        number: number of the layers.
    """

    differences: tuple[str, ...] = ()
    merge: str = ""
    recurrent: bool = False
    unknown: str = ""
    number: int = 1


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
        one = _judged(_entry(name, dataset, budget), name, names, merge, by_name)
        if description is not None and _is_recurrent(name, dataset.parent):
            doubt = _doubt(name, names, by_name, description)
            one = dataclasses.replace(one, doubt=doubt)
        found.append((name, one))
    return by_dots(found)


def _datasets(group, path, seen, h5py) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dataset by its path. Links to other places and files are not followed."""
    address = h5py.h5o.get_info(group.id).addr
    if address in seen or len(path) > DEEPEST:
        raise InteropError(
            f"its groups are nested deeper than {DEEPEST} levels, or in a cycle."
        )
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
    """Names of the layers that contain an array. Keras 3 stores them next to the
    variables of each layer; the path itself only numbers the layers.
    """
    for n in range(len(path)):
        attributes = _attributes(file, "/".join((*path[:n], "vars")))
        if "name" in attributes:
            yield str(attributes["name"])


def _renamed(name, group, in_two_directions):
    """Converts a name to the names of our layouts."""
    name = re.sub(r"\.(forward|backward)_layer\b(\.cell)?", r".\1", name)
    if in_two_directions:  # Keras 2 writes forward_NAME for any
        name = re.sub(r"\.(forward|backward)_\w+\.\w+_cell(_\d+)?", r".\1", name)
    number = re.search(r"(\.cell)?\.vars\.([012])$", name)
    if number is None or len(getattr(group.get("1"), "shape", ())) < 2:
        return name  # a dense layer has its bias second
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
    """What the description says about every name; about all layers that share it."""
    found: dict[str, Facts] = {}
    for name, facts in _facts(description):
        if name is None:
            continue
        if (before := found.get(name)) is not None:
            facts = Facts(
                before.differences + facts.differences,
                before.merge or facts.merge,
                before.recurrent or facts.recurrent,
                before.unknown or facts.unknown,
                before.number + 1,
            )
        found[name] = facts
    return found


def _facts(description, depth=0) -> Iterator[tuple[str | None, Facts]]:
    """What the description says about every object, with its name if it has one."""
    if depth > DEEPEST:
        raise InteropError(f"its description is nested deeper than {DEEPEST} levels.")
    if isinstance(description, Mapping):
        config = description.get("config")
        if isinstance(config, Mapping) and "class_name" in description:
            name = str(config["name"]) if "name" in config else None
            yield name, _of_object(description, depth)
        description = [*description.values()]
    if isinstance(description, list):
        for inner in description:
            yield from _facts(inner, depth + 1)


def _of_object(description, depth) -> Facts:
    kind, config = str(description.get("class_name")), description["config"]
    if not _is_own(kind, description):
        return Facts(unknown=kind)
    if kind == "Bidirectional":
        inner = [config.get("layer"), config.get("backward_layer")]
        merge = config.get("merge_mode", "concat")
        facts = _inside([one for one in inner if one], depth)
        differ = [d for d in facts.differences if "go_backwards" not in d]
        said = MERGES.get(merge, str(merge))
        return facts._replace(differences=tuple(differ), merge=said)
    if kind in ("RNN", "StackedRNNCells"):
        facts = _inside(config.get("cell") or config.get("cells"), depth)
        return facts._replace(differences=facts.differences + _backwards(config))
    if kind.removesuffix("Cell") not in FACTS:
        return Facts()
    found = tuple(differences(kind, config.get)) + _backwards(config)
    return Facts(found, recurrent=True)


def _is_own(kind, description):
    """Whether this is one of Keras's own classes."""
    if "registered_name" in description or description.get("module"):
        package = str(description.get("module")).partition(".")[0]
        return package in ("keras", "tf_keras", "tensorflow")
    known = (*CONTAINERS, *WRAPPERS, *FACTS)  # Older files do not contain the module.
    return kind.removesuffix("Cell") in known


def _backwards(config):
    return ("go_backwards=True, expected False",) if config.get("go_backwards") else ()


def _inside(description, depth) -> Facts:
    """What the description says about the layers or cells inside a wrapper."""
    if depth > DEEPEST:
        raise InteropError(f"its description is nested deeper than {DEEPEST} levels.")
    all_of = description if isinstance(description, list) else [description]
    found = []
    for one in all_of:
        if isinstance(one, Mapping) and isinstance(one.get("config"), Mapping):
            found.append(_of_object(one, depth + 1))
        else:
            found.append(Facts(unknown="a class that is not described"))
    others = [one.unknown for one in found if one.unknown]
    others += ["another class" for one in found if not one.recurrent][:1]
    return Facts(
        tuple(d for one in found for d in one.differences),
        recurrent=True,
        unknown="".join(others[:1]),
    )


def _judged(one: Entry, name, names, merge, said) -> Entry:
    """The entry, refused if a layer that contains it differs from our cell."""
    facts = {name: said[name] for name in names if name in said}
    if not names and name.partition(":")[0].rpartition(".")[2] in VARIABLES:
        # Older files do not say which layer a variable belongs to.
        facts = said
    found = dict.fromkeys(d for fact in facts.values() for d in fact.differences)
    if merge:  # the second of two layers runs
        found = {d: None for d in found if "go_backwards" not in d}
    many = [n for n, fact in facts.items() if fact.differences and fact.number > 1]
    whose = f"one of the layers named {many[0]!r}" if many else f"the layer of {name}"
    refusal = (
        f"{whose} has {'; '.join(found)}; its weights alone would compute something "
        f"else."
    )
    refusal = one.refusal or (refusal if found else "")
    layer = next((n for n in names if n in said and said[n].recurrent), "")
    return dataclasses.replace(one, merge=merge, refusal=refusal, layer=layer)


def _is_recurrent(name, group):
    """Whether a variable may belong to a recurrent cell."""
    if name.partition(":")[0].rpartition(".")[2] not in VARIABLES:
        return False
    # Only in such cells are numbered variables renamed.
    return "0" in group or any(key.startswith("recurrent_kernel") for key in group)


def _doubt(name, names, said, description):
    """What the description does not say about the layer of a variable; empty if
    complete.
    """
    outer = [n for n in names if n != "model_weights"]
    at = next((k for k, n in enumerate(outer) if n in said and said[n].recurrent), None)
    facts = [said[n] for n in outer if n in said]
    if not names:  # In an older file it may be any
        facts = [one for _, one in _facts(description)]
    unknown = [one.unknown for one in facts if one.unknown]
    described = at is not None and all(n in said for n in outer[:at])
    if not names:
        described = any(one.recurrent for one in facts)
    if described and not unknown:
        return ""
    whose = f"; its class, or one around it, is {unknown[0]}" if unknown else ""
    return (
        f"the file does not say what the layer of {name} computes{whose}. If it is "
        f"tanh and sigmoid as in Keras's own layer, name the layout: --layout keras "
        f"for an LSTM."
    )
