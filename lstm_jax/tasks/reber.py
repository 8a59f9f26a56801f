"""The embedded Reber grammar, in strings of any length.

    0 -B-> 1    1 -T-> 2    2 -S-> 2    3 -T-> 3    4 -X-> 3    5 -P-> 4    6 -E-> end
                1 -P-> 3    2 -X-> 4    3 -V-> 5    4 -S-> 6    5 -V-> 6

Reber, "Implicit learning of artificial grammars", 1967; embedded as in Smith & Zipser
1989 and Hochreiter & Schmidhuber 1997, experiment 1: a string of it stands between two
equal symbols, ``B T <Reber string> T E`` or ``B P <Reber string> P E``. The last symbol
but one can only be told by remembering the second.
"""

import numpy as np

SYMBOLS = "BTSXPVE"

# From a state: the symbols that may come, and the states behind them.
_REBER = {
    0: {"B": 1},
    1: {"T": 2, "P": 3},
    2: {"S": 2, "X": 4},
    3: {"T": 3, "V": 5},
    4: {"X": 3, "S": 6},
    5: {"P": 4, "V": 6},
    6: {"E": 7},
}
_END = 7


def _embedded():
    """States of the whole: B, then two copies of the grammar with a T or P around."""
    arcs, end = {0: {"B": 1}, 1: {"T": 2, "P": 2 + 8}}, 2 + 16
    for base, around in ((2, "T"), (10, "P")):
        for state, out in _REBER.items():
            arcs[base + state] = {symbol: base + to for symbol, to in out.items()}
        arcs[base + _END] = {around: end}
    arcs[end] = {"E": end + 1}
    return arcs


ARCS = _embedded()
STATES = max(ARCS) + 2

NEXT = np.full((STATES, len(SYMBOLS)), -1)
"""``[state, symbol]``: the state after it, -1 where the symbol may not come."""
for _state, _out in ARCS.items():
    for _symbol, _to in _out.items():
        NEXT[_state, SYMBOLS.index(_symbol)] = _to


def choices(length: int) -> np.ndarray:
    """``[length, state, symbol]``: what may come with so many steps to go that the
    string ends with its last step, and not before.

    >>> [SYMBOLS[i] for i in np.flatnonzero(choices(9)[0, 0])]
    ['B']
    >>> bool(choices(8)[0, 0].any())  # the shortest strings have 9 symbols
    False
    """
    can_end = np.arange(STATES) == STATES - 1
    allowed = np.zeros((length, *NEXT.shape), bool)
    for t in reversed(range(length)):
        allowed[t] = (NEXT >= 0) & can_end[NEXT]
        can_end = allowed[t].any(1)
    return allowed


def expected_entropy(length: int) -> float:
    """Nats in a string after its first symbol, where the next symbol is one of those
    that may come, all equally likely."""
    at, nats = np.eye(STATES)[0], 0.0
    for t, allowed in enumerate(choices(length)):
        count = np.maximum(allowed.sum(1), 1)
        nats += (at * np.log(count)).sum() * (t > 0)
        after = np.zeros(STATES)
        for state, symbol in np.argwhere(allowed):
            after[NEXT[state, symbol]] += at[state] / count[state]
        at = after
    return float(nats)


def accepts(string: str) -> bool:
    """Whether a string belongs to the grammar.

    >>> accepts("BTBTXSETE"), accepts("BTBTXSEPE"), accepts("BT")
    (True, False, False)
    """
    state = 0
    for symbol in string:
        state = ARCS.get(state, {}).get(symbol)
        if state is None:
            return False
    return state == STATES - 1
