"""Names of the columns of a table of time series."""

import dataclasses

from lstm_jax.data.text import DataError


@dataclasses.dataclass(frozen=True)
class PanelColumns:
    """Which column is what. The names of the long form are those of Nixtla's tools.

    Long form: a row for every series and time; ``id`` says which series. Wide form:
    ``id=None``, a row for every time, and each target is a series of its own.

    Raises:
        DataError: there is no target, or a column is named twice.

    >>> PanelColumns(id=None, time="date", targets=("OT",)).all
    ('date', 'OT')
    """

    id: str | None = "unique_id"
    time: str = "ds"
    targets: tuple[str, ...] = ("y",)
    past: tuple[str, ...] = ()
    """Numbers known up to now, such as the temperature."""
    future: tuple[str, ...] = ()
    """Numbers known ahead, such as holidays or prices."""
    static: tuple[str, ...] = ()
    """Numbers or texts that never change within a series."""

    def __post_init__(self):
        for name in ("targets", "past", "future", "static"):
            if isinstance(value := getattr(self, name), str):
                raise DataError(
                    f"{name} is the text {value!r}, expected a tuple of names; write "
                    f"({value!r},)."
                )
            object.__setattr__(self, name, tuple(value))
        if not self.targets:
            raise DataError("targets is empty, expected the name of a column or more.")
        twice = [name for name in self.all if self.all.count(name) > 1]
        if twice:
            raise DataError(
                f"the column {twice[0]!r} appears twice in {self.all}; give every "
                f"column one role. A target is an input too and needs no second role."
            )

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read."""
        first = () if self.id is None else (self.id,)
        others = (*self.targets, *self.past, *self.future, *self.static)
        return (*first, self.time, *others)
