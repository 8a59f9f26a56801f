"""``lstm-jax transcribe``: what is said in recordings, or while it is being said."""

import json
import math
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.generate import shown
from lstm_jax.commands.output_file import check_new, write_output
from lstm_jax.data.sounds import read_pcm, read_sound, sound_info
from lstm_jax.runs.load import best_of
from lstm_jax.runs.posterior_plot import plot_posteriors
from lstm_jax.tasks.abilities import Generates, Transcribes, require
from lstm_jax.tasks.transcribing import Transcript
from lstm_jax.tasks.transcription_search import (
    MOST_BEAMS,
    USUAL_BEAMS,
    USUAL_WEIGHT,
    TranscriptionOptions,
)
from lstm_jax.terminal import say
from lstm_jax.training.run_errors import RunError, make_folder

STANDARD_INPUT = "-"
MOST_DRAWN = 300
"""Seconds of a sound that is drawn, at the most."""
PIECE_SECONDS = 0.1
"""A stream hears so much of a file at a time."""


def add_command(commands) -> None:
    """``lstm-jax transcribe`` and its options."""
    command = commands.add_parser(
        "transcribe", help="write down what recordings say, with the best checkpoint"
    )
    add = command.add_argument
    add("run", help="the folder of a run")
    add(
        "sounds",
        nargs="+",
        metavar="FILE",
        help="recordings; - is standard input: raw samples, signed 16-bit, one channel",
    )
    add("--out", type=local_path, help="a JSONL file to write, with times of words")
    add(
        "--tokens",
        action="store_true",
        help="write the times of all tokens, such as characters, to --out, too",
    )
    add(
        "--stream",
        action="store_true",
        help="print each word as soon as it is heard; - always does",
    )
    add("--rate", type=int, metavar="HZ", help="samples a second of standard input")
    add("--beams", type=int, help="transcripts to follow (as in the config)")
    add("--n-best", type=int, metavar="N", help="the N best transcripts (--beams >= N)")
    add(
        "--language-model",
        metavar="RUN",
        help=f"a run of the task language_model that helps to choose; {USUAL_BEAMS} "
        "beams unless --beams says otherwise",
    )
    add("--weight", type=float, help=f"of the language model ({USUAL_WEIGHT})")
    add(
        "--bonus",
        type=float,
        default=0.0,
        help="what every token adds to the score, with several beams (%(default)s)",
    )
    add(
        "--posteriors",
        type=local_path,
        metavar="FOLDER",
        help="a folder for a plot of every sound: its features, and under them the "
        "probabilities of the tokens",
    )
    command.set_defaults(command=transcribe)


def transcribe(args) -> int:
    """The command. Every recording has its transcript, in order."""
    check_new("--out", args.out)
    check_new("--posteriors", args.posteriors)
    paths = [*args.sounds]
    live = STANDARD_INPUT in paths
    _check(args, paths, live)
    _, task, params = best_of(args.run)
    advice = "use a run of the task transcription"
    task = require(task, Transcribes, "transcribe", advice)
    options = _options(args, task)
    for path in paths:
        if path != STANDARD_INPUT:
            sound_info(path)
    sounds: list[np.ndarray] = []
    if args.stream or live:
        found = [(path, [_listen(task, params, path, args, options)]) for path in paths]
    else:
        rate = task.rate
        sounds += [read_sound(path, rate) for path in paths]
        if args.posteriors is not None:
            _check_lengths(paths, sounds, rate)
        found = [*zip(paths, task.transcribe(params, sounds, options), strict=True)]
    if args.out is not None:
        lines = [
            json.dumps(line, ensure_ascii=False)
            for path, several in found
            for line in _facts(path, several, args.tokens)
        ]
        text = "".join(f"{line}\n" for line in lines)
        write_output(args.out, text, f"{len(found):,} transcripts")
    elif not (args.stream or live):
        for path, several in found:
            for transcript in several:
                print(f"{shown(path)}\t{shown(transcript.text)}")
    if args.posteriors is not None:
        _draw(args.posteriors, task, params, sounds)
    return 0


