"""``lstm-jax generate``: text from a trained model, as it is made."""

from lstm_jax.commands.setup import best_of
from lstm_jax.inference import Sampling
from lstm_jax.training.record import RunError


def add_command(commands) -> None:
    """``lstm-jax generate`` and its options."""
    command = commands.add_parser(
        "generate", help="write text with the best checkpoint"
    )
    add = command.add_argument
    add("run", help="the folder of a run")
    add("--prompt", default="\n", help="what to go on from (a new line)")
    add("--length", type=int, default=400, help="tokens to write (400)")
    add("--temperature", type=float, default=0.7, help="0: the likeliest token (0.7)")
    add("--top-k", type=int, default=0, help="draw from so many tokens (0: all)")
    add("--top-p", type=float, default=1.0, help="draw from so much of the mass (1)")
    add("--samples", type=int, default=1, help="texts (1)")
    add("--seed", type=int, default=0)
    add("--beams", type=int, default=0, help="search for the likeliest text instead")
    command.set_defaults(command=generate)


def generate(args) -> int:
    """The command."""
    for name, least in (("length", 1), ("samples", 1), ("beams", 0), ("seed", 0)):
        if not least <= getattr(args, name) < 2**31:
            raise RunError(
                f"--{name} is {getattr(args, name)}, expected {least} or more, below "
                f"2**31."
            )
    if args.beams and args.samples > 1:
        raise RunError("--beams finds one text; leave --samples out.")
    try:
        sampling = Sampling(args.temperature, args.top_k, args.top_p)
    except ValueError as error:
        raise RunError(str(error)) from error
    _, task, params = best_of(args.run)
    writer = getattr(task, "writer", None)
    if writer is None:
        raise RunError(
            f"{args.run} is a run of task {task.config.task}, which generates "
            f"nothing; name one of a language model."
        )
    asked = params, args.prompt, args.length
    if args.beams:
        _print_all(writer.beam_search(*asked, args.beams)[:1])
    elif args.samples > 1:
        _print_all(writer.samples(*asked, sampling, args.seed, args.samples))
    else:
        for piece in writer.generate(*asked, sampling, args.seed):
            print(piece, end="", flush=True)
        print()
    return 0


def _print_all(texts):
    for n, text in enumerate(texts):
        if len(texts) > 1:
            print(f"--- {n + 1} of {len(texts)}")
        print(text)
