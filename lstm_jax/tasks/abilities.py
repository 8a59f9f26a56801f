"""What only some tasks can do. A command asks for one and says when a task lacks it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from lstm_jax._types import PyTree
from lstm_jax.data.stored import Text
from lstm_jax.inference import Sampling
from lstm_jax.programs.program import Exportable
from lstm_jax.scores import class_scores
from lstm_jax.training.run_errors import RunError


class Generator(Protocol):
    """Continues a prompt."""

    @property
    def beginning(self) -> str:
        """The prompt where the user gives none."""
        ...

    def limited(self, stop: Sequence[str] = (), unknown: bool = True) -> "Generator":
        """The same with stop strings, and with or without ``<unk>``."""
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
    """A task whose model can be exported."""

    def program(
        self,
        params: PyTree,
        *,
        batch_first: bool = False,
        lengths: bool = True,
        carry: bool = True,
    ) -> Exportable:
        """The trained model; the arguments are those of `lstm_jax.interop.Program`,
        and those that it has no use for change nothing."""
        ...


class Folder(NamedTuple):
    """A model for export that is several functions."""

    functions: Mapping[str, Exportable]
    """The functions by name, each for a file of its own."""
    files: Mapping[str, str]
    """The text of every other file that is needed to run them, by its name."""


@runtime_checkable
class ExportsFolder(Protocol):
    """A task whose model is exported as a folder of files."""

    def folder(self, params: PyTree, *, batch_first: bool = False) -> Folder:
        """The functions of the trained model, and the files beside them."""
        ...


class Predictions(NamedTuple):
    """What a model says of new data, a row each, in the order of the data."""

    columns: list[str]
    rows: list[list[Any]]


@runtime_checkable
class Predicts(Protocol):
    """A task that predicts on new data."""

    def predict(self, params: PyTree, path: str) -> Predictions:
        """Predictions for the data of a file, which needs no labels."""
        ...


@runtime_checkable
class PredictsAhead(Protocol):
    """A task whose predictions are the steps after the end of the data."""

    def predict_ahead(
        self,
        params: PyTree,
        path: str,
        horizon: int | None = None,
        columns: Mapping[str, float] | None = None,
        conformal: Sequence[float] = (),
    ) -> Predictions:
        """The next ``horizon`` steps, with the quantiles of some levels.

        Args:
            params: the parameters.
            path: a file with the data up to now.
            horizon: steps to predict; ``None``: those of training.
            columns: quantiles: what the names of their columns end in, and the level
                of each; ``None``: those of training.
            conformal: conformal intervals in percent, instead of ``columns``.
        """
        ...


class Fan(NamedTuple):
    """Forecasts of a series from several cuts, with their prediction intervals."""

    name: str
    """The series."""
    times: np.ndarray
    """``[T]``: some history, and all steps that are forecast."""
    values: np.ndarray
    """The truth ``[T]``; NaN where nothing is observed."""
    starts: np.ndarray
    """The first step of every forecast ``[N]``."""
    forecasts: np.ndarray
    """``[N, H]``"""
    bands: list[tuple[float, np.ndarray, np.ndarray]]
    """Percent between two quantiles and their values ``[N, H]``, the widest first."""


class Backtest(NamedTuple):
    """Forecasts of data that a model was not trained on, and how good they are."""

    metrics: dict[str, float]
    """The metrics of all forecasts, by the names of an evaluation."""
    by_series: list[dict[str, Any]]
    """The metrics of each series, with its name as ``series``."""
    forecasts: Predictions
    """Every forecast, with the truth and the last time before it."""
    fans: list[Fan]
    """What to draw of each series."""


@runtime_checkable
class Backtests(Protocol):
    """A task whose predictions can be compared with what came then."""

    def backtest(self, params: PyTree, count: int, step: int | None) -> Backtest:
        """Forecasts of the last ``count`` windows, ``step`` steps apart."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What every token of a text costs under a model."""

    tokens: np.ndarray
    """The tokens ``[N]``."""
    nats: np.ndarray
    """``-log p(tokens[t] | tokens[:t])`` for ``t`` from 1, float32 ``[N - 1]``: nothing
    comes before the first token that it could be predicted from."""
    metrics: Mapping[str, float]
    """The metrics of the text, by the names of an evaluation."""
    spelled: Callable[[int], str]
    """The text of one token."""

    columns = ("index", "id", "token", "nats")
    """What a row of `rows` has."""

    def rows(self) -> Iterator[tuple[int, int, str, float | None]]:
        """``(index, id, text, nats)`` of every token; no nats of the first."""
        for at, token in enumerate(self.tokens.tolist()):
            nats = float(self.nats[at - 1]) if at else None
            yield at, token, self.spelled(token), nats


