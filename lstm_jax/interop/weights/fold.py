"""Converts names and tensors of a training checkpoint to those of the plain layer.

`tidy` changes only what is exact. It removes wrappers from names, leaves out optimizer
slots, and combines a weight that training keeps in two tensors. If a module computes a
weight in another way, the weight keeps its name and shape, but its entry is refused: it
is neither read nor treated as absent.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.weights.entries import Entries, Entry
from lstm_jax.interop.weights.names import place

WRAPPERS = ("module", "_orig_mod")
"""Path steps that ``DataParallel``, WeightDrop and ``torch.compile`` add."""

OUTER = ("state_dict", "model_weights")
"""First path steps: of Lightning checkpoints and of Keras ``.h5`` files."""

SLOT = re.compile(
    r"(adam|adamw|adamax|nadam|rmsprop|momentum|ftrl|adagrad|adadelta)(_\d+)?"
    r"|(optimizer|opt_state)s?(_states?|_weights|_state_dict)?|\.?optimizer_slot",
    re.IGNORECASE,
)
"""Path steps that belong to an optimizer."""


def is_slot(name: str) -> bool:
    """Whether the name is an optimizer's copy of a weight, not a weight.

    >>> is_slot("rnn.lstm_cell.kernel.Adam_1"), is_slot("Adam.v.lstm.kernel")
    (True, True)
    >>> is_slot("decoder.lstm.kernel")
    False
    """
    return any(SLOT.fullmatch(step) for step in name.split("."))


def _is_weight(name, shape, weights):
    """Whether a tensor in a module called ``optimizer`` is a weight after all: it has a
    name of a layer and is not a copy of another tensor.
    """
    steps = name.split(".")
    at = max(n for n, step in enumerate(steps) if SLOT.fullmatch(step))
    behind = [".".join(steps[n:]) for n in range(at + 1, len(steps))]
    copies = [*behind, ".".join(steps[:at] + steps[at + 1 :])]
    if any(weights.get(copy) == shape for copy in copies):
        return False
    inner = behind[-2:]
    return any(place(layout, one) for layout in LAYOUTS.values() for one in inner)


def plain_name(name: str) -> str:
    """A name, or a prefix that ends in a dot, without wrapper steps and without the
    endings that TensorFlow and NNX add to variable names.

    >>> plain_name("state_dict._orig_mod.encoder.module.weight_hh_l0")
    'encoder.weight_hh_l0'
    >>> plain_name("lstm/kernel:0")
    'lstm.kernel'
    >>> plain_name("lstm.w_x.value")
    'lstm.w_x'
    """
    name = re.sub(r"(:0|\.value)$", "", name.replace("/", "."))
    first, *steps = name.split(".")
    steps = steps if steps and first in OUTER else [first, *steps]
    return ".".join(step for step in steps if step not in WRAPPERS)


class Fold(NamedTuple):
    """A weight that is computed from several tensors.

    ``pattern`` finds one of the tensors. ``names`` lists all of them, and the last one
    has the shape and dtype of the weight. ``fits`` checks their shapes, and ``apply``
    computes the weight in float64.
    """

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    fits: Callable[..., bool]
    apply: Callable[..., np.ndarray]


def _normed(g, v):
    """``g v / |v|``, with the norm over all axes that have size 1 in ``g``."""
    axes = tuple(n for n in range(v.ndim) if g.ndim == 0 or g.shape[n] == 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # zeros give NaN, as in torch
        return g * v / np.sqrt(np.square(v).sum(axis=axes, keepdims=True))


def _fits_norm(g, v):
    apart = [n for n, size in enumerate(g) if size != 1]
    return g == () or (
        len(g) == len(v) and len(apart) <= 1 and all(g[n] == v[n] for n in apart)
    )


_PATH = r"(?P<path>(?:.*\.)?)"
_WEIGHT = _PATH + r"(?P<name>(?:weight|bias)\w*)"
FOLDS = (
    # WeightDrop of AWD-LSTM. The tensor next to it is left over from the last call.
    Fold(
        re.compile(_WEIGHT + "_raw"),
        ("{path}{name}_raw",),
        lambda raw: True,
        lambda raw: raw,
    ),
    # torch.nn.utils.weight_norm and torch.nn.utils.parametrizations.weight_norm.
    Fold(
        re.compile(_WEIGHT + "_g"),
        ("{path}{name}_g", "{path}{name}_v"),
        _fits_norm,
        _normed,
    ),
    Fold(
        re.compile(_PATH + r"parametrizations\.(?P<name>\w+)\.original0"),
        (
            "{path}parametrizations.{name}.original0",
            "{path}parametrizations.{name}.original1",
        ),
        _fits_norm,
        _normed,
    ),
    # torch.nn.utils.prune.
    Fold(
        re.compile(_WEIGHT + "_orig"),
        ("{path}{name}_mask", "{path}{name}_orig"),
        lambda mask, orig: mask == orig,
        np.multiply,
    ),
)


PARAMETRISED = (
    re.compile(_PATH + r"parametrizations\.(?P<name>\w+)\..+"),
    re.compile(
        _PATH + r"(?P<name>(?:weight|bias)_[ih][hr]\w*?)_(?:orig|mask|u|v|g|raw)"
    ),
    re.compile(_PATH + r"(?P<name>(?:weight|bias|kernel|recurrent_kernel))_orig"),
)
"""Names of the tensors from which a torch module computes the weight ``name``."""

REMEDY = (
    "call torch.nn.utils.parametrize.remove_parametrizations(module, {name!r}), or of "
    "the older functions remove_weight_norm, remove_spectral_norm or prune.remove, and "
    "save the state_dict() again"
)


def tidy(entries: Mapping[str, Entry]) -> Entries:
    """The same tensors under the names of the plain layer; see the top of this file.

    If two tensors would get the same name, both keep their own.

    >>> import numpy as np
    >>> from lstm_jax.interop.weights.entries import of_arrays
    >>> list(tidy(of_arrays({"module.lstm.weight_hh_l0_raw": np.ones((8, 2))})))
    ['lstm.weight_hh_l0']
    """
    plain = {name: plain_name(name) for name in entries}
    weights = {n: entries[name].shape for name, n in plain.items() if not is_slot(n)}
    # The model may be one step deeper than the optimizer's copy of it.
    weights = {n.partition(".")[2]: shape for n, shape in weights.items()} | weights
    kept = {
        name: one
        for name, one in entries.items()
        if not is_slot(plain[name]) or _is_weight(plain[name], one.shape, weights)
    }
    plain = {name: plain[name] for name in kept}
    counts = Counter(plain.values())
    named = {
        new if counts[new] == 1 else name: kept[name] for name, new in plain.items()
    }
    parts_of = _parts(named)
    for fold in FOLDS:
        for name in [*named]:
            match = fold.pattern.fullmatch(name)
            if match is None:
                continue
            names = [text.format(**match.groupdict()) for text in fold.names]
            parts = [named[n] for n in names if n in named]
            others = parts_of.get(_weight_of(name), {*names}) - {*names}
            if not others and len(parts) == len(names) and _fit(fold, parts):
                for n in names:
                    named.pop(n)
                named[match["path"] + match["name"]] = _folded(fold, parts)
    return _refused(named)


def _weight_of(name):
    """The path and name of the weight that this tensor belongs to."""
    matches = (pattern.fullmatch(name) for pattern in PARAMETRISED)
    return next(((m["path"], m["name"]) for m in matches if m), None)


def _parts(names: Iterable[str]) -> dict[Any, set[str]]:
    """The tensors of each computed weight, by the path and name of the weight."""
    parts: dict[Any, set[str]] = {}
    for name in names:
        if (weight := _weight_of(name)) is not None:
            parts.setdefault(weight, set()).add(name)
    return parts


def _refused(named: Entries) -> Entries:
    """Combines parts that cannot be folded into one refused entry of the weight."""
    for (path, own), names in _parts(named).items():
        # `original` has the shape of the weight, and so do most tensors that are alone.
        key = lambda n: (n.endswith(".original"), _size(named[n].shape))
        whole = named[max(sorted(names), key=key)]
        refusal = (
            f"{path}{own} is parametrised in a way that is not folded (the file has "
            f"{', '.join(n.removeprefix(path) for n in sorted(names)[:3])}); "
            f"{REMEDY.format(name=own)}."
        )
        for name in names:
            named.pop(name)
        named[path + own] = Entry(
            whole.shape, whole.dtype, whole.load, refusal, parametrised=True
        )
    return named


def _size(shape):
    return -1 if shape is None else math.prod(shape)


def _fit(fold, parts):
    shapes = [part.shape for part in parts]
    return None not in shapes and fold.fits(*shapes)


def _folded(fold, parts) -> Entry:
    def load():
        arrays = [part.read() for part in parts]
        if len(arrays) == 1:
            return arrays[0]
        whole = fold.apply(*(array.astype(np.float64) for array in arrays))
        return whole.astype(arrays[-1].dtype)

    refusals = [part.refusal for part in parts if part.refusal]
    return Entry(parts[-1].shape, parts[-1].dtype, load, "".join(refusals[:1]))
