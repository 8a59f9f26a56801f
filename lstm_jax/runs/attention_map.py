"""Where a translation attended to, as a plot; needs the extra ``plots``."""

from pathlib import Path

from lstm_jax.tasks.translation_reading import Alignment
from lstm_jax.terminal import escape
from lstm_jax.training.plots import new_figure, save_figure


def plot_attention(found: Alignment, path: Path) -> Path:
    """Columns are the tokens of the sentence, rows those of its translation; a dark
    square is a large weight.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        RunError: it cannot be written.
    """
    figure, axes = new_figure()
    rows, columns = found.attention.shape
    figure.set_size_inches(2 + 0.3 * columns, 1.5 + 0.3 * rows)
    axes.grid(False)
    axes.imshow(found.attention, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # A dollar would begin a formula.
    shown = lambda tokens: [escape(t).replace("$", r"\$") for t in tokens]
    axes.set_xticks(range(columns), shown(found.source), rotation=90)
    axes.set_yticks(range(rows), shown(found.target))
    axes.xaxis.tick_top()
    return save_figure(figure, path)
