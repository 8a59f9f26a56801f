"""Packages that sound needs and the rest of the library does not."""

import importlib
from typing import Any

from lstm_jax.data.text import DataError


def need(name: str) -> Any:
    """The module of an optional package.

    Raises:
        DataError: the package is not installed, or its C library does not load.

    >>> need("json").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"sound needs the package {name}: pip install 'lstm-jax[speech]'."
        ) from error
    except OSError as error:  # a platform for which soundfile has no wheel
        raise DataError(
            f"the package {name} does not load its C library ({error}); install that "
            f"library, such as libsndfile, with the package manager of your system."
        ) from error
