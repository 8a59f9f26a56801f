"""A trained run in Python: its model, its parameters, and what its task can do."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lstm_jax._types import PyTree
from lstm_jax.data.sounds import check_sound, read_sound, resample
from lstm_jax.data.stored import Text
from lstm_jax.data.tokens.tokenizer import utf8
from lstm_jax.inference import Sampling
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import (
    Generates,
    Predicts,
    Scored,
    ScoresText,
    Transcribes,
    Translates,
    require,
)
from lstm_jax.tasks.transcription_search import USUAL_WEIGHT
from lstm_jax.training.task import Task


@dataclasses.dataclass(frozen=True, repr=False)
class LoadedRun:
    """A trained run. What only some tasks can do raises `RunError` for the others.

    See `lstm_jax.load_run`.
    """

    directory: Path
    task: Task
    params: PyTree
    """The best parameters of the best seed."""
    metadata: Mapping[str, Any]
    """What run.json says: data, sizes, versions, machine."""

    def __repr__(self):
        size = self.metadata.get("parameters", "?")
        return (
            f"LoadedRun({str(self.directory)!r}, task={self.config.task!r}, "
            f"parameters={size})"
        )

    @property
    def config(self) -> Any:
        """The config of the run."""
        return self.task.config

    @property
    def model(self) -> Any:
        """The Flax module with the parameters, in evaluation."""
        return self.task.model(self.params)

    @property
    def tokenizer(self) -> Any:
        """Text to tokens and back; ``None`` where the task has no tokens."""
        return getattr(self.task, "tokenizer", None)

    def evaluate(self, split: str | None = None) -> dict[str, float]:
        """The metrics of a split; by default of the one that results are of.

        Raises:
            RunError: the data are not those of the run.
            DataError: the data cannot be read, or have no such split.
        """
        self.task.check_same_data(self.metadata, self.directory)
        return self.task.evaluate(self.params, split or self.task.final_split)

    def generate(
        self,
        prompt: str | None = None,
        length: int = 400,
        *,
        temperature: float = 0.7,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        unknown: bool = True,
    ) -> str:
        """The prompt and ``length`` tokens after it.

        Args:
            prompt: where to go on from; by default a new line.
            length: how many tokens to generate.
            temperature, top_k, top_p: see `lstm_jax.inference.Sampling`.
            seed: the text is a function of it.
            stop: the text ends before the first of these strings after the prompt.
            unknown: whether a model of words may generate ``<unk>``.

        Raises:
            RunError: the task generates no text.
            DataError: the prompt or a stop string is empty, the vocabulary does not
                have all of the prompt, or ``unknown`` is given for other tokens.
        """
        advice = "load a run of the task language_model"
        task = require(self.task, Generates, "generate text", advice)
        generator = task.generator.limited(stop, unknown)
        sampling = Sampling(temperature, top_k, top_p)
        first = generator.beginning if prompt is None else prompt
        return "".join(generator.generate(self.params, first, length, sampling, seed))

    def translate(
        self,
        sentences: Sequence[str],
        *,
        beams: int | None = None,
        alpha: float | None = None,
        coverage_penalty: float | None = None,
        no_repeat: int | None = None,
        min_length: int | None = None,
        max_ratio: float | None = None,
        copy_unknown: bool = False,
    ) -> list[str]:
        """The best translation of every sentence, in order.

        Args:
            sentences: one line each; an empty one has an empty translation.
            beams, alpha, coverage_penalty, no_repeat, min_length, max_ratio: how to
                search, see `lstm_jax.tasks.translating.BeamOptions`; ``None``: as the
                config says.
            copy_unknown: whether a word of the sentence stands for every ``<unk>``.

        Raises:
            TypeError: ``sentences`` is a single string.
            ValueError: an option is out of its range.
            RunError: the task does not translate.
            DataError: a sentence cannot be encoded, or ``copy_unknown`` is given and
                the tokens are not words.
        """
        if isinstance(sentences, str):
            raise TypeError("sentences is a string, expected a list of strings.")
        advice = "load a run of the task translation"
        task = require(self.task, Translates, "translate", advice)
        named = dict(
            beams=beams,
            alpha=alpha,
            coverage_penalty=coverage_penalty,
            no_repeat=no_repeat,
            min_length=min_length,
            max_ratio=max_ratio,
        )
        given = {name: value for name, value in named.items() if value is not None}
        options = dataclasses.replace(task.beam_options, **given)
        found = self.translations(sentences, options, copy_unknown=copy_unknown)
        return [best.text for best, *_ in found]

    def translations(
        self,
        sentences: Sequence[str],
        options: Any = None,
        *,
        prefixes: Sequence[str] | None = None,
        copy_unknown: bool = False,
    ) -> list[list[Any]]:
        """Several translations of every sentence with their scores, or drawn ones.

        Args:
            sentences: one line each.
            options: ``None`` searches as the config says. For the three best:
                ``dataclasses.replace(run.task.beam_options, results=3)``. To draw two:
                ``SampleOptions(Sampling(temperature=0.7), seed=1, results=2)``, a
                `lstm_jax.tasks.translating.SampleOptions`.
            prefixes: what the translation of each sentence begins with.
            copy_unknown: as in `translate`.

        Returns:
            A list of `lstm_jax.tasks.translating.Translation` for every sentence.

        Raises:
            TypeError: ``sentences`` or ``prefixes`` is a single string.
            RunError: the task does not translate.
            DataError: as in `translate`, or there are not as many prefixes as
                sentences.
        """
        for name, given in (("sentences", sentences), ("prefixes", prefixes)):
            if isinstance(given, str):
                raise TypeError(f"{name} is a string, expected a list of strings.")
        advice = "load a run of the task translation"
        task = require(self.task, Translates, "translate", advice)
        given = options, copy_unknown, prefixes
        return task.translate([self.params], sentences, *given)

    def align(
        self, sentences: Sequence[str], translations: Sequence[str] | None = None
    ) -> list[Any]:
        """Where translations attended to, and what each of their tokens costs.

        Args:
            sentences: one line each.
            translations: theirs, by anyone; ``None``: those of `translate`.

        Returns:
            A `lstm_jax.tasks.translation_reading.Alignment` for every sentence.

        Raises:
            TypeError: one of them is a single string.
            RunError: the task does not translate.
            DataError: there are not as many translations as sentences, or one cannot be
                encoded.
        """
        for name, given in (("sentences", sentences), ("translations", translations)):
            if isinstance(given, str):
                raise TypeError(f"{name} is a string, expected a list of strings.")
        advice = "load a run of the task translation"
        task = require(self.task, Translates, "align translations", advice)
        if translations is None:
            translations = self.translate(sentences)
        return task.align(self.params, sentences, translations)

    def transcribe(
        self,
        sounds: Sequence[Any],
        *,
        rate: int | None = None,
        beams: int | None = None,
        language_model: "LoadedRun | None" = None,
        weight: float = USUAL_WEIGHT,
        bonus: float = 0.0,
    ) -> list[Any]:
        """What is said in every sound.

        Args:
            sounds: paths of sound files, or arrays of samples ``[N]``, floating point,
                between -1 and 1.
            rate: samples a second of the arrays; ``None``: that of the model,
                ``run.config.features.rate``.
            beams: transcripts that the search follows; ``None``: as the config says, or
                16 with a language model.
            language_model: a run of the task language_model, which helps to choose;
                see the page on speech.
            weight: what its log-probabilities are multiplied by.
            bonus: what every token adds to the score of a transcript, with several
                beams.

        Returns:
            A `lstm_jax.tasks.transcribing.Transcript` for every sound: its text, and
            its words with their times.

        Raises:
            TypeError: ``sounds`` is a single path or array, or samples are not floating
                point.
            ValueError: ``beams`` is out of its range, or 1 with a language model.
            RunError: the task does not transcribe, or that of the language model does
                not generate text.
            DataError: a file is not a sound, or samples are not finite or not between
                -1 and 1; the message names them.
        """
        task = self._transcriber()
        if isinstance(sounds, str | os.PathLike) or hasattr(sounds, "dtype"):
            raise TypeError(
                f"sounds is a {type(sounds).__name__}, expected a list of paths or of "
                f"arrays."
            )
        options = self._search(task, beams, language_model, weight, bonus)
        own, samples = task.rate, []
        for n, sound in enumerate(sounds):
            if isinstance(sound, str | os.PathLike):
                samples.append(read_sound(Path(sound), own))
                continue
            given = own if rate is None else rate
            checked = check_sound(sound, given, f"sounds[{n}]")
            samples.append(resample(checked, given, own))
        return [best for best, *_ in task.transcribe(self.params, samples, options)]

    def stream(
        self,
        rate: int | None = None,
        *,
        beams: int | None = None,
        language_model: "LoadedRun | None" = None,
        weight: float = USUAL_WEIGHT,
        bonus: float = 0.0,
    ) -> Any:
        """A transcript that grows while the sound comes.

        ::

            stream = run.stream(rate=16_000)
            for samples in microphone:            # [N] each, of any length
                print(stream.feed(samples).text)
            transcript = stream.finish()

        Args:
            rate: samples a second of the sound; ``None``: that of the model.
            beams, language_model, weight, bonus: as in `transcribe`.

        Raises:
            ValueError, RunError: as in `transcribe`.
            DataError: the model needs the whole sound.
        """
        task = self._transcriber()
        options = self._search(task, beams, language_model, weight, bonus)
        return task.stream(self.params, rate, options)

    def _search(self, task, beams, language_model, weight, bonus) -> Any:
        """The options of a transcription."""
        language = None
        if language_model is not None:
            advice = "pass a run of the task language_model"
            other = require(language_model.task, Generates, "generate text", advice)
            language = task.language(other.generator, language_model.params)
        return task.transcription_options.changed(beams, language, weight, bonus)

    def _transcriber(self) -> Any:
        advice = "load a run of the task transcription"
        return require(self.task, Transcribes, "transcribe", advice)

    def score(self, text: str) -> Scored:
        """What every token of a text costs under the model, in nats.

        Args:
            text: any text of two tokens or more; the model reads it from its beginning.

        Raises:
            RunError: the task is not a language model.
            DataError: the text has fewer than two tokens, half a character, or a
                character that the vocabulary does not have.
        """
        advice = "load a run of the task language_model"
        task = require(self.task, ScoresText, "score text", advice)
        utf8(text)
        return task.score(self.params, Text.of(text))

    def predict(self, path: str | Path) -> list[dict[str, Any]]:
        """Predictions for the data of a file, a dictionary a row, in its order.

        Args:
            path: a file or folder like that of training. It needs no labels.

        Raises:
            TypeError: ``path`` is no path, such as an array.
            RunError: the task does not predict on new data.
            DataError: the data cannot be used; the message names file and line.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                f"path is of type {type(path).__name__}, expected the path of a file "
                f"or a folder like data.path={self.metadata.get('data')!r} of the run; "
                f"write the data to such a file and pass its path."
            )
        advice = "load a run of the task classification, tagging or forecasting"
        task = require(self.task, Predicts, "predict on new data", advice)
        found = task.predict(self.params, str(path))
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def load_run(directory: str | Path) -> LoadedRun:
    """A trained run, with the best parameters of its best seed.

    Needs no training data, and executes nothing from the folder.

    Args:
        directory: the folder of the run.

    Raises:
        RunError: there is no run, it is corrupt, or it has not been evaluated yet.
        ConfigError: its config cannot be read.

    >>> import lstm_jax
    >>> run = lstm_jax.load_run("runs/quickstart")  # doctest: +SKIP
    >>> text = run.generate("The ", length=200)  # doctest: +SKIP
    >>> loss = run.evaluate("valid")["loss"]  # doctest: +SKIP
    >>> nats = run.score("Any text.").nats  # doctest: +SKIP
    >>> tokens = run.tokenizer.encode("Any text.")  # doctest: +SKIP
    >>> carry, logits = run.model(tokens[:, None])  # doctest: +SKIP
    """
    run, task, params = best_of(directory)
    return LoadedRun(run.directory, task, params, run.read_json("run.json"))
