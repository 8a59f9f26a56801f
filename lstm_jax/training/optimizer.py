"""An Optax chain from its config."""

from typing import Annotated, Literal

import optax
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    ValidationInfo,
    field_validator,
)

from lstm_jax.config import config

_USED_BY = {
    "final_share": ("schedule", ("linear", "cosine")),
    "momentum": ("name", ("sgd",)),
    "weight_decay": ("name", ("adamw",)),
}
"""Figures that only some choices read; elsewhere they would do nothing in silence."""


@config
class OptimizerConfig:
    """Clipping, update rule and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: PositiveFloat = 2e-3
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The learning rate of the last step, as a share of ``learning_rate``."""
    clip_norm: NonNegativeFloat = 1.0
    """Gradients of a larger global norm are scaled down to it; 0 leaves them."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 0.0

    @field_validator(*_USED_BY)
    @classmethod
    def _is_used(cls, value: float, info: ValidationInfo) -> float:
        choice, users = _USED_BY[str(info.field_name)]
        chosen = info.data.get(choice, users[0])  # absent if itself invalid
        if value and chosen not in users:
            raise ValueError(
                f"{chosen} makes no use of it, expected 0; leave it out, or set "
                f"optimizer.{choice}={' or '.join(users)}"
            )
        return value

    def build(self, steps: int) -> optax.GradientTransformation:
        """The chain for a run of ``steps`` steps."""
        rate = self.learning_rates(steps)
        match self.name:
            case "sgd":
                rule = optax.sgd(rate, momentum=self.momentum or None)
            case "adam":
                rule = optax.adam(rate)
            case "adamw":
                rule = optax.adamw(rate, weight_decay=self.weight_decay)
        if self.clip_norm == 0:
            return rule
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)

    def learning_rates(self, steps: int) -> optax.Schedule:
        """Step to learning rate: linear warm-up, then the schedule."""
        top, warmup = self.learning_rate, min(self.warmup_steps, steps)
        rest = max(steps - warmup, 1)
        match self.schedule:
            case "constant":
                after = optax.constant_schedule(top)
            case "linear":
                after = optax.linear_schedule(top, top * self.final_share, rest)
            case "cosine":
                after = optax.cosine_decay_schedule(top, rest, self.final_share)
        if warmup == 0:
            return after
        return optax.join_schedules(
            [optax.linear_schedule(0.0, top, warmup), after], [warmup]
        )
