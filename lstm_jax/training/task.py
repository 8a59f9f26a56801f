"""What a task is: everything about a run that the training engine does not know.

A task is a set of pure functions, data and metadata. It inherits nothing. What only
some tasks can do is a small protocol of its own: see `lstm_jax.tasks.abilities`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from lstm_jax._types import Array, Key, PyTree
from lstm_jax.training.batches import Batches
from lstm_jax.training.metadata import Metadata
from lstm_jax.training.metrics import Aux, Metrics


class Task(Protocol):
    """Data, model, loss and metrics, joined.

    A new task is a config dataclass (see ``config``), a class with the functions below,
    and a line in ``tasks/__init__.py``. The class is called with the config and, when
    it belongs to a run that exists, with the metadata of that run.
    """

    @property
    def config(self) -> Any:
        """The config that the task is called with: ``task``, ``seed``, ``optimizer``,
        ``train``, ``evaluation``, ``run``, and ``parallel`` for several devices."""
        ...

    @property
    def items(self) -> str:
        """The unit that speed is counted in, such as "tokens"."""
        ...

    @property
    def items_per_step(self) -> int:
        """How many items a step takes."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Every metric of the task, how it is shown, and which values are better."""
        ...

    @property
    def moved(self) -> frozenset[str]:
        """Config keys that say where the data lie. A run may be used with others."""
        ...

    @property
    def metadata_type(self) -> type[Metadata]:
        """The types of run.json, with those of what `describe` says."""
        ...

    # The model

    @property
    def model(self) -> Callable[[PyTree], Any]:
        """Maps parameters to the Flax module, in evaluation mode."""
        ...

    def init(self, key: Key[Array, ""]) -> PyTree:
        """New parameters."""
        ...

    def init_carry(self) -> PyTree:
        """The recurrent state before the first step; ``()`` where none is carried."""
        ...

    def loss(
        self, params: PyTree, carry: PyTree, batch: PyTree, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        """The mean loss of a batch, the carry after it, and more metrics."""
        ...

    # Data

    def batches(self) -> Batches:
        """The batches of training."""
        ...

    @property
    def final_split(self) -> str:
        """The split whose metrics are the result of a run."""
        ...

    def evaluate(self, params: PyTree, split: str) -> dict[str, float]:
        """The metrics of a split, by the names in ``metrics``; ``loss`` among them."""
        ...

    def sentence(self, metrics: Mapping[str, float]) -> str:
        """The metrics of an evaluation in words."""
        ...

    def baselines(
        self, split: str, every: bool = False
    ) -> Iterator[tuple[str, dict[str, float]]]:
        """Metrics of a split to compare with, which need no model.

        Args:
            split: the split.
            every: whether to compute those that take long as well.

        Yields:
            A sentence for the user, and the metrics it is about, which may be none.
        """
        ...

    # Metadata

    def describe(self) -> dict[str, Any]:
        """Metadata of data and model, kept in run.json."""
        ...

    def summary(self, metadata: Mapping[str, Any]) -> str:
        """What a user wants to know of this metadata first, in a line."""
        ...

    def check_same_data(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Raises `RunError` if the data are not those of the run in ``directory``."""
        ...
