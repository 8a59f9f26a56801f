"""What only some tasks can do. A command asks for one and says when a task lacks it."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from lstm_jax._types import PyTree
from lstm_jax.inference import Sampling
from lstm_jax.interop.program import Program
from lstm_jax.training.record import RunError


class Generator(Protocol):
    """Continues a prompt."""

    @property
    def beginning(self) -> str:
        """The prompt where the user gives none."""
        ...

    def generate(
        self, params: PyTree, prompt: str, length: int, sampling: Sampling, seed: int
    ) -> Iterator[str]:
        """``prompt`` and ``length`` tokens after it, piece by piece."""
        ...

    def samples(
        self,
        params: PyTree,
        prompt: str,
        length: int,
        sampling: Sampling,
        seed: int,
        count: int,
    ) -> list[str]:
        """``count`` texts that begin with ``prompt``."""
        ...

    def beam_search(
        self, params: PyTree, prompt: str, length: int, width: int
    ) -> list[str]:
        """The most likely texts that are found, the best first."""
        ...


@runtime_checkable
class Generates(Protocol):
    """A task that generates text."""

    @property
    def generator(self) -> Generator: ...


@runtime_checkable
class Exports(Protocol):
    """A task whose model goes to other programs."""

    def program(self, params: PyTree, **options: Any) -> Program:
        """The trained model; options are those of `lstm_jax.interop.Program`."""
        ...


def require(task: Any, ability: type, does: str, advice: str) -> Any:
    """The task, if it has an ability.

    Args:
        task: the task.
        ability: one of the protocols above.
        does: what the task would do, such as "generates text".
        advice: what the user can do instead.

    Raises:
        RunError: the task has not this ability.
    """
    if not isinstance(task, ability):
        raise RunError(
            f"the task {task.config.task} of this run is not one that {does}; {advice}."
        )
    return task
