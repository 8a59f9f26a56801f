"""Long memory: problems that want one thing to be remembered for a long time."""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, ValidationInfo, field_validator

from lstm_jax.config import Count, config
from lstm_jax.core.arguments import seed_key
from lstm_jax.models.functional import Functional
from lstm_jax.models.sequence_reader import SequenceReaderConfig
from lstm_jax.programs.program import Program
from lstm_jax.tasks.abilities import Example
from lstm_jax.tasks.memory_problems import PROBLEMS, Problem
from lstm_jax.training.batches import DeviceBatches
from lstm_jax.training.metadata import Metadata
from lstm_jax.training.metrics import Aux, Metric, Metrics
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig

_SPLIT_KEYS = {"train": 101, "valid": 102, "test": 103}
"""Seeds of the evaluated sequences. All runs share them, so runs can be compared."""
_EXAMPLE_KEY = 104


@config
class ProblemConfig:
    """The problem to remember, and for how long."""

    name: Literal["adding", "copy", "order", "reber"] = "adding"
    """Adding two marked numbers, copying ten symbols, the order of two symbols, the
    embedded Reber grammar."""
    length: Count = 100
    """Steps of a sequence; for `copy`, steps between the last symbol and the first
    repetition."""

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
    """The sequences of an evaluation."""

    sequences: Count = 1000
    """The smallest number of sequences."""
    batch_size: Count = 100
    """Sequences of a batch."""


@config
class MemoryConfig:
    """A memory problem, and a network to solve it."""

    task: Literal["memory"] = "memory"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    problem: ProblemConfig = ProblemConfig()
    model: SequenceReaderConfig = SequenceReaderConfig()
    optimizer: OptimizerConfig = Adam()
    train: TrainConfig = TrainConfig()
    evaluation: SequencesConfig = SequencesConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()


class MemoryMetadata(Metadata):
    """The types of what `Memory.describe` says."""

    problem: str
    length: int
    cell: str
    memoryless: float


METRICS: Metrics = {
    "loss": Metric(),
    "right": Metric(better="higher", label="fraction right"),
}


class Memory:
    """A problem of `lstm_jax.tasks.memory_problems` and a network for it: a
    `lstm_jax.training.task.Task`."""

    items = "sequences"
    final_split = "test"
    moved = frozenset[str]()
    metadata_type = MemoryMetadata
    metrics = METRICS

    def __init__(self, config: MemoryConfig, metadata=None):
        del metadata
        self.config, self.problem = config, config.problem.build()
        self.items_per_step = config.train.batch_size
        sizes = self.problem.in_size, self.problem.out_size, self.problem.steps
        self.model = Functional(lambda key: config.model.build(*sizes, nnx.Rngs(key)))

    def describe(self):
        return {
            "problem": self.config.problem.name,
            "length": self.problem.length,
            "cell": self.config.model.cell,
            "memoryless": self.problem.memoryless,
            "parameters": self.model.size,
        }

    def summary(self, metadata):
        return (
            f"{metadata['problem']}, {metadata['length']:,} steps, {metadata['cell']}; "
            f"a loss of {metadata['memoryless']:.4g} needs no memory"
        )

    # Training: every step draws new sequences, so that nothing is carried between them

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    def batches(self) -> DeviceBatches:
        return DeviceBatches((), self._draw, axes=(1, None))

    def _draw(self, data, carry, step, key):
        del data, step
        return self.problem.draw(key, self.config.train.batch_size), carry

    def loss(self, params, carry, batch, key):
        del key
        xs, targets = batch
        losses = self.problem.losses(self._answer(params, xs), targets)
        return losses.mean(), Aux(carry)

    def _answer(self, params, xs):
        model = self.model(params)
        return model.last(xs) if self.problem.reads_last else model(xs)

    # Evaluation

    def evaluate(self, params, split):
        """The mean loss, and the fraction of what was remembered rightly."""
        loss, right = self._evaluate(params, seed_key(_SPLIT_KEYS[split]))
        return {"loss": float(loss), "right": float(right)}

    @functools.cached_property
    def _evaluate(self):
        rows = self.config.evaluation
        batches = -(-rows.sequences // rows.batch_size)

        def batch(params, key):
            xs, targets = self.problem.draw(key, rows.batch_size)
            outputs = self._answer(params, xs)
            metrics = self.problem.losses, self.problem.right
            return jnp.stack([f(outputs, targets).mean() for f in metrics])

        def evaluate(params, key):
            keys = jax.random.split(key, batches)
            return jax.lax.map(functools.partial(batch, params), keys).mean(0)

        return jax.jit(evaluate)

    def baselines(self, split, every=False):
        del split, every
        loss = self.problem.memoryless
        yield f"without a memory: a loss of {loss:.4g}", {"memoryless": loss}

    def sentence(self, metrics):
        ratio = metrics["loss"] / self.problem.memoryless
        return (
            f"loss {metrics['loss']:.3g}, {ratio:.1%} of what is possible without a "
            f"memory; {metrics['right']:.1%} right"
        )

    # Metadata

    def check_same_data(self, metadata, directory):
        """The data are drawn from the seed, so they are always the same."""
        del metadata, directory

    # Abilities

    def example(self) -> Example:
        """A sequence that the valid split does not have."""
        xs, _ = self.problem.draw(seed_key(_EXAMPLE_KEY), 1)
        words = [", ".join(f"{x:.3g}" for x in row) for row in xs[:, 0].tolist()]
        title = f"a sequence of the problem {self.config.problem.name}"
        return Example(title, lambda model: model(xs), words)

    def program(
        self,
        params,
        *,
        batch_first: bool = False,
        lengths: bool = True,
        carry: bool = True,
    ) -> Program:
        """The trained model for other programs; the arguments are those of
        `lstm_jax.interop.Program`."""
        return self.model(params).program(
            batch_first=batch_first, lengths=lengths, carry=carry
        )
