"""Reading and arranging data, in numpy.

Sequences of different lengths, from a list of arrays ``[T_i, ...]`` to the time-major
arrays and flags that `lstm_jax.lstm` takes, and back:

    pad                 one per row, padded at the end; back with `unpad`
    bucket              one per row, in batches of a few static shapes, which
                        `bucket_sizes` chooses and `pad_batch` fills; outputs return to
                        their order with `restore`
    pack                several a row, almost without padding, equal to each run alone;
                        targets follow with `pack_like`, back with `unpack`, final
                        outputs at `last_steps`
    continued_rows      end to end, for windows that hand their state on (`cut_windows`)

One long stream is ``data.streams``. Text is read by ``data.text``, a corpus of several
parts by ``data.corpus``, and becomes tokens by ``data.tokens``. Sequences with labels,
for classification and tagging, are read by ``data.labelled``, and time series to
forecast, from data frames and files, by ``data.panel``. Sentences and their
translations are read by ``data.parallel``, and recordings by ``data.sounds``.
"""

from lstm_jax.data.bucketing import (
    Batch,
    Buckets,
    bucket,
    bucket_sizes,
    pad_batch,
    restore,
)
from lstm_jax.data.packed import Packed, last_steps, pack_like, unpack
from lstm_jax.data.packing import pack
from lstm_jax.data.padding import pad, unpad
from lstm_jax.data.windows import continued_rows, cut_windows

__all__ = [
    "Batch",
    "Buckets",
    "Packed",
    "bucket",
    "bucket_sizes",
    "continued_rows",
    "cut_windows",
    "last_steps",
    "pack",
    "pack_like",
    "pad",
    "pad_batch",
    "restore",
    "unpack",
    "unpad",
]
