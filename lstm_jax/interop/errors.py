"""What goes wrong with foreign weights; every message is meant for their owner."""

from collections.abc import Sequence


class InteropError(ValueError):
    """Weights, or a file of them, that cannot be read or written as asked."""


class UnsupportedError(InteropError, NotImplementedError):
    """Weights that are in order but have no equal on the other side."""


def refuse(head: str, problems: Sequence[str], hint: str = "") -> None:
    """Raises one error that names every problem, if there are any."""
    if problems:
        shown, rest = problems[:20], len(problems) - 20
        more = f"; and {rest} more" if rest > 0 else ""
        raise InteropError(f"{head}: {'; '.join(shown)}{more}.{hint and ' ' + hint}")


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to be part of ours."""
    return str(error).partition("\n")[0][:200]
