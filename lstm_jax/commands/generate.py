"""``lstm-jax generate``: text from a trained model, as it is made."""

import sys

from lstm_jax.inference import Sampling
from lstm_jax.runs.load import best_of
from lstm_jax.tasks.abilities import Generates, require
from lstm_jax.terminal import escape
from lstm_jax.training.run_folder import RunError


def add_command(commands) -> None:
    """``lstm-jax generate`` and its options."""
    command = commands.add_parser(
        "generate", help="write text with the best checkpoint"
    )
    add = command.add_argument
    add("run", help="the folder of a run")
    add("--prompt", help="what to go on from (a new line, if the model knows it)")
    add("--length", type=int, default=400, help="tokens to write (400)")
    add("--temperature", type=float, help="0: the likeliest token (0.7)")
    add("--top-k", type=int, help="draw from so many tokens (0: all)")
    add("--top-p", type=float, help="draw from so much of the mass (1)")
    add("--samples", type=int, help="texts (1)")
    add("--seed", type=int, help="(0)")
    add("--beams", type=int, default=0, help="search for the likeliest text instead")
    command.set_defaults(command=generate)


_DRAWN = dict(temperature=0.7, top_k=0, top_p=1.0, samples=1, seed=0)
"""What a text that is drawn depends on, and one that is searched for does not."""
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
            raise RunError(f"--beams draws nothing by chance; leave --{option} out.")
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
    generator = require(task, Generates, "generates text", advice).generator
    prompt = generator.beginning if args.prompt is None else args.prompt
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


def shown(text: str) -> str:
    """Text as it is written to a file or a pipe. On a terminal, control characters of
    the vocabulary are escaped."""
    return escape(text) if sys.stdout.isatty() else text


def _print_all(texts):
    for n, text in enumerate(texts):
        if len(texts) > 1:
            print(f"--- {n + 1} of {len(texts)}")
        print(shown(text))
