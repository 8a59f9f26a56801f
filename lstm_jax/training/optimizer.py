"""An Optax chain from its config: clipping, update rule, schedule, averages."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field, Tag

from lstm_jax._types import PyTree
from lstm_jax.config import NONE, Weight, config, kind_or
from lstm_jax.training.averaging import (
    AverageConfig,
    Averaging,
    NtAsgd,
    make_averaging,
)
from lstm_jax.training.schedules import Cosine, Plateau, ScheduleConfig

Size = Annotated[float, Field(gt=0, le=1e30)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@config
class _Optimizer:
    """What every update rule has."""

    kind: str = ""
    """The update rule."""
    learning_rate: Size = 2e-3
    """The highest learning rate of the run."""
    clip_norm: Annotated[Size | None, NONE] = 1.0
    """Gradients of a larger global norm are scaled down to it; "none" leaves them."""
    clip_value: Size | None = None
    """Clips every element of the gradient to [-clip_value, clip_value], before
    `clip_norm`; unset: no clipping."""
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Steps whose mean gradient makes one update. Schedules count steps. The steps of a
    run must be a multiple of it."""
    schedule: ScheduleConfig = Cosine()
    average: Annotated[AverageConfig | None, NONE] = None

    @property
    def follows_validation(self) -> bool:
        """Whether evaluations change what is trained, not only what is known."""
        return isinstance(self.schedule, Plateau) or isinstance(self.average, NtAsgd)

    def build(
        self, steps: int, steps_per_epoch: int = 1
    ) -> optax.GradientTransformationExtraArgs:
        """The chain for a run of ``steps`` steps; its ``update`` takes ``rate``, a
        factor of the learning rate."""
        rates = self.learning_rates(steps, steps_per_epoch)
        every = self.accumulate
        # Accumulation counts updates, the schedule of a run counts its steps: an
        # update has the rate of its last step.
        rate = rates if every == 1 else lambda n: rates(n * every + every - 1)
        chain = optax.chain(*self._clipping(), *self._rule(rate), _scale_by_control())
        if every == 1:
            return chain
        multi: Any = optax.MultiSteps(chain, every)
        return optax.GradientTransformationExtraArgs(multi.init, multi.update)

    def _clipping(self):
        if self.clip_value is not None:
            yield optax.clip(self.clip_value)
        if self.clip_norm is not None:
            yield optax.clip_by_global_norm(self.clip_norm)

    def _rule(self, rate: optax.Schedule) -> Iterator[Any]:
        raise NotImplementedError

    def averaging(self) -> Averaging:
        """What is averaged along the way."""
        return make_averaging(self.average, self.accumulate)

    def applied_rates(self, steps: int, steps_per_epoch: int = 1) -> optax.Schedule:
        """Step to the learning rate of the update that the step is part of."""
        rates = self.learning_rates(steps, steps_per_epoch)
        every = self.accumulate
        if every == 1:
            return rates
        return lambda step: rates((jnp.asarray(step) // every + 1) * every - 1)

    def learning_rates(self, steps: int, steps_per_epoch: int = 1) -> optax.Schedule:
        """Step, from 0, to learning rate: see `lstm_jax.training.schedules`."""
        return self.schedule.rates(self.learning_rate, steps, steps_per_epoch)


@config
class _Decaying(_Optimizer):
    weight_decay: Weight = 0.0
    """How much parameters shrink with every update, times the learning rate."""
    weight_decay_on: Literal["all", "matrices"] = "all"
    """What decays: "all" parameters, biases and embeddings too; or only "matrices",
    which leaves out embeddings and whatever has fewer than two axes."""

    @property
    def _mask(self) -> Any:
        return None if self.weight_decay_on == "all" else matrices


@config
class Sgd(_Decaying):
    """Stochastic gradient descent. `weight_decay` is added to the clipped gradient."""

    kind: Literal["sgd"] = "sgd"
    momentum: Decay = 0.0
    """How much of the last update is added to the next one; 0: plain descent."""

    def _rule(self, rate):
        if self.weight_decay:
            yield optax.add_decayed_weights(self.weight_decay, self._mask)
        yield optax.sgd(rate, momentum=self.momentum or None)


@config
class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"] = "adam"
    beta1: Decay = 0.9
    """Decay of the first moment."""
    beta2: Decay = 0.999
    """Decay of the second moment."""

    def _rule(self, rate):
        yield optax.adam(rate, b1=self.beta1, b2=self.beta2)


@config
class AdamW(_Decaying):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    beta1: Decay = 0.9
    """Decay of the first moment."""
    beta2: Decay = 0.999
    """Decay of the second moment."""

    def _rule(self, rate):
        betas: Any = dict(b1=self.beta1, b2=self.beta2)
        yield optax.adamw(
            rate, weight_decay=self.weight_decay, mask=self._mask, **betas
        )


@config
class Lion(_Decaying):
    """Lion (Chen et al. 2023), with decoupled weight decay."""

    kind: Literal["lion"] = "lion"
    beta1: Decay = 0.9
    """The part of the momentum in an update."""
    beta2: Decay = 0.99
    """Decay of the momentum."""

    def _rule(self, rate):
        betas: Any = dict(b1=self.beta1, b2=self.beta2)
        yield optax.lion(rate, weight_decay=self.weight_decay, mask=self._mask, **betas)


OptimizerConfig = Annotated[
    Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[Lion, Tag("lion")]
    | Annotated[Sgd, Tag("sgd")],
    kind_or("adam"),
]
"""An optimizer; without a ``kind`` it is `Adam`."""


def matrices(params: PyTree) -> PyTree:
    """True for every matrix that is not an embedding, False for all other parameters.

    >>> matrices({"w_h": jnp.ones((2, 8)), "b": jnp.ones(8)})
    {'b': False, 'w_h': True}
    """

    def decays(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return jnp.ndim(leaf) >= 2 and "embed" not in name

    return jax.tree_util.tree_map_with_path(decays, params)


def _scale_by_control():
    """Multiplies the updates by ``rate``, an argument of ``update``."""

    def update(updates, state, params=None, *, rate=1.0, **_):
        del params
        scale = lambda u: u * jnp.asarray(rate, u.dtype)
        return jax.tree.map(scale, updates), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )
