"""Texts as times, read strictly: ISO dates, ISO dates with times, or whole numbers."""

import re
from collections.abc import Sequence

import numpy as np

from lstm_jax.data.panel.cells import Place
from lstm_jax.data.panel.giving import TimeStyle
from lstm_jax.data.panel.packages import need
from lstm_jax.data.text import DataError

TIME = re.compile(
    r"(\d{4}-\d\d(?:-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?)?)"
    r"(Z|[+-]\d\d:?\d\d)?"
)
WHOLE = re.compile(r"[+-]?\d{1,18}")
LIKE_A_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
EXPECTED = "expected an ISO date such as 2024-01-31 or 2024-01-31 12:00, or a number"


def read_times(
    cells: Sequence[str], name: str, place: Place
) -> tuple[np.ndarray, str | None, TimeStyle]:
    """Times of texts, in UTC if they have an offset.

    Returns:
        int64 or datetime64[us] ``[N]``, the time zone, and how the texts are written.

    Raises:
        DataError: a text is not a time, kinds or time zones are mixed, or the numbers
            look like dates.

    >>> times, zone, _ = read_times(["2024-01-01T12:00+01:00"], "ds", str)
    >>> times, zone
    (array(['2024-01-01T11:00:00.000000'], dtype='datetime64[us]'), 'UTC+01:00')
    """
    codes, texts = need("pandas").factorize(np.array(cells, object))
    first = lambda n: place(int((codes == n).argmax()))
    texts = [text.strip() for text in texts]
    if all(map(WHOLE.fullmatch, texts)):
        check_numbers(np.array(texts, np.int64), name)
        return np.array(texts, np.int64)[codes], None, TimeStyle("integer")
    found = [TIME.fullmatch(text) for text in texts]
    for n, match in enumerate(found):
        if match is None:
            raise _no_time(first(n), name, texts[n])
    bodies, offsets = zip(*(m.groups(default="") for m in found if m), strict=True)
    odd = [n for n, offset in enumerate(offsets) if offset != offsets[0]]
    if odd:
        raise mixed(f"{first(odd[0])}: ", name, texts[odd[0]], texts[0])
    times = np.array([_time(b, first, n, name) for n, b in enumerate(bodies)])
    longest = max(bodies, key=len)
    style = TimeStyle("text", None, len(longest), longest[10:11], offsets[0])
    if not offsets[0]:
        return times[codes], None, style
    zone, shift = _zone(offsets[0])
    return (times - shift)[codes], zone, style


def check_numbers(times: np.ndarray, name: str) -> None:
    """Checks that whole numbers are not dates such as 20240131, which have large steps
    between months.

    Raises:
        DataError: all of them look like dates.
    """
    if len(times) and all(LIKE_A_DATE.fullmatch(str(n)) for n in times[:100]):
        raise DataError(
            f"column {name!r} has numbers that look like dates, such as {times[0]}; "
            f"write them as 2024-01-31."
        )


def mixed(where: str, name: str, one: object, other: object) -> DataError:
    """The error of several time zones in a column."""
    return DataError(
        f"{where}column {name!r} mixes time zones: {one} and {other}; convert all "
        f"times to one zone, such as UTC."
    )


def _time(text, first, n, name):
    try:
        return np.datetime64(text.replace(" ", "T"), "us")
    except ValueError:
        raise _no_time(first(n), name, text) from None


def _no_time(where, name, text):
    return DataError(f"{where}: column {name!r} is {text!r}, {EXPECTED}.")


def _zone(offset):
    if offset == "Z":
        return "UTC", np.timedelta64(0, "m")
    sign, hours, minutes = offset[0], int(offset[1:3]), int(offset[-2:])
    shift = np.timedelta64(60 * hours + minutes, "m")
    zone = f"UTC{sign}{hours:02}:{minutes:02}" if hours or minutes else "UTC"
    return zone, -shift if sign == "-" else shift
