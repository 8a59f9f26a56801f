"""``lstm-jax explain``: one step of an LSTM line by line, and vanishing gradients."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.commands.arguments import local_path
from lstm_jax.commands.output_file import check_new
from lstm_jax.core.cells.lstm import LSTMCarry, LSTMCell, LSTMParams
from lstm_jax.diagnostics import Vanishing, vanishing_gradients, worked_step
from lstm_jax.diagnostics.worked_step import Line, cut_step, number
from lstm_jax.runs.examined import Layer, examine
from lstm_jax.runs.load import best_of
from lstm_jax.tables import print_table
from lstm_jax.terminal import say
from lstm_jax.training.plots import new_figure, save_figure
from lstm_jax.training.run_errors import RunError

GATES = "ifgo"
EXAMPLE = dict(x=0.5, h=0.1, c=0.2)
"""The worked example; all its weights and biases are 1."""
KEYS = {
    **{name: (name,) for name in EXAMPLE},
    **{kind: tuple(f"{kind}{k}" for k in GATES) for kind in ("w_x", "w_h", "b_")},
    **{f"{kind}{k}": (f"{kind}{k}",) for kind in ("w_x", "w_h", "b_") for k in GATES},
}
"""What KEY=VALUE may name, and which numbers it sets. ``b_`` is called ``b``."""
KEYS["b"] = KEYS.pop("b_")


def add_command(commands) -> None:
    """``lstm-jax explain`` and its options."""
    command = commands.add_parser(
        "explain",
        help="walk through one step of an LSTM, or see gradients vanish",
        description="Prints one step of an LSTM, equation by equation: the worked "
        "example of textbooks, the same with other numbers (x=2 b_f=0), or a unit of "
        "a trained run (RUN --unit lstm.0.17 --step 40).",
    )
    add = command.add_argument
    add(
        "words",
        nargs="*",
        metavar="RUN or KEY=VALUE",
        help="the folder of a run; or numbers for the example: x h c, w_x w_h b for "
        "all gates, w_xf w_hf b_f and so on for one",
    )
    add("--unit", help="with RUN: the unit, such as lstm.0.17 (the first)")
    add("--step", type=int, help="with RUN: the step of the example, from 0 (the last)")
    add(
        "--gradients",
        action="store_true",
        help="measure how gradients vanish over time in fresh cells",
    )
    add("--steps", type=int, help="with --gradients: steps (200)")
    add("--json", action="store_true", help="print JSON")
    add(
        "--out",
        type=local_path,
        metavar="FILE.png",
        help="with --gradients: draw the picture (needs matplotlib)",
    )
    command.set_defaults(command=explain)


def explain(args) -> int:
    """The command."""
    numbers = [word for word in args.words if _is_number(word)]
    runs = [word for word in args.words if not _is_number(word)]
    _check(args, runs, numbers)
    if args.gradients:
        return _gradients(args)
    if runs:
        return _unit(args, runs[0])
    values = _values(numbers)
    with jax.enable_x64(True):
        lines = worked_step(*_layer(values))
    if args.json:
        print(_as_json(lines))
        return 0
    weights = {value for key, value in values.items() if key not in EXAMPLE}
    said = "  ".join(f"{key} = {number(values[key])}" for key in EXAMPLE)
    ones = "all weights and biases are 1" if weights == {1.0} else "weights as given"
    print(f"One step of an LSTM with one unit: {said}; {ones}.\n")
    _print_lines(lines)
    if values == _values([]):
        _say_about_textbooks()
    return 0


def _is_number(word):
    """Whether a word is KEY=VALUE; the name of a folder may have a = as well."""
    key, sign, _ = word.partition("=")
    return bool(sign) and not (os.sep in key or os.path.isdir(word))


def _check(args, runs, numbers):
    """RunError for words that do not go together."""
    if len(runs) > 1:
        raise RunError(f"{' and '.join(runs)} are two runs; name one.")
    given = {
        "RUN": runs,
        "KEY=VALUE": numbers,
        "--gradients": args.gradients,
        "--unit": args.unit is not None,
        "--step": args.step is not None,
        "--steps": args.steps is not None,
        "--out": args.out is not None,
    }
    given = {name for name, value in given.items() if value}
    for name, needs in {
        "--unit": "RUN",
        "--step": "RUN",
        "--steps": "--gradients",
        "--out": "--gradients",
    }.items():
        if name in given and needs not in given:
            raise RunError(f"{name} needs {needs}; give both, or leave {name} out.")
    kinds = sorted(given & {"RUN", "KEY=VALUE", "--gradients"})
    if len(kinds) > 1:
        raise RunError(f"{' and '.join(kinds)} do not go together; give one of them.")


def _values(words: Iterable[str]) -> dict[str, float]:
    """The numbers of the example, with those that were given.

    Raises:
        RunError: a key is unknown or a value is not a number.
    """
    values = EXAMPLE | {name: 1.0 for names in KEYS.values() for name in names}
    values |= EXAMPLE
    for word in words:
        key, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if key not in KEYS:
            raise RunError(f"unknown key {key}; valid: {', '.join(KEYS)}.")
        if not math.isfinite(value):
            raise RunError(f"{key} is {text!r}, expected a finite number.")
        values |= dict.fromkeys(KEYS[key], value)
    return values


def _layer(values):
    of = lambda kind: jnp.array([values[f"{kind}{k}"] for k in GATES], jnp.float64)
    one = lambda name: jnp.array([values[name]], jnp.float64)
    params = LSTMParams(of("w_x")[None], of("w_h")[None], of("b_"))
    return params, LSTMCarry(one("h"), one("c")), one("x")


def _print_lines(lines: Sequence[Line]) -> None:
    """A line for every equation, in columns."""
    texts = [(line.symbol, line.equation, line.numbers) for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line, text in zip(lines, texts, strict=True):
        if line.symbol == "c_t":
            print()
        cells = [cell.ljust(w) for cell, w in zip(text, widths, strict=True)]
        print(f"{' = '.join(cells)} = {line.value:10.7f}   {line.meaning}")


def _say_about_textbooks():
    cut = cut_step(EXAMPLE["x"], EXAMPLE["h"], EXAMPLE["c"])
    print(
        f"\nThe sigmoid of z is 1 / (1 + exp(-z)). The numbers are not rounded between "
        f"the lines.\nA textbook that cuts every value off after three digits before "
        f"the next line uses it\nprints g = {cut['g']}, c = {cut['c']} and "
        f"h = {cut['h']}."
    )


def _as_json(lines):
    rows = [{"symbol": line.symbol, "value": line.value} for line in lines]
    return json.dumps(rows, indent=2)


def _unit(args, directory):
    """A unit of a run, at one step of an example of its data."""
    _, task, params = best_of(directory)
    examined = examine(task, params)
    first = f"{examined.layers[0].name}.0"
    layer, unit = examined.layer(first if args.unit is None else args.unit)
    steps = len(layer.trace.hs)
    step = steps - 1 if args.step is None else args.step
    if not 0 <= step < steps:
        raise RunError(f"--step is {step}, expected 0 to {steps - 1}.")
    lines = _lines_of(layer, unit, step)
    if args.json:
        print(_as_json(lines))
        return 0
    print(f"Unit {layer.name}.{unit} at step {step} of {examined.example.title}.")
    print(
        f"The model reads {examined.read_at(layer, step)}; x_t is what layer "
        f"{layer.name} reads.\n"
    )
    _print_lines(lines)
    return 0


def _lines_of(layer: Layer, unit: int, step: int) -> list[Line]:
    if layer.cell != LSTMCell(layer.cell.hidden_size):
        raise RunError(
            f"layer {layer.name} is {layer.cell}, and only the equations of a plain "
            f"LSTMCell are explained; see its gates with lstm-jax report."
        )
    at = jax.tree.map(lambda a: a[step], layer.trace)
    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)
    return worked_step(wide(layer.params), wide(at.before), wide(at.xs), unit=unit)


def _gradients(args):
    steps = 200 if args.steps is None else args.steps
    if not 2 <= steps <= 10_000:
        raise RunError(f"--steps is {steps}, expected 2 to 10,000.")
    check_new("--out", args.out)
    if args.out is not None and args.out.suffix not in (".png", ".svg", ".pdf"):
        raise RunError(f"--out is {args.out}, expected a name that ends in .png.")
    found = vanishing_gradients(steps)
    if args.json:
        print(json.dumps({one.name: _norms(one) for one in found}, indent=2))
    else:
        _print_gradients(found, steps)
    if args.out is not None:
        say(f"picture: {draw(found, args.out)}", error=True)
    return 0


def _norms(one: Vanishing) -> dict[str, Any]:
    return {state: norms.tolist() for state, norms in one.norms.items()} | {
        f"kept_{state}": one.kept(state) for state in one.norms
    }


def _print_gradients(found, steps):
    print(
        f"|dL/dh_t| and |dL/dc_t| in fresh cells, for a loss on the last of {steps} "
        f"outputs,\nas fractions of |dL/dh_t| at the last step:\n"
    )
    at = sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 2})
    rows = [
        (one.name, state, *(_small(norms[t] / one.norms["h"][-1]) for t in at))
        for one in found
        for state, norms in one.norms.items()
    ]
    print_table(["cell", "state", *(f"t = {t}" for t in at)], rows)
    rnn, lstm = found[0], next(one for one in found if "bias 1" in one.name)
    ours, theirs = lstm.norms["c"][0], rnn.norms["h"][0]
    if min(ours, theirs) < np.finfo(np.float64).tiny:
        print("At t = 0 a gradient is too small for float64; take fewer steps.")
        return
    ratio = math.log10(ours) - math.log10(theirs)
    print(
        f"At t = 0 the gradient by c of an LSTM with forget bias 1 is 10^{ratio:.0f} "
        f"times that of the plain RNN."
    )


def _small(value):
    return f"{value:.1e}"


def draw(found: Sequence[Vanishing], path: Path) -> Path:
    """Draws the gradients of all cells against time.

    Raises:
        RunError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        figure, axes = new_figure()
    except ModuleNotFoundError as error:
        raise RunError(
            "--out needs matplotlib: pip install 'lstm-jax[plots]'; or leave it out."
        ) from error
    colors = ("#6a51a3", "#d94801", "#9ecae1", "#4292c6", "#08519c", "#238b45")
    for one, color in zip(found, colors, strict=True):
        state = "c" if "c" in one.norms else "h"
        norms = one.norms[state] / one.norms["h"][-1]
        shown = np.where(norms > 0, norms, np.nan)
        label = f"{one.name}, by {state}"
        axes.plot(shown, color=color, ls="-" if state == "c" else "--", label=label)
    axes.set(xlabel="step t", yscale="log", ylabel="|dL/dc_t| or |dL/dh_t|, relative")
    axes.set_ylim(bottom=1e-30)
    axes.legend(frameon=False, fontsize="small")
    return save_figure(figure, path)
