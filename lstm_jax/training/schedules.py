"""Learning-rate schedules: a config for each kind, and the rates that it makes."""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
import optax
from pydantic import Field, NonNegativeInt, PositiveInt, Tag

from lstm_jax.config import config, kind_or

Factor = Annotated[float, Field(gt=0, lt=1)]


@config
class _Schedule:
    kind: str = ""
    """The kind of schedule."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the rate rises to `optimizer.learning_rate`. The schedule starts
    after them."""

    def rates(self, top: float, steps: int, steps_per_epoch: int) -> optax.Schedule:
        """Step, from 0, to learning rate: linear warm-up, then the schedule.

        The warm-up does not depend on the length of the run, so a resumed run may be
        longer.

        Args:
            top: the highest rate.
            steps: steps of the whole run.
            steps_per_epoch: steps of an epoch.
        """
        after, warmup = self._after(top, steps, steps_per_epoch), self.warmup_steps
        if warmup == 0:
            return after
        rise = optax.linear_schedule(top / (warmup + 1), top, warmup)
        return optax.join_schedules([rise, after], [warmup])

    def _after(self, top: float, steps: int, steps_per_epoch: int) -> Any:
        """The rates after the warm-up; its end is step 0."""
        raise NotImplementedError


@config
class Constant(_Schedule):
    """The same rate in every step."""

    kind: Literal["constant"] = "constant"

    def _after(self, top, steps, steps_per_epoch):
        return optax.constant_schedule(top)


@config
class _Falling(_Schedule):
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The rate of the last step, as a fraction of `optimizer.learning_rate`. With 0 the
    rate is 0 only after the last step: a step of rate 0 would do nothing."""

    def _length(self, steps):
        return max(steps - self.warmup_steps - (self.final_fraction > 0), 1)


@config
class Linear(_Falling):
    """A straight line down to `final_fraction`."""

    kind: Literal["linear"] = "linear"

    def _after(self, top, steps, steps_per_epoch):
        end = top * self.final_fraction
        return optax.linear_schedule(top, end, self._length(steps))


@config
class Cosine(_Falling):
    """Half a cosine wave down to `final_fraction` (Loshchilov & Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"

    def _after(self, top, steps, steps_per_epoch):
        length = self._length(steps)
        return optax.cosine_decay_schedule(top, length, self.final_fraction)


@config
class Epochs(_Schedule):
    """The rate is multiplied by `decay` before every epoch after the first ones."""

    kind: Literal["epochs"] = "epochs"
    decay: Factor = 0.5
    """What the rate is multiplied by."""
    after: NonNegativeInt = 1
    """Epochs with the full rate."""

    def _after(self, top, steps, steps_per_epoch):
        def rate(count):
            epoch = (count + self.warmup_steps) // steps_per_epoch
            times = jnp.maximum(epoch + 1 - self.after, 0)
            return top * jnp.float32(self.decay) ** times.astype("float32")

        return rate


@config
class Plateau(_Schedule):
    """The rate is multiplied by `decay` whenever validation stops getting better."""

    kind: Literal["plateau"] = "plateau"
    decay: Factor = 0.5
    """What the rate is multiplied by."""
    after: PositiveInt = 1
    """Evaluations in a row without a better `train.monitor`, before the rate falls."""

    def _after(self, top, steps, steps_per_epoch):
        # `lstm_jax.training.validation` has the factor, by which updates are scaled.
        return optax.constant_schedule(top)


ScheduleConfig = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Linear, Tag("linear")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Epochs, Tag("epochs")]
    | Annotated[Plateau, Tag("plateau")],
    kind_or("cosine"),
]
"""A schedule; without a ``kind`` it is `Cosine`."""
