"""What the columns of a table of series are called."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Columns:
    """The names of the columns of a table.

    >>> columns = Columns(sequence="patient", time="hour", features=("pulse",))
    >>> columns.label
    'label'
    """

    sequence: str = "id"
    """The column that says which sequence a row belongs to."""
    time: str | None = None
    """The column that orders the rows of a sequence, a number; ``None`` keeps the order
    of the file."""
    label: str | None = "label"
    """The column of the label; ``None`` where there are no labels."""
    features: tuple[str, ...] = ()
    """The columns of the features, in this order; empty for all others."""
    file: str = "file"
    """In the index of a folder, the column of the file names."""
    delimiter: str = ","
    """What stands between the cells of a CSV file; see `read_table`."""
    trained: bool = False
    """Whether a model was trained with these columns: errors then say so."""
