"""A text in pieces that no token crosses."""

from collections.abc import Iterable, Iterator


def at_borders(pieces: Iterable[str]) -> Iterator[str]:
    """The same text, cut only before a space or a line end that follows a word.

    Words and sub-words never cross such a border, so the tokens of the pieces are the
    tokens of the whole text. A piece grows until it has a border: a text without any
    becomes one piece.

    >>> [*at_borders(["to b", "e or n", "ot"])]
    ['to', ' be or', ' not']
    """
    held: list[str] = []
    for piece in pieces:
        # A border may stand between the text before and the first character.
        piece = (held.pop() if held else "") + piece
        at = _last_border(piece)
        if at is None:
            # All but the last character is searched once.
            held += [piece[:-1], piece[-1:]]
            continue
        yield "".join(held) + piece[:at]
        held = [piece[at:]]
    if rest := "".join(held):
        yield rest


def _last_border(text):
    """Where the last space or line end after a word is."""
    end = len(text)
    while end > 0:
        at = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        if at < 1:
            return None
        if not text[at - 1].isspace():
            return at
        end = at
    return None