def _check(args, paths, live):
    """Raises RunError for what does not go together."""
    if args.tokens and args.out is None:
        raise RunError(
            "--tokens needs --out FILE.jsonl; add it, or leave --tokens out."
        )
    if live and len(paths) > 1:
        raise RunError("standard input (-) comes alone; leave the other files out.")
    if live and args.rate is None:
        raise RunError("standard input (-) needs --rate, its samples a second.")
    if not live and args.rate is not None:
        raise RunError(
            "--rate is only for standard input: a sound file has its own rate; leave "
            "--rate out."
        )
    if args.rate is not None and not 1000 <= args.rate <= 384_000:
        raise RunError(f"--rate is {args.rate}, expected 1000 to 384000.")
    if args.posteriors is not None and find_spec("matplotlib") is None:
        raise RunError(
            "--posteriors draws with matplotlib: pip install 'lstm-jax[plots]'; or "
            "leave --posteriors out."
        )
    if (live or args.stream) and args.posteriors is not None:
        raise RunError(
            "--posteriors needs whole sound files, without --stream or -; leave it out."
        )
    if (live or args.stream) and args.n_best is not None:
        raise RunError(
            "--n-best needs the whole sound, and a stream has one transcript; leave "
            "--n-best out."
        )


def _options(args, task: Any) -> TranscriptionOptions:
    beams, results = args.beams, 1 if args.n_best is None else args.n_best
    if beams is not None and not 1 <= beams <= MOST_BEAMS:
        raise RunError(f"--beams is {beams}, expected 1 to {MOST_BEAMS}.")
    most = MOST_BEAMS if beams is None else beams
    if not 1 <= results <= most:
        raise RunError(
            f"--n-best is {results}, expected 1 to {most}, the number of beams; lower "
            f"it, or raise --beams."
        )
    weight = USUAL_WEIGHT if args.weight is None else args.weight
    if not (math.isfinite(weight) and weight >= 0):
        raise RunError(f"--weight is {weight:g}, expected 0 or more.")
    if args.weight is not None and args.language_model is None:
        raise RunError("--weight needs a language model; add --language-model RUN.")
    if not math.isfinite(args.bonus):
        raise RunError(f"--bonus is {args.bonus:g}, expected a finite number.")
    usual, language = task.transcription_options, _language(args, task)
    if args.bonus and language is None and max(beams or usual.beams, results) == 1:
        raise RunError(
            "--bonus needs --beams of 2 or more, since it chooses among transcripts."
        )
    return usual.changed(beams, language, weight, args.bonus, results)


def _language(args, task) -> Any:
    """The language model of the options of a search, if there is one."""
    if args.language_model is None:
        return None
    if args.beams == 1:
        raise RunError(
            f"--language-model needs --beams of 2 or more, since it chooses among "
            f"transcripts; leave --beams out for {USUAL_BEAMS}."
        )
    _, other, params = best_of(args.language_model)
    advice = "give --language-model a run of the task language_model"
    other = require(other, Generates, "generate text", advice)
    return task.language(other.generator, params)


def _listen(task, params, path, args, options) -> Transcript:
    """Prints words as soon as they are final; with several beams once all are there."""
    live = path == STANDARD_INPUT
    rate = args.rate if live else task.rate
    stream = task.stream(params, rate, options)
    pieces = read_pcm(sys.stdin.buffer) if live else _pieces(path, rate)
    print(f"{shown(path)}\t" if len(args.sounds) > 1 else "", end="", flush=True)
    count = 0

    def tell(words):
        nonlocal count
        text = " ".join(word.text for word in words[count:])
        print(" " * bool(count and text) + shown(text), end="", flush=True)
        count = len(words)

    for piece in pieces:
        tell(stream.feed(piece).final_words)
    transcript = stream.finish()
    tell(transcript.words)
    print(flush=True)
    return transcript


def _check_lengths(paths, sounds, rate):
    for path, sound in zip(paths, sounds, strict=True):
        if len(sound) > MOST_DRAWN * rate:
            raise RunError(
                f"{shown(path)} has {len(sound) / rate:,.0f} seconds, and --posteriors "
                f"draws up to {MOST_DRAWN}; leave it out, or cut it."
            )


def _draw(folder, task, params, sounds):
    """The plots, by the numbers of the sounds."""
    make_folder(folder, "--posteriors")
    for number, sound in enumerate(sounds, start=1):
        plot_posteriors(task.posteriors(params, sound), folder / f"{number}.png")
    say(f"plots: {folder}", error=True)


def _pieces(path: str | Path, rate: int) -> Iterator[np.ndarray]:
    samples = read_sound(path, rate)
    size = max(round(PIECE_SECONDS * rate), 1)
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _facts(path, several, tokens) -> Iterator[dict[str, Any]]:
    for rank, transcript in enumerate(several, start=1):
        facts = {
            "path": path,
            "rank": rank,
            "text": transcript.text,
            "score": round(transcript.score, 6),
            "words": [*map(_timed, transcript.words)],
        }
        yield facts | ({"tokens": [*map(_timed, transcript.tokens)]} if tokens else {})


def _timed(part) -> dict[str, Any]:
    return part._asdict() | {"confidence": round(part.confidence, 6)}
