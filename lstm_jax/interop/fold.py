"""Names and tensors as training leaves them, made those of the plain layer.

`tidy` changes only what is exact: names lose what wrappers put in front, slots of
optimizers are left out, and a weight that training keeps in two tensors becomes one.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from lstm_jax.interop.entries import Entries, Entry

WRAPPERS = ("module", "_orig_mod")
"""Steps of a path that ``DataParallel``, WeightDrop and ``torch.compile`` put in."""

OUTER = ("state_dict", "model_weights")
"""First steps of a path: of Lightning's checkpoints and of Keras's ``.h5``."""

SLOT = re.compile(
    r"(adam|adamw|adamax|nadam|rmsprop|momentum|ftrl|adagrad|adadelta)(_\d+)?"
    r"|(optimizer|opt_state)s?(_states?|_weights|_state_dict)?|\.?optimizer_slot",
    re.IGNORECASE,
)
"""Steps of a path that belong to an optimizer."""


def is_slot(name: str) -> bool:
    """Whether this is an optimizer's copy of a weight, and no weight.

    >>> is_slot("rnn.lstm_cell.kernel.Adam_1"), is_slot("Adam.v.lstm.kernel")
    (True, True)
    >>> is_slot("decoder.lstm.kernel")
    False
    """
    return any(SLOT.fullmatch(step) for step in name.split("."))


def plain_name(name: str) -> str:
    """A name, or a prefix that ends in a dot, without the steps of wrappers, and
    without what TensorFlow and NNX put behind the names of variables.

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
    """A weight from the tensors that stand for it.

    ``pattern`` finds one of them, ``names`` are those of all, and the last one has the
    shape and dtype of the weight. ``fits`` judges their shapes, and ``apply`` computes
    the weight in float64.
    """

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    fits: Callable[..., bool]
    apply: Callable[..., np.ndarray]


def _normed(g, v):
    """``g v / |v|``, the norm over every axis that ``g`` does not tell apart."""
    axes = tuple(n for n in range(v.ndim) if g.ndim == 0 or g.shape[n] == 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # as torch, of zeros NaN
        return g * v / np.sqrt(np.square(v).sum(axis=axes, keepdims=True))


def _fits_norm(g, v):
    apart = [n for n, size in enumerate(g) if size != 1]
    return g == () or (
        len(g) == len(v) and len(apart) <= 1 and all(g[n] == v[n] for n in apart)
    )


_WEIGHT = r"(?P<path>(?:.*\.)?)(?P<name>weight\w*)"
FOLDS = (
    # WeightDrop of AWD-LSTM: what stands beside it is what the last call left.
    Fold(
        re.compile(_WEIGHT + "_raw"),
        ("{path}{name}_raw",),
        lambda raw: True,
        lambda raw: raw,
    ),
    # torch.nn.utils.weight_norm, and that of torch.nn.utils.parametrizations.
    Fold(
        re.compile(_WEIGHT + "_g"),
        ("{path}{name}_g", "{path}{name}_v"),
        _fits_norm,
        _normed,
    ),
    Fold(
        re.compile(
            r"(?P<path>(?:.*\.)?)parametrizations\.(?P<name>weight\w*)\.original0"
        ),
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


def tidy(entries: Mapping[str, Entry]) -> Entries:
    """The same tensors under the plain layer's names; see the head of this file.

    Where two tensors would come to the same name, both keep their own.

    >>> import numpy as np
    >>> from lstm_jax.interop.entries import of_arrays
    >>> list(tidy(of_arrays({"module.lstm.weight_hh_l0_raw": np.ones((8, 2))})))
    ['lstm.weight_hh_l0']
    """
    kept = {name: one for name, one in entries.items() if not is_slot(name)}
    plain = {name: plain_name(name) for name in kept}
    counts = Counter(plain.values())
    named = {
        new if counts[new] == 1 else name: kept[name] for name, new in plain.items()
    }
    for fold in FOLDS:
        for name in [*named]:
            match = fold.pattern.fullmatch(name)
            if match is None:
                continue
            names = [text.format(**match.groupdict()) for text in fold.names]
            parts = [named[n] for n in names if n in named]
            if len(parts) == len(names) and _fit(fold, parts):
                for n in names:
                    named.pop(n)
                named[match["path"] + match["name"]] = _folded(fold, parts)
    return named


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
