"""Problems that only a long memory solves, drawn on the device.

Each is a few pure functions of a key and of outputs; sequences have any length, are
time-major and never end: every step of a training sees new ones.
"""

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from lstm_jax._types import Array, Float, Key
from lstm_jax.tasks import reber


@dataclasses.dataclass(frozen=True)
class Problem(abc.ABC):
    """Sequences of ``length`` steps, and what is to be said of them."""

    length: int

    in_size: ClassVar[int]
    out_size: ClassVar[int]
    shortest: ClassVar[int]
    """The least length that makes sense."""
    reads_last: ClassVar[bool] = True
    """Whether one answer is asked for, at the end, or one at every step."""

    @property
    def steps(self) -> int:
        """Steps of a sequence."""
        return self.length

    @property
    @abc.abstractmethod
    def memoryless(self) -> float:
        """The lowest loss that is possible without a memory."""

    solved_when: ClassVar[str] = "99% are right"
    """The condition of a solution, in words."""

    def is_solved(self, loss: float, right: float) -> bool:
        """Whether these metrics of an evaluation are a solution."""
        del loss
        return right >= 0.99

    @abc.abstractmethod
    def draw(self, key: Key[Array, ""], batch_size: int) -> tuple[Array, Array]:
        """Inputs ``[T, B, D]`` and targets."""

    @abc.abstractmethod
    def losses(self, outputs: Array, targets: Array) -> Float[Array, "B"]:
        """The loss of each sequence."""

    @abc.abstractmethod
    def right(self, outputs: Array, targets: Array) -> Float[Array, "B"]:
        """1 if the sequence was remembered, or the fraction that was."""


class Adding(Problem):
    """The sum of the two numbers, among many, that are marked.

    The first mark is in the first half, the second in the second. Hochreiter &
    Schmidhuber 1997, experiment 4, in the form of Le, Jaitly & Hinton 2015 (numbers in
    [0, 1], marks 0 and 1). Always to say 1 has a mean squared error of 1/6. An answer
    within 0.04 is right, as in 1997.

    >>> xs, sums = Adding(6).draw(jax.random.key(0), 4)
    >>> xs.shape, bool(jnp.allclose((xs[..., 0] * xs[..., 1]).sum(0), sums))
    ((6, 4, 2), True)
    """

    in_size, out_size, shortest = 2, 1, 2
    solved_when = "the mean squared error is below 0.001"

    def is_solved(self, loss, right):
        del right
        return loss < 1e-3

    @property
    def memoryless(self):
        return 1 / 6

    def draw(self, key, batch_size):
        T, half = self.length, self.length // 2
        value_key, first_key, second_key = jax.random.split(key, 3)
        values = jax.random.uniform(value_key, (T, batch_size))
        first = jax.random.randint(first_key, (batch_size,), 0, half)
        second = jax.random.randint(second_key, (batch_size,), half, T)
        t = jnp.arange(T)[:, None]
        marks = ((t == first[None]) | (t == second[None])).astype(jnp.float32)
        return jnp.stack([values, marks], -1), (values * marks).sum(0)

    def losses(self, outputs, targets):
        return (outputs[:, 0] - targets) ** 2

    def right(self, outputs, targets):
        return (abs(outputs[:, 0] - targets) < 0.04).astype(jnp.float32)


class Copy(Problem):
    """Ten symbols, to be repeated after ``length`` steps.

        inputs     ten of 0..7, blanks (8) x (length - 1), a delimiter (9), blanks x 10
        targets    blanks x (length + 10), the ten symbols

    Hochreiter & Schmidhuber 1997 have tasks like it; this is that of Arjovsky, Shah &
    Bengio 2016. Without a memory the best is to guess the ten:
    ``10 log 8 / (length + 20)`` nats a step.

    >>> xs, targets = Copy(3).draw(jax.random.key(0), 2)
    >>> xs.shape, bool((xs[:10].argmax(-1) == targets[-10:]).all())
    ((23, 2, 10), True)
    """

    in_size, out_size, shortest = 10, 9, 1
    reads_last = False
    symbols: ClassVar[int] = 10
    solved_when = "the loss is below a tenth of that without a memory"

    def is_solved(self, loss, right):
        del right
        return loss < 0.1 * self.memoryless

    @property
    def steps(self):
        return self.length + 2 * self.symbols

    @property
    def memoryless(self):
        return self.symbols * math.log(8) / self.steps

    def draw(self, key, batch_size):
        symbols = jax.random.randint(key, (self.symbols, batch_size), 0, 8)
        blanks = lambda n: jnp.full((n, batch_size), 8)
        go = jnp.full((1, batch_size), 9)
        inputs = [symbols, blanks(self.length - 1), go, blanks(self.symbols)]
        targets = [blanks(self.length + self.symbols), symbols]
        return jax.nn.one_hot(jnp.concatenate(inputs), 10), jnp.concatenate(targets)

    def losses(self, outputs, targets):
        return _cross_entropy(outputs, targets).mean(0)

    def right(self, outputs, targets):
        answers = outputs[-self.symbols :].argmax(-1)
        return (answers == targets[-self.symbols :]).astype(jnp.float32).mean(0)


class Order(Problem):
    """In which order two symbols came, each X or Y, among many others.

        E, then a, b, c or d, X or Y after a tenth to a fifth of the sequence, and again
        after a half to six tenths of it, B at the end

    Hochreiter & Schmidhuber 1997, experiment 6a; its lengths were 100 to 110. The
    answer is one of XX, XY, YX, YY.

    >>> xs, orders = Order(20).draw(jax.random.key(0), 5)
    >>> xs.shape, orders.shape, float(xs[..., 4:6].sum())
    ((20, 5, 8), (5,), 10.0)
    """

    in_size, out_size, shortest = 8, 4, 10

    @property
    def memoryless(self):
        return math.log(4)

    def draw(self, key, batch_size):
        T = self.length
        keys = jax.random.split(key, 4)
        at = lambda key, low, high: jax.random.randint(
            key, (batch_size,), low * T // 10, max(high * T // 10, low * T // 10 + 1)
        )
        order = jax.random.randint(keys[0], (2, batch_size), 0, 2)
        noise = jax.random.randint(keys[1], (T, batch_size), 0, 4)
        t = jnp.arange(T)[:, None]
        symbols = jnp.where(t == at(keys[2], 1, 2)[None], 4 + order[:1], noise)
        symbols = jnp.where(t == at(keys[3], 5, 6)[None], 4 + order[1:], symbols)
        symbols = symbols.at[0].set(6).at[-1].set(7)
        return jax.nn.one_hot(symbols, 8), 2 * order[0] + order[1]

    def losses(self, outputs, targets):
        return _cross_entropy(outputs, targets)

    def right(self, outputs, targets):
        return (outputs.argmax(-1) == targets).astype(jnp.float32)


class Reber(Problem):
    """The next symbol of a string of the embedded Reber grammar; see `reber`.

    Of the symbols that may come, each is equally likely. An answer is right if it
    predicts the last symbol but one, which equals the second symbol. The lowest loss
    without knowing it is that of the grammar and one bit.

    >>> xs, targets = Reber(12).draw(jax.random.key(0), 2)
    >>> xs.shape, bool((targets[-2] == xs[1].argmax(-1)).all())
    ((11, 2, 7), True)
    """

    in_size, out_size, shortest = 7, 7, 9
    reads_last = False

    @property
    def steps(self):
        return self.length - 1

    @property
    def memoryless(self):
        return (reber.expected_entropy(self.length) + math.log(2)) / self.steps

    def draw(self, key, batch_size):
        following = jnp.asarray(reber.NEXT)

        def step(state, now):
            key, allowed = now
            symbol = jax.random.categorical(key, jnp.where(allowed[state], 0.0, -1e9))
            return following[state, symbol], symbol

        start = jnp.zeros(batch_size, following.dtype)
        allowed = jnp.asarray(reber.choices(self.length))
        keys = jax.random.split(key, self.length)
        _, symbols = jax.lax.scan(step, start, (keys, allowed))
        return jax.nn.one_hot(symbols[:-1], 7), symbols[1:]

    def losses(self, outputs, targets):
        return _cross_entropy(outputs, targets).mean(0)

    def right(self, outputs, targets):
        return (outputs[-2].argmax(-1) == targets[-2]).astype(jnp.float32)


PROBLEMS: dict[str, type[Problem]] = {
    "adding": Adding,
    "copy": Copy,
    "order": Order,
    "reber": Reber,
}
"""Name to problem."""


def _cross_entropy(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
