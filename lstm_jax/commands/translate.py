"""``lstm-jax translate``: sentences into the other language, a line each."""

import dataclasses
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.generate import shown
from lstm_jax.commands.output_file import check_new, write_output
from lstm_jax.commands.translate_options import add_options, chosen, none_given
from lstm_jax.data.labelled.lines import split_lines
from lstm_jax.data.parallel import read_sentences
from lstm_jax.data.text import counted
from lstm_jax.data.tokens import Words
from lstm_jax.data.tokens.words import UNKNOWN
from lstm_jax.runs.attention_map import plot_attention
from lstm_jax.runs.ensemble import ensemble_of
from lstm_jax.tasks.perplexity import perplexity
from lstm_jax.tasks.translating import SampleOptions, Translation
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError, make_folder


def add_command(commands) -> None:
    """``lstm-jax translate`` and its options."""
    command = commands.add_parser(
        "translate", help="translate sentences, one per line, with the best checkpoint"
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
    add(
        "--prefix",
        type=local_path,
        metavar="FILE",
        help="a file with the beginning of each translation, a line each",
    )
    add(
        "--score",
        type=local_path,
        metavar="FILE",
        help="no search: log-probability in nats and number of tokens of these "
        "translations, a line each, with a tab between",
    )
    add_options(command)
    command.set_defaults(command=translate)


AT_A_TIME = 1000
"""Pairs that are scored at a time, for the memory."""
MAPS = 100
"""Heat maps are drawn of so many lines at the most."""


def translate(args) -> int:
    """The command. Every line has its translation, in order."""
    check_new("--out", args.out)
    check_new("--attention", args.attention)
    if args.attention is not None and importlib.util.find_spec("matplotlib") is None:
        raise RunError(
            "--attention draws with matplotlib: pip install 'lstm-jax[plots]'; or "
            "leave --attention out."
        )
    _check_alone(args)
    ensemble = ensemble_of([args.run, *args.ensemble])
    options = chosen(args, ensemble.task.beam_options)
    n_best = args.n_best is not None
    if args.interactive:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            sentences = split_lines(line, "standard input", number) or [""]
            if isinstance(options, SampleOptions):
                options = dataclasses.replace(options, first=number - 1)
            (found,) = ensemble.translate(sentences, options, args.copy_unknown)
            for text in _lines(number, found, n_best):
                print(shown(text), flush=True)
        return 0
    sentences = _sentences(args.input)
    beside = {
        option: read_sentences(path, f"--{option} {path}")
        for option in ("prefix", "score")
        if (path := getattr(args, option)) is not None
    }
    for option, lines in beside.items():
        if len(lines) != len(sentences):
            raise RunError(
                f"--{option} has {counted(len(lines), 'line')} and the input "
                f"{len(sentences):,}, expected a line for each line of the input."
            )
    if args.score is not None:
        _score(args, ensemble, sentences, beside["score"])
        return 0
    if args.attention is not None and len(sentences) > MAPS:
        raise RunError(
            f"--attention draws up to {MAPS} lines, and there are {len(sentences):,}; "
            f"give it fewer."
        )
    _tell_long(ensemble.task.data, sentences)
    given = options, args.copy_unknown, beside.get("prefix")
    said = ensemble.translate(sentences, *given)
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


def _score(args, ensemble, sentences, translations):
    """What given translations cost."""
    costs = []
    for start in range(0, len(sentences), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        given = sentences[part], translations[part]
        read = ensemble.task.align(ensemble.params[0], *given)
        costs += [(float(found.nats.sum()), len(found.nats)) for found in read]
    text = "".join(f"{-nats:.6f}\t{count}\n" for nats, count in costs)
    write_output(args.out, text, f"{len(costs):,} scores")
    nats, tokens = map(sum, zip(*costs, strict=True))
    said = f"{counted(len(costs), 'pair')}, {counted(tokens, 'token')}"
    say(f"{said}: perplexity {perplexity(nats / tokens):.3f}", error=True)
    tokenizer = ensemble.task.data.target.tokenizer
    if isinstance(tokenizer, Words) and (
        unknown := tokenizer.unknown("\n".join(translations))
    ):
        say(
            f"{counted(len(unknown), 'word')} not in the vocabulary, such as "
            f"{unknown[0]!r}: scored as {UNKNOWN}.",
            error=True,
        )


def _check_alone(args):
    """Raises an error for options that have no effect beside others."""
    for mode in ("interactive", "score"):
        if not getattr(args, mode):
            continue
        given = {"out", "attention", "prefix", "score"} - {mode}
        if mode == "score":
            given = {"attention", "prefix", "ensemble", "copy_unknown"}
            none_given(args, "has no effect on --score; leave one of them out")
        for option in sorted(given):
            if getattr(args, option):
                raise RunError(
                    f"--{option.replace('_', '-')} does not go with --{mode}; leave "
                    f"one of them out."
                )


def _tell_long(data, sentences):
    """Says how many sentences are longer than those of training."""
    lengths = [len(tokens) for tokens in data.source.encode_all(sentences)]
    long = [n for n, length in enumerate(lengths, 1) if length > data.longest]
    if long:
        say(
            f"{counted(len(long), 'line')} of {len(sentences):,}, the first line "
            f"{long[0]}, with more than the {data.longest} tokens of the longest "
            f"training sentence: translated, but expect gaps.",
            error=True,
        )


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
