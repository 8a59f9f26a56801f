"""Extras after the metrics: a plot or a baseline that fails does not fail the run."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lstm_jax.terminal import say


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Runs a block; if the block fails, says why and continues.

    Ctrl-C skips it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = "; pip install 'lstm-jax[plots]'" if error.name == "matplotlib" else ""
        say(f"no {name}: {error.name} is not installed{remedy}")
    except KeyboardInterrupt:
        say(f"no {name}: skipped by Ctrl-C.")
    except Exception as error:  # whatever a library raises
        say(f"no {name}: {str(error) or type(error).__name__}")


def print_plots(draw: Callable[[], Iterable[Path]], name: str = "plots") -> list[Path]:
    """Draws plots and prints their paths; returns none where drawing fails."""
    paths: list[Path] = []
    with extra(name):
        paths.extend(draw())
        say(f"{name}:", *paths or ["none, metrics.jsonl has no steps"])
    return paths
