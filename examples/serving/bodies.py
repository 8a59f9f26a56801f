"""What a request of steps may hold."""

from typing import Annotated

import numpy as np
from models import Model
from pydantic import BaseModel, ConfigDict, Field, field_validator

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def steps_type(model: Model, most: int) -> type[BaseModel]:
    """The pydantic model of ``{"inputs": [[...D numbers], ...]}``, of 1 to ``most``
    steps.
    """

    class Steps(BaseModel):
        model_config = ConfigDict(extra="forbid")
        inputs: list[list[Number]]

        @field_validator("inputs")
        @classmethod
        def fits(cls, inputs):
            if wrong := wrong_sizes(inputs, model.in_size, most):
                raise ValueError(wrong)
            if wrong := model.check(np.array(inputs)):
                raise ValueError(wrong)
            return inputs

        def array(self) -> np.ndarray:
            return np.array(self.inputs, np.float32)

    return Steps


def wrong_sizes(inputs, in_size: int, most: int) -> str | None:
    """Says what is wrong with the sizes of inputs ``[T, D]``; ``None``: nothing."""
    if not 1 <= len(inputs) <= most:
        return f"inputs has {len(inputs)} steps, expected 1 to {most}."
    for n, x in enumerate(inputs):
        if len(x) != in_size:
            return f"inputs[{n}] has {len(x)} numbers, expected {in_size}."
    return None
