"""Errors about weights of other frameworks. Every message is meant for the user."""

from collections.abc import Sequence


class InteropError(ValueError):
    """Weights, or a file of weights, that cannot be read or written."""


class UnsupportedError(InteropError, NotImplementedError):
    """Valid weights that have no equal on the other side."""


def refuse(head: str, problems: Sequence[str], hint: str = "") -> None:
    """Raises one error that lists all problems, if there are any."""
    if problems:
        shown, rest = problems[:20], len(problems) - 20
        more = f"; and {rest} more" if rest > 0 else ""
        raise InteropError(f"{head}: {'; '.join(shown)}{more}.{hint and ' ' + hint}")


def first_line(error: BaseException) -> str:
    """The first line of another library's error, shortened for use in ours."""
    return str(error).partition("\n")[0][:200]
