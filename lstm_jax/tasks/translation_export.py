"""A trained translator as two functions of named arrays, for export.

    encoder    tokens and lengths to the memory and the first state
    decoder    one step: a token, the memory and the state to the next logits and state

An output of the encoder and the input of the decoder that reads it have one name. Every
output ``NAME_out`` of the decoder is ``NAME`` of its next step. The axes are

    B    sentences
    S    source positions
    R    rows of the decoder, as many for each sentence, side by side: R = B * width
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, PyTree
from lstm_jax.core.cells.lstm import LSTMCarry
from lstm_jax.core.trees import by_path
from lstm_jax.models.translation.attention import Memory
from lstm_jax.models.translation.decoder import DecoderCarry
from lstm_jax.models.translation.translator import Translator
from lstm_jax.programs.pieces import Layers
from lstm_jax.programs.program import Spec
from lstm_jax.tasks.translation_onnx import write_decoder, write_encoder


@dataclasses.dataclass(frozen=True, eq=False)
class _Function(abc.ABC):
    """What both functions have. They compute in float32.

    Args:
        model: parameters to the translator, in evaluation.
        params: the parameters.
        batch_first: whether the tokens of the encoder are ``[B, S]``, not ``[S, B]``.
    """

    model: Callable[[PyTree], Translator]
    params: PyTree
    batch_first: bool = False

    def __post_init__(self):
        as_floats = lambda a: jnp.asarray(a, jnp.float32)
        object.__setattr__(self, "params", jax.tree.map(as_floats, self.params))

    @functools.cached_property
    def translator(self) -> Translator:
        """The translator with these parameters."""
        return self.model(self.params)

    @property
    def weights(self) -> dict[str, Array]:
        """Every weight by its path."""
        return by_path(self.params)

    def with_weights(self, weights: Mapping[str, Array]) -> Self:
        """The same function with all weights replaced."""
        leaves = [weights[name] for name in self.weights]
        params = jax.tree.unflatten(jax.tree.structure(self.params), leaves)
        return dataclasses.replace(self, params=params)

    @property
    def pieces(self) -> tuple[Layers, ...]:
        """The recurrent layers of the encoder."""
        encoder = self.translator.encoder
        return (Layers(encoder.stack, encoder.params),)

    @property
    @abc.abstractmethod
    def inputs(self) -> tuple[Spec, ...]:
        """The inputs, in order."""

    @property
    @abc.abstractmethod
    def outputs(self) -> tuple[Spec, ...]:
        """The outputs, in order."""

    @property
    def _memory(self):
        size = self.translator.config.hidden_size
        names = ("values",) if self._is_dot else ("keys", "values")
        parts = [Spec(name, "float32", ("B", "S", size)) for name in names]
        return (*parts, Spec("bias", "float32", ("B", "S")))

    @property
    def _is_dot(self):
        """The keys are the values."""
        return self.translator.config.attention == "dot"

    def _state(self, rows, suffix=""):
        config = self.translator.config
        layers = range(config.num_layers)
        names = [f"layer{n}_{field}" for n in layers for field in LSTMCarry._fields]
        names += ["fed"] if config.input_feeding else []
        shapes = dict.fromkeys(names, (rows, config.hidden_size))
        shapes |= {"coverage": (rows, "S")} if config.coverage else {}
        return tuple(Spec(f"{n}{suffix}", "float32", s) for n, s in shapes.items())


class EncoderFunction(_Function):
    """Reads the source sentences.

    tokens      [S, B] int32, or [B, S] with ``batch_first``; the padding is not read
    lengths     [B] int32, the real tokens of every sentence
    keys        [B, S, H], what the decoder compares with; not with the score dot
    values      [B, S, H], what the decoder reads
    bias        [B, S], added to the scores: very small in the padding
    layer0_h    [B, H], and so on: the state before the first target token; with
                input feeding ``fed`` [B, H], with coverage ``coverage`` [B, S]
    """

    @property
    def inputs(self) -> tuple[Spec, ...]:
        axes = ("B", "S") if self.batch_first else ("S", "B")
        return Spec("tokens", "int32", axes), Spec("lengths", "int32", ("B",))

    @property
    def outputs(self) -> tuple[Spec, ...]:
        return (*self._memory, *self._state("B"))

    def __call__(
        self, inputs: Mapping[str, Array], *, implementation: str | None = None
    ) -> dict[str, Array]:
        tokens, model = inputs["tokens"], self.model(self.params)
        model.encoder.implementation = implementation
        tokens = tokens.T if self.batch_first else tokens
        memory, carry = model.encode(tokens, inputs["lengths"])
        made = {**memory._asdict(), **_named(carry)}
        return {spec.name: made[spec.name] for spec in self.outputs}

    def write_onnx(self, graph: Any) -> None:
        """Adds the nodes to a `lstm_jax.interop.onnx.graph.Graph`."""
        write_encoder(graph, self.translator, self.batch_first)


class DecoderFunction(_Function):
    """Says the next token of every row.

    tokens      [R] int32, the last token of every row, at first ``begin``
    keys ...    the memory of the B sentences, which the encoder returns
    layer0_h    [R, H], and so on: the state of every row
    logits      [R, V], of the next token
    attention   [R, heads, S], the weights of the source positions
    layer0_h_out and so on: the next state
    """

    constraints = ("B*floordiv(R, B) == R",)
    """What JAX must know of the axes: every sentence has the same number of rows."""

    @property
    def inputs(self) -> tuple[Spec, ...]:
        tokens = Spec("tokens", "int32", ("R",))
        return (tokens, *self._memory, *self._state("R"))

    @property
    def outputs(self) -> tuple[Spec, ...]:
        model = self.translator
        said = Spec("logits", "float32", ("R", model.head_weights[0].shape[1]))
        attention = Spec("attention", "float32", ("R", model.config.heads, "S"))
        return (said, attention, *self._state("R", "_out"))

    def __call__(
        self, inputs: Mapping[str, Array], *, implementation: str | None = None
    ) -> dict[str, Array]:
        del implementation  # one step: there is no loop
        values, model = inputs["values"], self.model(self.params)
        memory = Memory(inputs.get("keys", values), values, inputs["bias"])
        state = lambda n: LSTMCarry(inputs[f"layer{n}_h"], inputs[f"layer{n}_c"])
        layers = tuple(map(state, range(model.config.num_layers)))
        fed = inputs.get("fed", layers[-1].h)  # not read without input feeding
        carry = DecoderCarry(layers, fed, inputs.get("coverage", ()))
        carry, logits, attention = model.step(memory, carry, inputs["tokens"])
        made = {f"{name}_out": a for name, a in _named(carry).items()}
        made |= {"logits": logits, "attention": attention}
        return {spec.name: made[spec.name] for spec in self.outputs}

    def write_onnx(self, graph: Any) -> None:
        """Adds the nodes to a `lstm_jax.interop.onnx.graph.Graph`."""
        write_decoder(graph, self.translator)


def _named(carry):
    layers = {
        f"layer{n}_{field}": part
        for n, layer in enumerate(carry.layers)
        for field, part in layer._asdict().items()
    }
    return layers | {"fed": carry.fed, "coverage": carry.coverage}
