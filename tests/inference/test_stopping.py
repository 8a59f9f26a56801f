"""A text ends before its first stop string, however it comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.inference import up_to_stop

WORDS = st.text("ab", min_size=1, max_size=3)


def by_character(text, stops, skip):
    """The text before the stop string that is complete first, looked for plainly."""
    for end in range(skip, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[skip:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


@given(
    st.lists(st.text("ab", max_size=4)), st.lists(WORDS, max_size=3), st.integers(0, 5)
)
def test_pieces_make_no_difference(pieces, stops, skip):
    said = "".join(up_to_stop(pieces, stops, skip))
    assert said == by_character("".join(pieces), stops, skip)


def test_nothing_is_taken_after_the_stop():
    pieces = iter(["one", " two", " three", " four"])
    assert list(up_to_stop(pieces, ["o t"])) == ["one", " tw"]
    assert next(pieces) == " four"


def test_what_cannot_be_a_stop_string_comes_at_once():
    said = up_to_stop(iter(["a", "b", "STO", "P"]), ["STOP"])
    assert list(said) == ["a", "b"]


def test_an_empty_stop_string():
    with pytest.raises(ValueError, match="a stop string is empty"):
        up_to_stop([], [""])
