"""Builds an ONNX graph: nodes, weights, unique names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_jax.interop.onnx.package import onnx


class Graph:
    """Collects nodes in the order in which they run.

    ``onnx()`` below is the package, imported on use.
    """

    def __init__(self):
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._names: set[str] = set()

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """Adds a node; returns the name of its first output, made up if
        none is given.
        """
        outputs = list(outputs) or [self.fresh(operator.lower())]
        node = onnx().helper.make_node(
            operator, list(inputs), outputs, self.fresh(operator), **attributes
        )
        self.nodes.append(node)
        return outputs[0]

    def weight(self, name: str, array: np.ndarray) -> str:
        """Adds an initializer; returns its name."""
        name, array = self.fresh(name), np.asarray(array, order="C")
        self.weights.append(onnx().numpy_helper.from_array(array, name))
        return name

    def axes(self, *numbers: int) -> str:
        """Adds axes or sizes as a small initializer; equal ones are shared."""
        name = f"axes_{'_'.join(map(str, numbers))}".replace("-", "minus")
        if name not in self._names:
            self.weight(name, np.array(numbers, np.int64))
        return name

    def rename(self, old: str, new: str) -> None:
        """Renames a value everywhere."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def fresh(self, name: str) -> str:
        """``name``, with a number appended if the name is in use."""
        number, free = 0, name
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free