@runtime_checkable
class ScoresText(Protocol):
    """A task whose model says how likely a text is."""

    def score(self, params: PyTree, text: Text) -> Scored:
        """The losses of all tokens of a text, read from its beginning."""
        ...


@runtime_checkable
class Translates(Protocol):
    """A task that translates sentences."""

    def translate(
        self,
        params: Sequence[PyTree],
        sentences: Sequence[str],
        options: Any = None,
        copy_unknown: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> list[list[Any]]:
        """The translations of every sentence, in order: the best first, or in the
        order in which they were drawn.

        Args:
            params: the parameters of each model of an ensemble, or of one.
            sentences: one line each.
            options: `BeamOptions` or `SampleOptions` of `lstm_jax.tasks.translating`;
                ``None``: those of the config.
            copy_unknown: whether a word of the sentence stands for every ``<unk>``.
            prefixes: what the translation of each sentence begins with.
        """
        ...

    @property
    def beam_options(self) -> Any:
        """How translations are searched for unless the user asks for something else."""
        ...

    def align(
        self, params: PyTree, sources: Sequence[str], targets: Sequence[str]
    ) -> list[Any]:
        """What given translations cost, token by token, and where they attended to."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """A task that writes down what is said."""

    @property
    def rate(self) -> int:
        """Samples a second of the sounds that it hears."""
        ...

    @property
    def transcription_options(self) -> Any:
        """How transcripts are searched for unless the user asks for something else."""
        ...

    def language(self, generator: Any, params: PyTree) -> Any:
        """A language model for the options of a search; see
        `lstm_jax.tasks.transcription_fusion.label_model`."""
        ...

    def transcribe(
        self, params: PyTree, sounds: Sequence[np.ndarray], options: Any = None
    ) -> list[list[Any]]:
        """The transcripts of every sound, in order, the best first.

        Args:
            params: the parameters.
            sounds: samples ``[N]`` each, at the rate of the model.
            options: a `TranscriptionOptions` of
                `lstm_jax.tasks.transcription_search`; ``None``: that of the config.
        """
        ...

    def posteriors(self, params: PyTree, sound: np.ndarray) -> Any:
        """What the model heard at every step of a sound ``[N]``; see
        `lstm_jax.tasks.transcribing.Posteriors`."""
        ...

    def stream(
        self, params: PyTree, rate: int | None = None, options: Any = None
    ) -> Any:
        """A transcript that grows while the sound comes; see
        `lstm_jax.tasks.transcription_stream.TranscriptStream`.

        Args:
            params: the parameters.
            rate: samples a second of the sound; ``None``: that of the model.
            options: as in `transcribe`.
        """
        ...


class Details(NamedTuple):
    """More than a few numbers of an evaluation."""

    columns: list[str]
    rows: list[tuple]
    """A table."""
    confusion: np.ndarray
    """How often each class was predicted for each, ``[C, C]``."""
    classes: Sequence[str]
    """The names of the classes."""


def details_of(
    confusion: np.ndarray, classes: Sequence[str], kind: str, counted: str
) -> Details:
    """Precision, recall and F1 by class, from a confusion matrix ``[C, C]``.

    Args:
        confusion: how often each class was predicted for each.
        classes: their names.
        kind: what a class is called, such as "tag".
        counted: what is counted, such as "tokens".
    """
    scores = class_scores(confusion)
    rows = [(name, *of) for name, of in zip(classes, scores, strict=True)]
    columns = [kind, "precision", "recall", "F1", counted]
    return Details(columns, rows, confusion, classes)


@runtime_checkable
class HasDetails(Protocol):
    """A task of whose evaluation there is a table by class."""

    def details(self, params: PyTree, split: str) -> Details:
        """The details of a split."""
        ...


class Example(NamedTuple):
    """One sequence of the data that a model can be run on."""

    title: str
    """What it is, such as "the beginning of the valid split"."""
    run: Callable[[Any], Any]
    """Runs a model on it, in evaluation and outside of ``jax.jit``."""
    steps: Sequence[str]
    """What the model reads at every step, in words."""
    is_text: bool = False
    """Whether the steps are pieces of a text that the user can read."""
    between: str = ""
    """What stands between two pieces of the text."""


@runtime_checkable
class HasExample(Protocol):
    """A task that can show its model an example of its data."""

    def example(self) -> Example:
        """A sequence of the validation data, or of the training data."""
        ...


def require(task: Any, ability: type, does: str, advice: str) -> Any:
    """The task, if it has an ability.

    Args:
        task: the task.
        ability: one of the protocols above.
        does: what the task would do, a verb such as "generate text".
        advice: what the user can do instead.

    Raises:
        RunError: the task does not have this ability.
    """
    if not isinstance(task, ability):
        raise RunError(
            f"the task {task.config.task} of this run cannot {does}; {advice}."
        )
    return task
