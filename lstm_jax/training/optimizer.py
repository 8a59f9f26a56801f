"""An Optax chain from its config."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import (
    Field,
    NonNegativeInt,
    ValidationInfo,
    field_validator,
)

from lstm_jax.config import Weight, config
from lstm_jax.training.averaging import AverageName, Averaging, make_averaging

_USED_BY = {
    "final_share": ("schedule", ("linear", "cosine")),
    "decay": ("schedule", ("epochs", "plateau")),
    "decay_after": ("schedule", ("epochs", "plateau")),
    "momentum": ("name", ("sgd",)),
    "weight_decay": ("name", ("adamw", "lion", "sgd")),
    "beta1": ("name", ("adam", "adamw", "lion")),
    "beta2": ("name", ("adam", "adamw", "lion")),
    "average_decay": ("average", ("ema",)),
    "average_after": ("average", ("nt_asgd",)),
}
"""Figures that only some choices read; elsewhere they would do nothing in silence."""

_BETAS = {"adam": (0.9, 0.999), "adamw": (0.9, 0.999), "lion": (0.9, 0.99)}


@config
class OptimizerConfig:
    """Clipping, update rule, learning-rate schedule and averages of the parameters."""

    name: Literal["sgd", "adam", "adamw", "lion"] = "adam"
    """The update rule: Kingma & Ba 2015, Loshchilov & Hutter 2019, Chen et al. 2023."""
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 2e-3
    """The highest learning rate of the run."""
    schedule: Literal["constant", "linear", "cosine", "epochs", "plateau"] = "cosine"
    """The course of the learning rate: `epochs` multiplies it by `decay` before every
    epoch after the first `decay_after`, `plateau` when validation has not fallen for
    `decay_after` evaluations in a row."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises to its highest value, before the
    schedule starts."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The learning rate of the last step, as a fraction of `learning_rate`."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """What `epochs` and `plateau` multiply the learning rate by."""
    decay_after: NonNegativeInt = 0
    """Epochs, or evaluations, that `epochs` and `plateau` wait for."""
    clip_norm: Weight = 1.0
    """Gradients of a larger global norm are scaled down to it; 0 leaves them."""
    clip_value: Weight = 0.0
    """Every single gradient is cut to this size, before the norm; 0 leaves them."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The momentum of `sgd`."""
    weight_decay: Weight = 0.0
    """Decoupled in `adamw` and `lion`; added to the clipped gradient in `sgd`."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the first moment; 0 takes 0.9."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the second moment; 0 takes 0.999, of `lion` 0.99."""
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Steps whose gradients make one update, of their mean. A schedule counts steps,
    and a run has a multiple of them."""
    average: AverageName = "none"
    """The average of the parameters that is evaluated and kept: `ema`, or `nt_asgd`,
    which starts when validation is worse than `average_after` evaluations ago."""
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How much an update of `ema` keeps."""
    average_after: NonNegativeInt = 0
    """Evaluations that `nt_asgd` looks back."""

    @field_validator(*_USED_BY)
    @classmethod
    def _is_used(cls, value: float, info: ValidationInfo) -> float:
        choice, users = _USED_BY[str(info.field_name)]
        if not value or choice not in info.data:  # absent if itself invalid
            return value
        chosen = info.data[choice]
        if chosen not in users:
            raise ValueError(
                f"{chosen} makes no use of it, expected 0; leave it out, or set "
                f"optimizer.{choice}={' or '.join(users)}"
            )
        return value

    def __post_init__(self):
        needed = {
            "decay": self.schedule in ("epochs", "plateau"),
            "decay_after": self.schedule == "plateau",
            "average_decay": self.average == "ema",
            "average_after": self.average == "nt_asgd",
        }
        for name, is_needed in needed.items():
            if is_needed and not getattr(self, name):
                choice, _ = _USED_BY[name]
                raise ValueError(
                    f"{getattr(self, choice)} needs optimizer.{name}, more than 0"
                )

    @property
    def follows_validation(self) -> bool:
        """Whether evaluations change what is trained, not only what is known."""
        return self.schedule == "plateau" or self.average == "nt_asgd"

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
        if self.clip_value:
            yield optax.clip(self.clip_value)
        if self.clip_norm:
            yield optax.clip_by_global_norm(self.clip_norm)

    def _rule(self, rate):
        if self.name == "sgd":
            if self.weight_decay:
                yield optax.add_decayed_weights(self.weight_decay)
            yield optax.sgd(rate, momentum=self.momentum or None)
            return
        b1, b2 = _BETAS[self.name]
        options: Any = dict(b1=self.beta1 or b1, b2=self.beta2 or b2)
        match self.name:
            case "adam":
                yield optax.adam(rate, **options)
            case "adamw":
                yield optax.adamw(rate, weight_decay=self.weight_decay, **options)
            case "lion":
                yield optax.lion(rate, weight_decay=self.weight_decay, **options)

    def averaging(self) -> Averaging:
        """What is averaged along the way."""
        return make_averaging(self.average, self.average_decay, self.accumulate)

    def applied_rates(self, steps: int, steps_per_epoch: int = 1) -> optax.Schedule:
        """Step to the learning rate of the update that the step is part of."""
        rates = self.learning_rates(steps, steps_per_epoch)
        every = self.accumulate
        if every == 1:
            return rates
        return lambda step: rates((jnp.asarray(step) // every + 1) * every - 1)

    def learning_rates(self, steps: int, steps_per_epoch: int = 1) -> optax.Schedule:
        """Step, from 0, to learning rate: linear warm-up, then the schedule.

        The warm-up does not depend on the length of the run, so a resumed run may be
        longer. The schedule reaches ``final_share`` in the last step. It reaches 0
        after the last step, which would do nothing otherwise.
        """
        top, warmup = self.learning_rate, self.warmup_steps
        rest = max(steps - warmup - (self.final_share > 0), 1)
        match self.schedule:
            case "constant" | "plateau":
                after = optax.constant_schedule(top)
            case "linear":
                after = optax.linear_schedule(top, top * self.final_share, rest)
            case "cosine":
                after = optax.cosine_decay_schedule(top, rest, self.final_share)
            case "epochs":
                after = self._by_epoch(top, warmup, steps_per_epoch)
        if warmup == 0:
            return after
        return optax.join_schedules(
            [optax.linear_schedule(top / (warmup + 1), top, warmup), after], [warmup]
        )

    def _by_epoch(self, top, warmup, steps_per_epoch):
        def rate(count):
            epoch = (count + warmup) // steps_per_epoch
            times = jnp.maximum(epoch + 1 - self.decay_after, 0)
            return top * jnp.float32(self.decay) ** times.astype("float32")

        return rate


def _scale_by_control():
    """Multiplies the updates by ``rate``, an argument of ``update``."""

    def update(updates, state, params=None, *, rate=1.0, **_):
        del params
        scale = lambda u: u * jnp.asarray(rate, u.dtype)
        return jax.tree.map(scale, updates), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )
