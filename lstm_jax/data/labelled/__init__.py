"""Labelled sequences of the user's own, for classification and tagging.

    read_series    real numbers: CSV, Parquet, NPZ, or a folder of files
    read_texts     texts: JSONL, CSV or Parquet
    read_tagged    sentences with a tag for every token: JSONL or CoNLL columns
    read_images    images of the MNIST format as series of pixels

All give `Examples`, with labels by name. `split_by_fractions` cuts one file into train,
valid and test; files of their own are read one by one. `encode` turns texts into
tokens. `label_splits` turns names into the indices of the classes of ``train``.
"""

from lstm_jax.data.labelled.columns import Columns
from lstm_jax.data.labelled.encode import encode, text_of
from lstm_jax.data.labelled.examples import (
    Examples,
    Labelled,
    check_features,
    label,
    label_splits,
    learn_classes,
)
from lstm_jax.data.labelled.idx import read_idx, read_images
from lstm_jax.data.labelled.series import read_series
from lstm_jax.data.labelled.splits import random_order, split_by_fractions
from lstm_jax.data.labelled.table import read_table
from lstm_jax.data.labelled.tagged import read_tagged
from lstm_jax.data.labelled.texts import read_texts

__all__ = [
    "Columns",
    "Examples",
    "Labelled",
    "check_features",
    "encode",
    "label",
    "label_splits",
    "learn_classes",
    "random_order",
    "read_idx",
    "read_images",
    "read_series",
    "read_table",
    "read_tagged",
    "read_texts",
    "split_by_fractions",
    "text_of",
]
