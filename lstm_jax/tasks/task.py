"""What a task is: everything about a run that the training engine does not know."""

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
from flax import nnx

from lstm_jax._types import Array, Int, Key, PyTree
from lstm_jax.config import config
from lstm_jax.core.arguments import seed_key
from lstm_jax.interop.program import Program
from lstm_jax.training.metadata import Metadata
from lstm_jax.training.progress import Unit


@config
class RunConfig:
    """Where the run is kept."""

    directory: str = ""
    """The folder of the run; empty for `runs/` and the name of the config file."""


class Task(abc.ABC):
    """Data, model, loss and figures, joined.

    A new task is a config dataclass with ``task``, ``seed``, ``optimizer``, ``train``
    and ``run``, a class with the functions below, and a line in ``tasks/__init__.py``.

    Args:
        config: that of the task.
        facts: what `describe` said when the run began, for one that goes on or is used.
    """

    unit: Unit = Unit()
    """The words of the task."""
    metadata_type: ClassVar[type[Metadata]] = Metadata
    """The types of run.json, with those of what `describe` says."""

    def __init__(self, config: Any, facts: Mapping[str, Any] | None = None):
        del facts
        self.config = config
        self.graph: Any
        self.graph, self.params = self._split(config.seed)

    @abc.abstractmethod
    def build_model(self, key: Key[Array, ""]) -> nnx.Module:
        """The model, drawn from ``key``."""

    def initial(self, seed: int) -> tuple[PyTree, Key[Array, ""]]:
        """The parameters that ``seed`` draws, and its key for everything after them."""
        return self._split(seed)[1], jax.random.split(seed_key(seed))[1]

    def _split(self, seed):
        init_key, _ = jax.random.split(seed_key(seed))
        return nnx.split(self.build_model(init_key), nnx.Param)

    @property
    def parameters(self) -> int:
        """How many numbers the model has to learn."""
        return sum(p.size for p in jax.tree.leaves(self.params))

    # For the record

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts about data and model, for the record of the run."""

    @abc.abstractmethod
    def summary(self, facts: Mapping[str, Any]) -> str:
        """What a person wants to know of these facts first, in a line."""

    def check_same_data(self, facts: Mapping[str, Any], directory: Path) -> None:
        """Raises `RunError` if the data are not those of the run in ``directory``."""
        del facts, directory

    def program(self, params: PyTree, **options: Any) -> Program:
        """The trained model for other programs; options are those of
        `lstm_jax.interop.Program`."""
        return nnx.merge(self.graph, params).program(**options)

    # Training

    @property
    @abc.abstractmethod
    def items_per_step(self) -> int:
        """How many items, in the words of ``unit``, a step takes."""

    @property
    def steps_per_epoch(self) -> int | None:
        """``None`` where the data never come to an end."""
        return None

    @abc.abstractmethod
    def training_data(self) -> PyTree:
        """What `batch_at` reads, on the device."""

    @abc.abstractmethod
    def init_carry(self) -> PyTree:
        """The recurrent state before the first step."""

    @abc.abstractmethod
    def batch_at(
        self, data: PyTree, carry: PyTree, step: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """The batch of a step, and the carry it starts from."""

    @abc.abstractmethod
    def loss(
        self, params: PyTree, carry: PyTree, batch: PyTree, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        """The mean loss of a batch, and the carry after it."""

    # Evaluation

    @property
    def final_part(self) -> str:
        """The part whose figures are the last word on a run."""
        return "test"

    @abc.abstractmethod
    def evaluate(self, params: PyTree, part: str) -> dict[str, float]:
        """The figures of a part: ``loss``, which validation goes by, and others."""

    def yardsticks(
        self, part: str, every: bool = False
    ) -> Iterator[tuple[str, dict[str, float]]]:
        """Figures of a part to compare with, which need no model.

        Args:
            part: the split.
            every: whether to compute those that take long as well.

        Yields:
            A sentence for the user, and the figures it is about, which may be none.
        """
        del part, every
        yield from ()

    @abc.abstractmethod
    def sentence(self, figures: Mapping[str, float]) -> str:
        """The figures of an evaluation in words."""
