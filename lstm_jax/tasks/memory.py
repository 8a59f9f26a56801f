"""Long memory: problems that want one thing to be remembered for a long time."""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from lstm_jax.config import config
from lstm_jax.core.arguments import seed_key
from lstm_jax.models.sequence_reader import SequenceReader, SequenceReaderConfig
from lstm_jax.tasks.memory_problems import PROBLEMS, Problem
from lstm_jax.tasks.task import RunConfig, Task
from lstm_jax.training.loop import TrainConfig
from lstm_jax.training.metadata import Metadata
from lstm_jax.training.optimizer import OptimizerConfig
from lstm_jax.training.progress import Unit

_PART_KEYS = {"train": 101, "valid": 102, "test": 103}
"""Seeds of what is evaluated: the same for every run, so that runs can be compared."""


@config
class ProblemConfig:
    """What is to be remembered, and for how long."""

    name: Literal["adding", "copy", "order", "reber"] = "adding"
    """Adding two marked numbers, copying ten symbols, the order of two symbols, the
    embedded Reber grammar."""
    length: PositiveInt = 100
    """Steps of a sequence; of `copy`, those between a symbol and its repetition."""

    @field_validator("length")
    @classmethod
    def _is_long_enough(cls, value: int, info: ValidationInfo) -> int:
        problem = PROBLEMS.get(info.data.get("name", ""))
        if problem and value < problem.shortest:
            raise ValueError(
                f"{info.data['name']} needs sequences of {problem.shortest} or more"
            )
        return value

    def build(self) -> Problem:
        """The problem."""
        return PROBLEMS[self.name](self.length)


@config
class SequencesConfig:
    """What is evaluated."""

    sequences: PositiveInt = 1000
    """How many sequences, at the least."""
    batch_size: PositiveInt = 100
    """How many of them at a time."""


@config
class MemoryConfig:
    """A problem, and a network that is to solve it."""

    task: Literal["memory"] = "memory"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Where all that is drawn by chance comes from."""
    problem: ProblemConfig = ProblemConfig()
    model: SequenceReaderConfig = SequenceReaderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: SequencesConfig = SequencesConfig()
    run: RunConfig = RunConfig()


class MemoryMetadata(Metadata):
    """The types of what `Memory.describe` says."""

    problem: str
    length: int
    cell: str
    memoryless: float


class Memory(Task):
    """A problem of `lstm_jax.tasks.memory_problems` and a network for it."""

    unit = Unit(item="sequences", axis="loss")

    metadata_type = MemoryMetadata

    def __init__(self, config: MemoryConfig, facts=None):
        self.problem = config.problem.build()
        super().__init__(config, facts)

    def build_model(self, key) -> SequenceReader:
        problem = self.problem
        return self.config.model.build(
            problem.in_size, problem.out_size, problem.steps, nnx.Rngs(key)
        )

    def describe(self):
        return {
            "problem": self.config.problem.name,
            "length": self.problem.length,
            "cell": self.config.model.cell,
            "memoryless": self.problem.memoryless,
            "parameters": self.parameters,
        }

    def summary(self, facts):
        return (
            f"{facts['problem']}, {facts['length']:,} steps, {facts['cell']}; "
            f"a loss of {facts['memoryless']:.4g} needs no memory"
        )

    # Training: every step draws new sequences, so that nothing is carried between them

    @property
    def items_per_step(self):
        return self.config.train.batch_size

    def training_data(self):
        return ()

    def init_carry(self):
        return ()

    def batch_at(self, data, carry, step, key):
        del data, step
        return self.problem.draw(key, self.config.train.batch_size), carry

    def loss(self, params, carry, batch, key):
        del key
        xs, targets = batch
        return self.problem.losses(self._answer(params, xs), targets).mean(), carry

    def _answer(self, params, xs):
        model = nnx.merge(self.graph, params)
        return model.last(xs) if self.problem.reads_last else model(xs)

    # Evaluation

    def evaluate(self, params, part):
        """The mean loss, and the share of what was remembered rightly."""
        loss, right = self._evaluate(params, seed_key(_PART_KEYS[part]))
        return {"loss": float(loss), "right": float(right)}

    @functools.cached_property
    def _evaluate(self):
        rows = self.config.evaluation
        batches = -(-rows.sequences // rows.batch_size)

        def batch(params, key):
            xs, targets = self.problem.draw(key, rows.batch_size)
            outputs = self._answer(params, xs)
            figures = self.problem.losses, self.problem.right
            return jnp.stack([f(outputs, targets).mean() for f in figures])

        def evaluate(params, key):
            keys = jax.random.split(key, batches)
            return jax.lax.map(functools.partial(batch, params), keys).mean(0)

        return jax.jit(evaluate)

    def yardsticks(self, part, every=False):
        del part, every
        loss = self.problem.memoryless
        yield f"without a memory: a loss of {loss:.4g}", {"memoryless": loss}

    def sentence(self, figures):
        share = figures["loss"] / self.problem.memoryless
        return (
            f"loss {figures['loss']:.3g}, {share:.1%} of what is possible without a "
            f"memory; {figures['right']:.1%} right"
        )
