"""Packages that panels need and the rest of the library does not."""

import importlib
from typing import Any

from lstm_jax.data.text import DataError


def need(name: str) -> Any:
    """The module of an optional package.

    Raises:
        DataError: the package is not installed.

    >>> need("json").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise DataError(
            f"forecasting data needs the package {package}: pip install "
            f"'lstm-jax[forecast]'."
        ) from error
