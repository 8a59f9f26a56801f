"""Exact expressions for sizes that are known only when a graph runs.

The numbers of steps and rows of an ONNX file are often free. A `Size` is a polynomial
of such numbers with integer coefficients. So two sizes are equal only if they are equal
for all numbers. If no polynomial expresses a size, such as a quotient with a remainder,
a ``ValueError`` is raised: the size is unknown.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

TERMS, DEGREE = 32, 8
"""The most terms of a size and factors of a term, far above those of graphs."""

_count = itertools.count()


class Size:
    """A polynomial. ``terms`` maps each product of symbols to its coefficient.

    >>> T, B = symbol("T"), symbol("B")
    >>> T * B == B * T, T == B, 2 * T + 1 - T
    (True, False, T + 1)
    >>> exact_quotient(6 * T * B, 2 * B)
    3*T
    """

    def __init__(self, terms: dict[tuple[str, ...], int]):
        self.terms = terms

    def __add__(self, other: Any) -> Any:
        terms = dict(self.terms)
        for key, n in _terms(other).items():
            terms[key] = terms.get(key, 0) + n
        return _tidy(terms)

    def __mul__(self, other: Any) -> Any:
        terms: dict[tuple[str, ...], int] = {}
        for (a, n), (b, m) in itertools.product(
            self.terms.items(), _terms(other).items()
        ):
            key = tuple(sorted(a + b))
            terms[key] = terms.get(key, 0) + n * m
        return _tidy(terms)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + other * -1

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self):
        return hash(frozenset(self.terms.items()))

    def __repr__(self):
        spell = lambda key, n: "*".join(
            [*([str(n)] if n != 1 or not key else []), *key]
        )
        return " + ".join(spell(key, n) for key, n in sorted(self.terms.items())[::-1])


def symbol(hint: str) -> Size:
    """A size that may be any number, with its own name."""
    return Size({(hint,): 1})


def fresh(hint: str) -> Size:
    """An unknown size, equal only to itself."""
    return symbol(f"{hint}#{next(_count)}")


def product(sizes: Iterable[Any]) -> Any:
    """The product of integers and sizes."""
    return math.prod(sizes)


def exact_quotient(size: Any, by: Any) -> Any:
    """``size / by``, without a remainder for all values of the symbols.

    Raises:
        ValueError: there may be a remainder.
    """
    divisor = _terms(by)
    if len(divisor) != 1:
        if size == by:
            return 1
        raise ValueError(f"{size} / {by}")
    ((symbols, number),) = divisor.items()
    terms = {}
    for key, n in _terms(size).items():
        left = list(key)
        if (
            number == 0
            or n % number
            or any(left.count(s) < symbols.count(s) for s in symbols)
        ):
            raise ValueError(f"{size} / {by}")
        for s in symbols:
            left.remove(s)
        terms[tuple(left)] = n // number
    return _tidy(terms)


def same(one: Any, other: Any) -> bool:
    """Whether two sizes are equal for all numbers; symbols are 0 or more.

    Raises:
        ValueError: the answer depends on the numbers.
    """
    difference = _terms(_terms_minus(one, other))
    if not difference or set(difference) == {()}:
        return not difference.get((), 0)
    for sign in (1, -1):
        if all(sign * n > 0 for n in difference.values()) and () in difference:
            return False
    raise ValueError(f"whether {one} is {other}")


def _terms_minus(one, other):
    return Size(_terms(one)) + other * -1


def _terms(size):
    if isinstance(size, Size):
        return size.terms
    return {(): int(size)} if size else {}


def _tidy(terms):
    terms = {key: n for key, n in terms.items() if n}
    if len(terms) > TERMS or any(len(key) > DEGREE for key in terms):
        raise ValueError("a size of too many terms")
    if any(abs(n) >= 2**62 for n in terms.values()):
        raise ValueError("a size out of range")
    if set(terms) <= {()}:
        return terms.get((), 0)
    return Size(terms)
