"""The layers of the house: a room imports only rooms below it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = [
    {"_starting", "_types", "files", "terminal"},
    {"config"},
    {"core", "tables"},
    {"audio", "data", "scores"},
    {"kernels"},
    {"ops"},
    {"nn", "linen", "programs"},
    {"interop", "diagnostics", "inference", "training"},
    {"models"},
    {"tasks", "bench"},
    {"runs"},
    {"report", "sweeps"},
    {"commands"},
    {"cli"},
]
"""From the ground up; rooms on one floor do not know each other."""

INNER_FLOORS = {
    "core": [
        {"arguments", "boxes", "precision", "sharding", "trees"},
        {"dropout", "init", "primitives"},
        {"cells"},
        {"recurrence"},
        {"layers"},
    ],
    "kernels": [
        {"__init__"},
        {"lstm"},
        {"cpu", "cudnn", "pallas"},
    ],
    "interop": [
        {"errors", "layout"},
        {"stablehlo", "weights"},
        {"files"},
        {"onnx"},
        {"__init__"},
    ],
}
"""Rooms with rooms inside."""

FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
ENTRANCES = {"__init__": FLOOR["ops"] + 1, "__main__": FLOOR["cli"] + 1}
"""Files of the package itself: the public names, and ``python -m lstm_jax``."""

FILES = sorted((ROOT / "lstm_jax").rglob("*.py"))
HEAVY = [
    "flax",
    "optax",
    "chex",
    "orbax",
    "pydantic",
    "rich",
    "safetensors",
    "torch",
    "keras",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "tokenizers",
    "pyarrow",
    "nervaluate",
    "pandas",
    "narwhals",
    "polars",
    "rapidfuzz",
    "soundfile",
    "soxr",
    "jinja2",
]


def imported(path):
    """Dotted names of everything that a file imports, wherever in it; but not what only
    an editor sees."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(ROOT / "lstm_jax").parts[0].removesuffix(".py")


def rooms_imported(path):
    """Rooms of this package that a file imports; public names stand for `ops`."""
    for name in imported(path):
        package, _, inner = name.partition(".")
        if package == "lstm_jax":
            room = inner.partition(".")[0]
            yield room if room in FLOOR else "ops"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    room = room_of(path)
    assert room in FLOOR | ENTRANCES, f"{room} has no floor; give it one in {__file__}"
    floor = ENTRANCES.get(room, FLOOR.get(room))
    for other in rooms_imported(path):
        assert other == room or FLOOR[other] < floor, f"{room} imports {other}"


@pytest.mark.parametrize("house", INNER_FLOORS)
def test_imports_go_down_inside(house):
    floor = {room: n for n, rooms in enumerate(INNER_FLOORS[house]) for room in rooms}
    for path in sorted((ROOT / "lstm_jax" / house).rglob("*.py")):
        room = path.relative_to(ROOT / "lstm_jax" / house).parts[0].removesuffix(".py")
        if house == "core" and room == "__init__":
            continue
        assert room in floor, f"{path} has no floor; give its room one in {__file__}"
        for name in imported(path):
            if name.startswith(f"lstm_jax.{house}."):
                other = name.split(".")[2]
                below = floor.get(other, -1) < floor[room]
                assert other == room or below, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_core_and_data_may_import(path):
    packages = {name.partition(".")[0] for name in imported(path)}
    packages -= {*sys.stdlib_module_names, "lstm_jax"}
    if room_of(path) == "core":
        assert packages <= {"jax", "numpy"}
    if room_of(path) in {"data", "metrics"}:
        assert packages.isdisjoint({"jax", "flax"})


def test_the_rule_can_fail(tmp_path):
    """The reader of imports sees every form of them."""
    path = tmp_path / "module.py"
    path.write_text(
        "import lstm_jax.cli\n"
        "from lstm_jax import nn\n"
        "def f():\n    from lstm_jax.training.trainer import run\n"
        "from lstm_jax import lstm\n"
    )
    assert set(rooms_imported(path)) == {"cli", "nn", "training", "ops"}


def test_import_is_light():
    """``import lstm_jax`` brings JAX and nothing heavier."""
    script = (
        "import sys, lstm_jax; print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(run.stdout.split())
