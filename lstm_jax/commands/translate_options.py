"""The options of ``lstm-jax translate`` for lengths, search and sampling."""

import dataclasses
from typing import Any

from lstm_jax.inference import Sampling
from lstm_jax.tasks.translating import MOST_BEAMS, BeamOptions, SampleOptions
from lstm_jax.training.run_errors import RunError

LENGTHS = {"min_length": "min_length", "max_ratio": "max_ratio", "n_best": "results"}
SEARCH = {
    "beams": "beams",
    "alpha": "alpha",
    "coverage_penalty": "coverage_penalty",
    "no_repeat": "no_repeat",
}
SAMPLE = {"seed": "seed"}
SAMPLING = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p"}
"""Options of the command, and the fields of `BeamOptions`, `SampleOptions` and
`Sampling` that they set."""


def add_options(command) -> None:
    """The options of `chosen`."""
    add = command.add_argument_group("lengths").add_argument
    add("--min-length", type=int, metavar="N", help="the fewest tokens")
    add(
        "--max-ratio",
        type=float,
        metavar="R",
        help="the most tokens: R times those of the sentence, and 10 more (2)",
    )
    add(
        "--n-best",
        type=int,
        metavar="N",
        help="N translations of each line, as LINE, SCORE and TRANSLATION between tabs",
    )
    search = command.add_argument_group("search", "the defaults are those of the run")
    add = search.add_argument
    add("--beams", type=int, metavar="N", help="translations followed; 1: greedy")
    add("--alpha", type=float, help="length normalisation; 0 favours short ones")
    add(
        "--coverage-penalty",
        type=float,
        metavar="B",
        help="against leaving source words out",
    )
    add(
        "--no-repeat",
        type=int,
        metavar="N",
        help="no N tokens in a row come twice in a translation",
    )
    add = command.add_argument_group("sampling").add_argument
    add(
        "--sample",
        action="store_true",
        help="draw translations from the distribution of the model; no search",
    )
    add("--temperature", type=float, help="0: the most likely token (1)")
    add("--top-k", type=int, help="draw from the K most likely tokens (0: all)")
    add(
        "--top-p",
        type=float,
        help="draw from the most likely tokens that have probability P together (1)",
    )
    add("--seed", type=int, help="the same seed gives the same translations (0)")


def chosen(args, defaults: BeamOptions) -> BeamOptions | SampleOptions:
    """The options that were given, and the defaults for the others.

    Raises:
        RunError: one is out of its range, or of no use beside another.
    """
    if args.sample:
        _refuse(args, SEARCH, "is for a search; leave it or --sample out")
        sampling = _with(args, Sampling(), SAMPLING)
        return _with(args, SampleOptions(sampling), LENGTHS | SAMPLE)
    _refuse(args, SAMPLE | SAMPLING, "is for sampling; add --sample or leave it out")
    beams = defaults.beams if args.beams is None else args.beams
    if beams < (args.n_best or 0) <= MOST_BEAMS:
        raise RunError(
            f"--n-best is {args.n_best} and --beams {beams}: a search finds as many "
            f"translations as it follows; set --beams {args.n_best}."
        )
    return _with(args, defaults, SEARCH | LENGTHS)


def none_given(args, reason: str) -> None:
    """Refuses every option of this file, with a reason."""
    if args.sample:
        raise RunError(f"--sample {reason}.")
    _refuse(args, LENGTHS | SEARCH | SAMPLE | SAMPLING, reason)


def _refuse(args, options, reason):
    for option in options:
        if getattr(args, option) is not None:
            raise RunError(f"{_spelled(option)} {reason}.")


def _with(args, options: Any, fields: dict[str, str]) -> Any:
    """The options with what was given; an error names the option, not the field."""
    for option, field in fields.items():
        if (value := getattr(args, option)) is None:
            continue
        try:
            options = dataclasses.replace(options, **{field: value})
        except (TypeError, ValueError) as error:
            reason = str(error).removeprefix(f"{field} ")
            raise RunError(f"{_spelled(option)} {reason}") from error
    return options


def _spelled(option):
    return f"--{option.replace('_', '-')}"
