"""Text up to the first of some stop strings, as the text is made."""

from collections.abc import Iterable, Iterator, Sequence


def up_to_stop(
    pieces: Iterable[str], stops: Sequence[str], skip: int = 0
) -> Iterator[str]:
    """The text of ``pieces`` before the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until that is known.
    How the text is cut into pieces makes no difference. No piece is taken after the
    stop string, so a generator of pieces does no more work.

    Args:
        pieces: the pieces of a text.
        stops: the stop strings. Without any, all of the text comes out.
        skip: characters at the start of the text, such as a prompt, in which no stop
            string begins.

    Raises:
        ValueError: a stop string is empty.

    >>> list(up_to_stop(["one tw", "o.", " three"], ["o. "]))
    ['one tw']
    """
    if not all(stops):
        raise ValueError("a stop string is empty, expected some text.")
    return _up_to_stop(pieces, stops, skip)


def _up_to_stop(pieces, stops, skip):
    held, skip_left = "", skip
    for piece in pieces:
        held += piece
        if skip_left:  # no stop string begins here
            said, held = held[:skip_left], held[skip_left:]
            skip_left -= len(said)
            if said:
                yield said
        found = [(at + len(stop), at) for stop in stops if (at := held.find(stop)) >= 0]
        if found:
            _, at = min(found)
            if at:
                yield held[:at]
            return
        cut = len(held) - max((_overlap(held, stop) for stop in stops), default=0)
        if cut:
            yield held[:cut]
        held = held[cut:]
    if held:
        yield held


def _overlap(text, stop):
    """The length of the longest end of ``text`` that ``stop`` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
