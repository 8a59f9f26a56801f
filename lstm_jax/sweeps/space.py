"""The words of a sweep: which keys of the config vary, and over which values.

    optimizer.learning_rate=log:1e-4..1e-2   numbers, uniform in their logarithm
    model.dropout=0..0.5                     numbers, uniform
    model.num_layers=1..4                    whole numbers, if the key takes no others
    train.batch_size=16,32,64                one of several values
    train.steps=2000                         a constant, as in lstm-jax train

Every value becomes a word ``key=value`` again, and is read like any other override.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lstm_jax.config import ConfigError
from lstm_jax.runs.configs import read_config

FIXED = {
    "task": "every trial has the same task; start a sweep for each task",
    "train.monitor": "trials are compared by one metric; give one name",
    "run.directory": "the folders of trials are in that of the sweep; use --directory",
}
"""Keys that cannot vary, and why."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included."""

    key: str
    text: str
    low: float
    high: float
    log: bool
    """Whether values are uniform in their logarithm."""
    whole: bool
    """Whether values are whole numbers."""

    def ends(self) -> list[str]:
        """Overrides with the smallest and the largest value."""
        return [self.override(self.low), self.override(self.high)]

    def suggest(self, trial: Any) -> str:
        """The override of an optuna trial, sampled if the trial has no value yet."""
        suggest: Any = trial.suggest_int if self.whole else trial.suggest_float
        return self.override(suggest(self.key, self.low, self.high, log=self.log))

    def override(self, value: Any) -> str:
        """The word that sets the key to a value."""
        return f"{self.key}={value!r}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, each as it is written in an override."""

    key: str
    text: str
    values: tuple[str, ...]

    def ends(self) -> list[str]:
        """Overrides with every value."""
        return [self.override(value) for value in self.values]

    def suggest(self, trial: Any) -> str:
        """The override of an optuna trial, sampled if the trial has no value yet."""
        return self.override(trial.suggest_categorical(self.key, self.values))

    def override(self, value: Any) -> str:
        """The word that sets the key to a value."""
        return f"{self.key}={value}"


Space = Range | Choice


class Words(NamedTuple):
    """The words of a sweep."""

    spaces: tuple[Space, ...]
    """The keys that vary."""
    constants: tuple[str, ...]
    """Overrides that all trials share."""


def parse(words: Iterable[str]) -> Words:
    """The spaces and the constants of the words of a command.

    Args:
        words: such as ``model.dropout=0..0.5``.

    Raises:
        ConfigError: a range is not one, a key appears twice, or no key varies.

    >>> spaces, constants = parse(["model.dropout=0..0.5", "seed=1,2", "a=9"])
    >>> [space.ends() for space in spaces], constants
    ([['model.dropout=0', 'model.dropout=0.5'], ['seed=1', 'seed=2']], ('a=9',))
    """
    spaces, constants, seen = [], [], {}
    for word in words:
        key, _, text = word.partition("=")
        key, text = key.strip(), text.strip()
        space = _space(key, text)
        if space is None:
            constants.append(word)
        else:
            spaces.append(space)
        if key in seen and (space or seen[key]):
            raise ConfigError(f"{key} appears twice, expected one word for each key.")
        seen[key] = space
        if key in FIXED and (space or key == "run.directory"):
            raise ConfigError(f"{word}: {FIXED[key]}.")
    if not spaces:
        raise ConfigError(
            "no key varies; give one or more, for example "
            "optimizer.learning_rate=log:1e-4..1e-2 or train.batch_size=16,32."
        )
    return Words(tuple(spaces), tuple(constants))


def _space(key, text):
    """The space of a word; ``None`` if it is a constant."""
    log = text.startswith("log:")
    low, dots, high = text.removeprefix("log:").partition("..")
    if log or (dots and (_number(low) is not None or _number(high) is not None)):
        return _range(key, text, low, high, log)
    values = [value.strip() for value in _split(text)]
    if len(values) == 1:
        return None
    if "" in values:
        raise ConfigError(f"{key}={text}: a value is missing beside a comma.")
    if len(set(values)) < len(values):
        raise ConfigError(f"{key}={text}: a value appears twice.")
    return Choice(key, text, tuple(values))


def _range(key, text, low, high, log):
    example = "log:1e-4..1e-2" if log else "0..0.5"
    first, last = _number(low), _number(high)
    if first is None or last is None:
        raise ConfigError(
            f"{key}={text} is not a range of numbers; write "
            f"{'log:' * log}LOW..HIGH, for example {example}."
        )
    if first >= last:
        raise ConfigError(
            f"{key}={text}: {low} is not below {high}; write the smaller number first."
        )
    if log and first <= 0:
        raise ConfigError(
            f"{key}={text}: {low} has no logarithm; start above 0, for example "
            f"{example}."
        )
    whole = isinstance(first, int) and isinstance(last, int)
    return Range(key, text, first, last, log, whole)


def _number(text):
    for kind in (int, float):
        try:
            return number if math.isfinite(number := kind(text)) else None
        except ValueError:
            continue
    return None


def _split(text: str) -> list[str]:
    """Splits at commas that are not inside quotes or brackets.

    >>> _split('{kind = "sgd", momentum = 0.9},{kind = "adam"}')
    ['{kind = "sgd", momentum = 0.9}', '{kind = "adam"}']
    """
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c == "," and depth == 0:
            parts.append("")
            continue
        else:
            depth += (c in "[{") - (c in "]}")
        parts[-1] += c
    return parts


def fitted(words: Words, values: Mapping[str, Any]) -> Words:
    """The words, checked against a config.

    A range with whole ends is one of all numbers where its key takes fractions.

    Args:
        words: of `parse`.
        values: the values of the config file.

    Raises:
        ConfigError: the config does not take a constant, or an end of a range or a
            choice, whatever the choices of the other keys are.
    """
    values = dict(values)
    read_config(values, words.constants)
    for space in words.spaces:
        for end in space.ends():
            _check(values, words, space, end)
    return words._replace(spaces=tuple(_as_key_takes(values, words)))


def _check(values, words, space, end):
    """Reads a config with one value, alone or beside a choice of another key."""
    others = [other for other in words.spaces if other is not space]
    choices = [end for o in others if isinstance(o, Choice) for end in o.ends()]
    errors = []
    for beside in [[], *([choice] for choice in choices)]:
        try:
            read_config(values, [*words.constants, *beside, end])
        except ConfigError as error:
            errors.append(error)
        else:
            return
    # Beside the choice that has the key, the error is about the value.
    known = [error for error in errors if not str(error).startswith("unknown key")]
    raise (known or errors)[0]


def _as_key_takes(values: dict[str, Any], words: Words) -> Iterator[Space]:
    for space in words.spaces:
        if isinstance(space, Range) and space.whole:
            try:
                _check(values, words, space, space.override(space.low + 0.5))
            except ConfigError:
                pass
            else:
                space = dataclasses.replace(space, whole=False)
        yield space


def described(spaces: Sequence[Space]) -> dict[str, str]:
    """Key to the text of its space, to recognise a sweep by."""
    return {space.key: space.text for space in spaces}
