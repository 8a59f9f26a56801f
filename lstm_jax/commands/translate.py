"""``lstm-jax translate``: sentences into the other language, a line each."""

import dataclasses
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.generate import shown
from lstm_jax.commands.output_file import check_new, write_output
from lstm_jax.data.labelled.lines import split_lines
from lstm_jax.data.parallel import read_sentences
from lstm_jax.runs.attention_map import plot_attention
from lstm_jax.runs.ensemble import ensemble_of
from lstm_jax.tasks.translating import BeamOptions, Translation
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError, make_folder


def add_command(commands) -> None:
    """``lstm-jax translate`` and its options."""
    command = commands.add_parser(
        "translate", help="translate sentences, one a line, with the best checkpoint"
    )
    add = command.add_argument
    add("run", help="the folder of a run")
    add(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="RUN",
        help="more runs, of the same vocabularies: the mean of their probabilities",
    )
    given = command.add_mutually_exclusive_group()
    given.add_argument(
        "--input",
        type=local_path,
        help="a UTF-8 file, a sentence a line (standard input)",
    )
    given.add_argument(
        "--interactive",
        action="store_true",
        help="translate each line of standard input as it comes",
    )
    add("--out", type=local_path, help="a file to write (standard output)")
    add(
        "--attention",
        type=local_path,
        metavar="FOLDER",
        help="a new folder for a heat map of each line, LINE.png",
    )
    add(
        "--copy-unknown",
        action="store_true",
        help="words: instead of <unk>, the source word that was attended to",
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
        help="the N best of each line, as LINE, SCORE and TRANSLATION between tabs",
    )
    command.set_defaults(command=translate)


MAPS = 100
"""Heat maps are drawn of so many lines at the most."""

_OPTIONS = {
    "beams": "beams",
    "alpha": "alpha",
    "coverage_penalty": "coverage_penalty",
    "no_repeat": "no_repeat",
    "min_length": "min_length",
    "max_ratio": "max_ratio",
    "n_best": "results",
}
"""Options of the command, and the fields of `BeamOptions` they set."""


def translate(args) -> int:
    """The command. Every line has its translation, in order."""
    check_new("--out", args.out)
    check_new("--attention", args.attention)
    if args.attention is not None and importlib.util.find_spec("matplotlib") is None:
        raise RunError(
            "--attention draws with matplotlib: pip install 'lstm-jax[plots]'; or "
            "leave --attention out."
        )
    ensemble = ensemble_of([args.run, *args.ensemble])
    options = _options(args, ensemble.task.beam_options)
    n_best = args.n_best is not None
    if args.interactive:
        for option in ("out", "attention"):
            if getattr(args, option) is not None:
                raise RunError(
                    f"--interactive writes to standard output; leave --{option} out."
                )
        for number, line in enumerate(sys.stdin.buffer, start=1):
            sentences = split_lines(line, "standard input", number) or [""]
            (found,) = ensemble.translate(sentences, options, args.copy_unknown)
            for text in _lines(number, found, n_best):
                print(shown(text), flush=True)
        return 0
    sentences = _sentences(args.input)
    if args.attention is not None and len(sentences) > MAPS:
        raise RunError(
            f"--attention draws up to {MAPS} lines, and there are {len(sentences):,}; "
            f"give it fewer."
        )
    ensemble.tell_long(sentences)
    said = ensemble.translate(sentences, options, args.copy_unknown)
    as_is = shown if args.out is None else str
    text = "".join(
        f"{as_is(line)}\n"
        for number, found in enumerate(said, start=1)
        for line in _lines(number, found, n_best)
    )
    write_output(args.out, text, f"{len(sentences):,} translations")
    if args.attention is not None:
        _draw(args.attention, ensemble, sentences, said)
    return 0


def _options(args, options: BeamOptions) -> BeamOptions:
    given = {
        field: value
        for option, field in _OPTIONS.items()
        if (value := getattr(args, option)) is not None
    }
    n_best, beams = given.get("results", 0), given.get("beams", options.beams)
    if n_best > beams:
        raise RunError(
            f"--n-best is {n_best} and --beams {beams}: a search finds as many "
            f"translations as it follows; set --beams {n_best}."
        )
    try:
        return dataclasses.replace(options, **given)
    except (TypeError, ValueError) as error:
        names = {field: f"--{o.replace('_', '-')}" for o, field in _OPTIONS.items()}
        field, _, rest = str(error).partition(" ")
        raise RunError(f"{names.get(field, field)} {rest}") from error


def _sentences(path: Path | None) -> list[str]:
    if path is not None:
        return read_sentences(path, f"--input {path}")
    return read_sentences(sys.stdin.buffer, "standard input")


def _lines(number: int, found: list[Translation], n_best: bool) -> Iterator[str]:
    for best in found:
        yield f"{number}\t{best.score:.6f}\t{best.text}" if n_best else best.text


def _draw(folder, ensemble, sentences, said):
    """The attention of the first model in every translation."""
    make_folder(folder, "--attention")
    best = [found[0].text for found in said]
    read = ensemble.task.align(ensemble.params[0], sentences, best)
    for number, (text, found) in enumerate(zip(best, read, strict=True), start=1):
        if text:
            plot_attention(found, folder / f"{number}.png")
    say(f"heat maps: {folder}", error=True)
