"""``lstm-jax generate``: text from a trained model, as it is made."""

import sys

from lstm_jax.commands.arguments import local_path
from lstm_jax.data.text import DataError
from lstm_jax.inference import Sampling
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import Generates, require
from lstm_jax.terminal import escape
from lstm_jax.training.run_errors import RunError


def add_command(commands) -> None:
    """``lstm-jax generate`` and its options."""
    command = commands.add_parser(
        "generate", help="generate text with the best checkpoint"
    )
    add = command.add_argument
    add("run", help="the folder of a run")
    prompt = command.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt", help="the text to continue (a new line, if the model knows it)"
    )
    prompt.add_argument(
        "--prompt-file",
        type=local_path,
        metavar="FILE",
        help="a UTF-8 file with the prompt, without its last line end; - for standard "
        "input",
    )
    add("--length", type=int, default=400, help="tokens to generate (400)")
    add(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before the first TEXT after the prompt; may be repeated",
    )
    add("--no-unk", action="store_true", help="words: never generate <unk>")
    add("--temperature", type=float, help="0: the most likely token (0.7)")
    add("--top-k", type=int, help="sample from the K most likely tokens (0: all)")
    add(
        "--top-p",
        type=float,
        help="sample from the most likely tokens that have probability P together (1)",
    )
    add("--samples", type=int, help="number of texts (1)")
    add("--seed", type=int, help="the same seed gives the same text (0)")
    add("--beams", type=int, default=0, help="search for the most likely text instead")
    command.set_defaults(command=generate)


_DRAWN = dict(temperature=0.7, top_k=0, top_p=1.0, samples=1, seed=0)
"""Options of sampling, with their defaults; beam search has none of them."""
_LIMITS = {
    "length": (1, 2**31 - 1),
    "samples": (1, 10_000),
    "beams": (0, 10_000),
    "seed": (0, 2**31 - 1),
}


def generate(args) -> int:
    """The command."""
    for name, default in _DRAWN.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif args.beams:
            option = name.replace("_", "-")
            raise RunError(f"--beams does not sample; leave --{option} out.")
    for name, (least, most) in _LIMITS.items():
        if not least <= getattr(args, name) <= most:
            raise RunError(
                f"--{name} is {getattr(args, name)}, expected {least} to {most:,}."
            )
    try:
        sampling = Sampling(args.temperature, args.top_k, args.top_p)
    except ValueError as error:
        raise RunError(str(error)) from error
    _, task, params = best_of(args.run)
    advice = "name a run of the task language_model"
    generator = require(task, Generates, "generate text", advice).generator
    generator = generator.limited(args.stop, not args.no_unk)
    prompt = _prompt(args, generator.beginning)
    asked = params, prompt, args.length
    if args.beams:
        _print_all(generator.beam_search(*asked, args.beams)[:1])
    elif args.samples > 1:
        _print_all(generator.samples(*asked, sampling, args.seed, args.samples))
    else:
        for piece in generator.generate(*asked, sampling, args.seed):
            print(shown(piece), end="", flush=True)
        print()
    return 0


def _prompt(args, default):
    if args.prompt_file is None:
        return default if args.prompt is None else args.prompt
    called = "the prompt on standard input"
    try:
        if str(args.prompt_file) == "-":
            data = sys.stdin.buffer.read()
        else:
            called = f"--prompt-file {args.prompt_file}"
            data = args.prompt_file.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{called} is not UTF-8 text (byte {error.start}); convert it first."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{called} cannot be read: {reason}.") from error
    # An editor and echo put a line end behind the last word.
    return text.replace("\r\n", "\n").removesuffix("\n")


def shown(text: str) -> str:
    """Text as it is written to a file or a pipe. On a terminal, control characters of
    the vocabulary are escaped."""
    return escape(text) if sys.stdout.isatty() else text


def _print_all(texts):
    for n, text in enumerate(texts):
        if len(texts) > 1:
            print(f"--- {n + 1} of {len(texts)}")
        print(shown(text))
