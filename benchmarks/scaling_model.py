"""How far does training scale to many chips: bytes, memory, overlap, efficiency.

    python -m benchmarks.scaling_model [--quick] [--tpu]

A model, not a measurement: docs/scaling.md explains it and names the sources. Its bytes
are checked against the collectives that XLA compiles for 8 simulated devices; the
command fails if they differ. ``--tpu`` also compiles for 8 chips of a TPU v5p. This
needs the package libtpu, but no TPU.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks import RESULTS, awd
from lstm_jax.bench import report
from lstm_jax.config import read
from lstm_jax.core.arguments import seed_key
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.train import Start
from lstm_jax.training.placement import OnMesh
from lstm_jax.training.step import init_state, make_block

ROOT = Path(__file__).parents[1]
CHIPS = (1, 2, 4, 8, 64, 256, 1024)
SIMULATED = 8
SUSTAINED = 0.25
"""Assumed: this fraction of the published peak is sustained in matrix products."""
ASSUMED = (0.1, SUSTAINED, 0.5)
FLOAT = 4
"""Bytes of a parameter, gradient or moment."""


# Models


class Layer(NamedTuple):
    """An LSTM layer."""

    inputs: int
    units: int

    @property
    def parameters(self) -> int:
        return 4 * self.units * (self.inputs + self.units + 1)


@dataclasses.dataclass(frozen=True)
class Model:
    """A language model, and the rows of a batch that each chip gets."""

    name: str
    layers: tuple[Layer, ...]
    vocabulary: int
    embed: int
    tied: bool
    rows: int
    window: int
    copies: int
    """Numbers that optimizer and averaging keep for every parameter."""

    @classmethod
    def of(cls, name: str, config: Any, vocabulary: int, chips: int = 1) -> "Model":
        """The model of a config, whose batch is split over some chips."""
        task = config.model
        sizes = (task.embed_size, *task.layer_sizes)
        layers = tuple(Layer(*pair) for pair in itertools.pairwise(sizes))
        copies = {"adam": 2, "sgd": 0}[config.optimizer.kind or "adam"]
        copies += config.optimizer.average is not None
        rows, window = config.train.batch_size // chips, config.train.window
        args = layers, vocabulary, task.embed_size, task.tied, rows, window, copies
        return cls(name, *args)

    @property
    def table(self) -> int:
        """Parameters of the embedding."""
        return self.vocabulary * self.embed

    @property
    def head(self) -> int:
        """Parameters of the output layer, without a table that is tied."""
        kernel = 0 if self.tied else self.layers[-1].units * self.vocabulary
        return kernel + self.vocabulary

    @property
    def parameters(self) -> int:
        return self.table + sum(layer.parameters for layer in self.layers) + self.head

    @property
    def operations(self) -> int:
        """Floating-point operations of a step on one chip: 6 a weight and token."""
        weights = sum(4 * h * (d + h) for d, h in self.layers)
        weights += self.layers[-1].units * self.vocabulary
        return 6 * weights * self.rows * self.window

    def gradients(self) -> list[int]:
        """Parameters whose gradients are sent together, in the order of the backward
        pass: output layer, layers from the last to the first, embedding.

        XLA sums the two gradients of a tied table on their own.
        """
        head = self.head + (self.table if self.tied else 0)
        layers = [layer.parameters for layer in reversed(self.layers)]
        return [head, *layers, self.table]

    def gathered(self) -> list[int]:
        """Parameters that are gathered together, in the order of the forward pass."""
        return [self.table, *(layer.parameters for layer in self.layers), self.head]

    def chunks(self, chips: int) -> int:
        """Chunks of positions in which the loss of a whole batch is computed."""
        from lstm_jax.models.cross_entropy import LOGITS

        piece = max(LOGITS // (self.vocabulary * self.rows * chips), 1)
        return -(-self.window // piece)


BILLION = """
task = "language_model"
[model]
embed_size = 1024
hidden_size = 4096
num_layers = 6
[optimizer]
kind = "adam"
[train]
steps = 1
batch_size = 128
window = 128
"""
WORDS = {"awd": 10_000, "billion": 50_000}


def config_of(name: str, folder: Path, *changes: str) -> Any:
    """The config of a model, with a text of as many distinct words as it wants."""
    path = folder / f"{name}.toml"
    if name == "billion":
        path.write_text(BILLION)
    words = WORDS[name] - 2  # the ends of lines and unknown words are tokens as well
    text = folder / f"{name}.txt"
    text.write_text(" ".join(f"w{n % words}" for n in range(max(4 * words, 500_000))))
    values = read(awd.CONFIG if name == "awd" else path)
    data = f"data.path={text}", "data.tokens=words"
    return read_config(values, [*data, *changes])


def shapes_of(task: Any, optimizer: Any) -> Any:
    """The state of a training, without its numbers."""
    averaging = task.config.optimizer.averaging()

    def first(key):
        carry = task.init_carry()
        return init_state(task.init(key), carry, optimizer, key, averaging)

    return jax.eval_shape(first, seed_key(0))


# Machines


@dataclasses.dataclass(frozen=True)
class Machine:
    """Speeds of a chip and of its links, one way, in bytes a second."""

    name: str
    peak: float
    """Published operations a second."""
    memory: float
    """Bandwidth of its memory."""
    sustained: float = SUSTAINED

    @property
    def rate(self) -> float:
        return self.sustained * self.peak

    def seconds(self, sent: float, chips: int, passes: int) -> float:
        """Of an all-reduce (2 passes), or of a gather or reduce-scatter (1 pass).

        Args:
            sent: bytes of the whole array.
        """
        raise NotImplementedError


class H100(Machine):
    """Nodes of 8 with NVLink, and a network card for each GPU.

    Inside of a node each GPU reduces or gathers its part, and between nodes the parts
    are exchanged. Latencies are those that NCCL itself assumes, for trees in an
    all-reduce and for rings else (its protocol LL128).
    """

    def seconds(self, sent, chips, passes):
        inside, nodes = min(chips, 8), max(chips // 8, 1)
        time = passes * (inside - 1) / inside * sent / 450e9
        time += passes * (nodes - 1) / nodes * sent / 8 / 50e9
        if passes == 2:
            hops = 2 * ((inside - 1) * 1.25 + math.log2(nodes) * 8.5)
        else:
            hops = (chips - nodes) * 1.9 + (nodes - 1) * 4.0
        return time + 1e-6 * (14 + hops) if chips > 1 else 0.0


class V5p(Machine):
    """A torus; 100 GB/s for each of up to 6 links, which are all used at once."""

    SLICES = {  # noqa: RUF012
        1: (1, 1, 1),
        2: (2, 1, 1),
        4: (2, 2, 1),
        8: (2, 2, 2),
        16: (2, 2, 4),
        32: (2, 4, 4),
        64: (4, 4, 4),
        128: (4, 4, 8),
        256: (4, 8, 8),
        512: (8, 8, 8),
        1024: (8, 8, 16),
    }

    def seconds(self, sent, chips, passes):
        if chips == 1:
            return 0.0
        sides = [side for side in self.SLICES[chips] if side > 1]
        wraps = chips >= 64
        links = sum(2 if wraps else 1 for _ in sides)
        hops = sum(side // 2 if wraps else side - 1 for side in sides)
        time = passes * (chips - 1) / chips * sent / (links * 100e9)
        return time + 1e-6 * passes * hops


class Core(Machine):
    """One CPU core, and a network of 10 Gb/s, which is assumed."""

    def seconds(self, sent, chips, passes):
        return passes * (chips - 1) / chips * sent / 1.25e9


ACCELERATORS = H100("H100", 990e12, 3.35e12), V5p("TPU v5p", 459e12, 2.765e12)


def core(model: Model) -> tuple[Core, dict[str, Any]]:
    """One CPU core with the measured time of a step, and the measurement."""
    ours = json.loads((ROOT / "docs/results/awd-changed.json").read_text())
    theirs = json.loads((RESULTS / "awd_torch-cpu.json").read_text())
    steps = ours["config"]["train"]["steps"]
    seconds = 60 * ours["seeds"][0]["minutes"] / steps
    torch = [60 * e["minutes"] / (steps / 2) for e in theirs["epochs"]]
    found = dict(seconds_per_step=seconds, torch_seconds_per_step=torch, cores=1)
    rate = model.operations / seconds
    found |= dict(gflops=rate / 1e9)
    return Core("CPU core", rate, math.inf, 1.0), found


# The time of a step


def compute(model: Model, machine: Machine) -> tuple[list[float], float, list[float]]:
    """Seconds of the forward pass of each layer, of the output layer with its
    gradients, and of the backward pass of each layer.

    The loop over time reads the recurrent weights from memory at every step.
    """
    positions = model.rows * model.window
    product = lambda a, b: 2 * positions * a * b / machine.rate
    forward, backward = [], []
    for d, h in model.layers:
        once = max(2 * model.rows / machine.rate, FLOAT / machine.memory)
        loop = model.window * 4 * h * h * once
        forward.append(product(d, 4 * h) + loop)
        backward.append(loop + 2 * product(d, 4 * h) + product(h, 4 * h))
    return forward, 3 * product(model.layers[-1].units, model.vocabulary), backward


def step(
    model: Model, machine: Machine, chips: int, sharded: bool, overlap: bool
) -> float:
    """Seconds of a step.

    Args:
        sharded: whether parameters are split between the steps.
        overlap: whether a group of gradients is sent as soon as they are known, and
            parameters are gathered during the layers before them, each chip receiving
            its part of the gradients only. If not, one gather comes first and one
            all-reduce last.
    """
    forward, head, backward = compute(model, machine)
    gradients = [FLOAT * size for size in model.gradients()]
    parameters = [FLOAT * size for size in model.gathered()]
    if not overlap:
        gather = machine.seconds(sum(parameters), chips, 1) if sharded else 0.0
        reduce = machine.seconds(sum(gradients), chips, 2)
        return gather + sum(forward) + head + sum(backward) + reduce
    if sharded and model.tied:
        gradients[0] -= FLOAT * model.table  # only the sum of both is sent
    send = functools.partial(machine.seconds, chips=chips, passes=1 if sharded else 2)
    now = sent = 0.0
    # A layer starts when the layer before it is done and its parameters are there.
    for size, time in zip(parameters, [0.0, *forward, head], strict=True):
        sent += send(size) if sharded else 0.0
        now = max(now, sent) + time
    # Gradients are known when the loop of a layer, and its products after it, are done.
    for size, time in zip(gradients, [0.0, *backward, 0.0], strict=True):
        now += time
        sent = max(sent, now) + send(size)
    return max(now, sent)


def alone(model: Model, machine: Machine) -> float:
    """Seconds of a step on one chip."""
    return step(model, machine, 1, False, False)


def efficiency(model: Model, machine: Machine, chips: int, *way: bool) -> float:
    """Of a fixed batch per chip: the time of one chip over the time of many."""
    return alone(model, machine) / step(model, machine, chips, *way)


def looped(model: Model, machine: Machine, chips: int) -> float:
    """Efficiency if the gradient of the output layer is summed in every chunk of the
    loss, as XLA compiles it for CPUs. Other compilers move the sum out of the loop."""
    again = (model.chunks(chips) - 1) * machine.seconds(
        FLOAT * model.gradients()[0], chips, 2
    )
    return alone(model, machine) / (step(model, machine, chips, False, False) + again)


def with_rows(model: Model, rows: int) -> Model:
    return dataclasses.replace(model, rows=rows)


def of_global(model: Model, machine: Machine, chips: int, rows: int, *way: bool):
    """Efficiency where all chips share ``rows``; ``None`` if they cannot be split."""
    if rows % chips:
        return None
    time = step(with_rows(model, rows // chips), machine, chips, *way)
    return alone(with_rows(model, rows), machine) / chips / time


def with_free_links(model: Model, machine: Machine, chips: int, rows: int):
    """`of_global` if sending took no time."""
    if rows % chips:
        return None
    whole, part = (with_rows(model, n) for n in (rows, rows // chips))
    return alone(whole, machine) / chips / alone(part, machine)


def tokens_for_half(machine: Machine) -> float:
    """Tokens of a step on one chip for which data parallel sends as long as it
    computes, at the most chips. A weight takes 2 floats, and 6 operations a token."""
    return machine.seconds(1e9 * FLOAT, CHIPS[-1], 2) * machine.rate / 6e9


# What each chip sends and holds


def sent(model: Model, chips: int) -> dict[str, float]:
    """Bytes that each chip sends in a step."""
    part, whole = (chips - 1) / chips * FLOAT, model.parameters
    summed = sum(model.gradients())
    return {
        "data parallel": part * 2 * summed,
        "sharded": part * (whole + 2 * summed),
        "sharded, reduce-scatter": part * 2 * whole,
    }


def held(model: Model, chips: int, units: float) -> dict[str, dict[str, float]]:
    """Bytes that each chip holds at the end of the backward pass.

    Args:
        units: floats of the activations of a layer, for each position and unit.
    """
    whole = FLOAT * model.parameters
    positions = model.rows * model.window
    activations = FLOAT * units * positions * sum(h for _, h in model.layers)
    rest = dict(gradients=whole, activations=activations)
    state = model.copies * whole
    return {
        "data parallel": dict(parameters=whole, optimizer=state) | rest,
        "sharded": dict(parameters=whole + whole / chips, optimizer=state / chips)
        | rest,
    }


# What XLA compiles


class Sent(NamedTuple):
    """A collective of a compiled program."""

    op: str
    bytes: float
    """What each chip sends."""
    times: int
    """How often a step runs it; 1 where the program does not say so."""
    inner: bool
    """Whether it is in a loop of the step."""
    started: bool
    """Whether other operations run while it sends."""
    scope: str


_COMPUTATION = re.compile(r"(?:ENTRY )?(%[\w.\-]+) \(.*\{$")
_WHILE = re.compile(r" while\(.*body=(%[\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_SENT = re.compile(
    r" = (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(-start)?\("
)
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_SCOPE = re.compile(r'op_name="([^"]*)"')


def collectives(program: str, chips: int) -> list[Sent]:
    """The collectives in the text of a compiled program."""
    found, parents, computation = [], {}, ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            computation = match[1]
        elif match := _WHILE.search(line):
            trips = _TRIPS.search(line)
            parents[match[1]] = computation, int(trips[1]) if trips else 1
        elif match := _SENT.search(line):
            scope = _SCOPE.search(line)
            found.append((computation, match, scope[1] if scope else ""))
    return [
        Sent(
            match[2],
            _payload(match[2], match[1], chips),
            *_loops(parents, computation),
            bool(match[3]),
            scope,
        )
        for computation, match, scope in found
    ]


def _payload(op, shape, chips):
    sizes = [
        math.prod(map(int, filter(None, dims.split(",")))) * _itemsize(dtype)
        for dtype, dims in _SHAPE.findall(shape)
    ]
    if op == "collective-permute":
        return sizes[0]  # the others are buffers
    passes = {"all-reduce": 2, "reduce-scatter": chips}.get(op, 1)
    return passes * (chips - 1) / chips * sum(sizes)


def _itemsize(dtype):
    return 1 if dtype == "pred" else int(re.sub(r"\D", "", dtype)) // 8


def _loops(parents, computation):
    """How often a step runs a computation, and whether that is in a loop of its own."""
    times, depth = 1, 0
    while computation in parents:
        computation, trips = parents[computation]
        times, depth = times * trips, depth + 1
    return times, depth > 1  # the loop around is that over steps


KINDS = "gathered parameters", "summed gradients", "the rest"


def kind_of(collective: Sent) -> str:
    if collective.op == "all-gather" and "sharding_constraint" in collective.scope:
        return KINDS[0]
    return KINDS[1 if collective.op in ("all-reduce", "reduce-scatter") else 2]


def totals(found: list[Sent]) -> dict[str, float]:
    """Bytes by kind; each collective counts once, also if it is in a loop."""
    total: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for collective in found:
        total[kind_of(collective)] += collective.bytes
    return total


def predicted(model: Model, chips: int, sharded: bool) -> dict[str, list[float]]:
    """What `totals` may be, for a vocabulary that the chips divide.

    XLA compiles a reduce-scatter for CPUs as an all-reduce. With split parameters it
    may exchange activations in place of the gradient of the embedding.
    """
    part = (chips - 1) / chips * FLOAT
    summed = [sum(model.gradients())]
    if sharded:
        summed.append(summed[0] - model.table)
    gathered = part * model.parameters * sharded
    return {KINDS[0]: [gathered], KINDS[1]: [part * 2 * size for size in summed]}


def compile_step(config: Any) -> Any:
    """The compiled training step of a config, for the devices that it names."""
    start = Start.of(make_task(config))
    data, n = start.batches.take(0, 1)
    block: Any = start.block
    return block.lower(start.state, data, n).compile()


def compare(model: Model, found: list[Sent], sharded: bool) -> dict[str, Any]:
    """The bytes of a step that was compiled for simulated devices, and the predicted.

    Raises:
        SystemExit: they differ by more than 1%.
    """
    total, wanted = totals(found), predicted(model, SIMULATED, sharded)
    for kind, sizes in wanted.items():
        # The loss and norms are some bytes more.
        if not any(abs(total[kind] - size) < 0.01 * size + 500 for size in sizes):
            raise SystemExit(
                f"benchmarks.scaling_model: {model.name}, sharded={sharded}: {kind} "
                f"are {total[kind]:,.0f} bytes in the compiled step, expected "
                f"{' or '.join(f'{size:,.0f}' for size in sizes)}."
            )
    repeated = sum(one.bytes * one.times for one in found)
    return dict(predicted=wanted, found=total, with_loops=repeated)


def on_tpu(name: str, folder: Path, sharded: bool) -> dict[str, Any]:
    """What XLA compiles for 8 chips of a TPU v5p."""
    from jax.experimental import topologies

    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU to ask
    devices = topologies.get_topology_desc("v5p:2x2x2", "tpu").devices
    rows = config_of(name, folder).train.batch_size * len(devices)
    config = config_of(name, folder, f"train.batch_size={rows}")
    task = make_task(config)
    optimizer = config.optimizer.build(1, 1)
    shapes = shapes_of(task, optimizer)
    axes = AxisType.Auto, AxisType.Auto
    mesh = Mesh(np.array(devices).reshape(-1, 1), ("data", "model"), axis_types=axes)
    placement = OnMesh(mesh, sharded)
    batches = task.batches()

    def at(*args):
        batch, carry = batches.at(*args)
        return placement.batch(batch, 1), carry

    shardings = placement.of_state(shapes, rows)
    block: Any = make_block(
        task.loss,
        optimizer,
        at,
        1,
        averaging=config.optimizer.averaging(),
        placement=placement,
        shardings=shardings,
    )
    put = lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at)
    split = NamedSharding(mesh, PartitionSpec(None, "data"))
    data, _ = batches.take(0, 1)
    inputs = jax.tree.map(put, shapes, shardings), put(data, split)
    compiled = block.lower(*inputs, jax.ShapeDtypeStruct((), jnp.int32)).compile()
    found = collectives(compiled.as_text(), len(devices))
    memory = compiled.memory_analysis()
    by_op: dict[str, Any] = {}
    for one in found:
        where = one.op + ", in a loop" * one.inner + ", overlapped" * one.started
        count, total = by_op.get(where, (0, 0.0))
        by_op[where] = count + 1, total + one.bytes
    return dict(
        rows_per_chip=rows // len(devices),
        collectives={k: dict(count=n, bytes=b) for k, (n, b) in by_op.items()},
        state=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
    )


# The command

WAYS = {
    "data parallel": (False, False),
    "data parallel, overlapped": (False, True),
    "sharded": (True, False),
    "sharded, overlapped": (True, True),
}
GLOBAL = {"awd": 80, "billion": 1024}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling_model")
    add = parser.add_argument
    add("--quick", action="store_true", help="check the bytes of data parallel alone")
    add("--tpu", action="store_true", help="compile for a TPU as well; needs libtpu")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", SIMULATED)
    with tempfile.TemporaryDirectory() as name:
        results = measure(args, Path(name))
    print("written:", report.save("scaling_model", results, args.out))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    memory = json.loads((RESULTS / "properties-cpu.json").read_text())["memory"]
    units = memory["units"]["scan"]
    results: dict[str, Any] = dict(sustained=SUSTAINED, activation_floats=units)
    models = {}
    for name, words in WORDS.items():
        config = config_of(name, folder)
        model = models[name] = Model.of(name, config, words)
        shapes = shapes_of(make_task(config), config.optimizer.build(1, 1))
        size = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
        if size != model.parameters:
            raise SystemExit(
                f"{name} has {size:,} parameters, not {model.parameters:,}"
            )
    machine, found = core(models["awd"])
    results["cpu"] = found
    results["models"] = {
        name: dict(
            dataclasses.asdict(model),
            parameters=model.parameters,
            operations=model.operations,
            sent={n: sent(model, n) for n in CHIPS},
            held={n: held(model, n, units) for n in CHIPS},
            chunks={n: model.chunks(n) for n in CHIPS},
        )
        for name, model in models.items()
    }
    found["efficiency_as_compiled"] = {
        n: looped(models["awd"], machine, n) for n in CHIPS
    }
    results["tokens_for_half"] = {m.name: tokens_for_half(m) for m in ACCELERATORS}
    results["scaling"] = [*scaling(models, machine)]
    show(results)
    results["checked"] = {}
    for sharded in (False, True)[: 1 if args.quick else 2]:
        rows = models["awd"].rows * SIMULATED
        changes = f"train.batch_size={rows}", f"parallel.data={SIMULATED}"
        where = f"parallel.shard_parameters={str(sharded).lower()}"
        config = config_of("awd", folder, *changes, where)
        compiled = compile_step(config)
        found = compare(
            models["awd"], collectives(compiled.as_text(), SIMULATED), sharded
        )
        found["state"] = compiled.memory_analysis().argument_size_in_bytes
        way = "sharded" if sharded else "data parallel"
        results["checked"][way] = found
        print(f"compiled for {SIMULATED} CPU devices, {way}: {found}", flush=True)
    if args.tpu:
        results["tpu"] = {}
        for name, sharded in itertools.product(models, (False, True)):
            way = f"{name}, {'sharded' if sharded else 'data parallel'}"
            results["tpu"][way] = on_tpu(name, folder, sharded)
            print(f"compiled for a TPU, {way}: {results['tpu'][way]}", flush=True)
    return results


def scaling(models: dict[str, Model], machine: Core) -> Iterator[dict[str, Any]]:
    """Efficiencies of every model, machine and way."""
    chips = [2**n for n in range(CHIPS[-1].bit_length())]
    for (name, model), (label, way) in itertools.product(models.items(), WAYS.items()):
        for one in (*ACCELERATORS, *([machine] if name == "awd" else [])):
            rows = GLOBAL[name]
            fixed = {n: efficiency(model, one, n, *way) for n in CHIPS}
            shared = {n: of_global(model, one, n, rows, *way) for n in chips}
            below = [n for n, found in shared.items() if (found or 1.0) < 0.5]
            yield dict(
                model=name,
                machine=one.name,
                way=label,
                milliseconds=1e3 * alone(model, one),
                efficiency=fixed,
                global_rows=rows,
                efficiency_of_global_rows=shared,
                with_free_links={
                    n: with_free_links(model, one, n, rows) for n in chips
                },
                global_rows_below_half_at=min(below, default=None),
                efficiency_at_most_chips={
                    part: efficiency(
                        model,
                        dataclasses.replace(one, sustained=part),
                        CHIPS[-1],
                        *way,
                    )
                    for part in ASSUMED
                    if one in ACCELERATORS
                },
            )


def show(results: dict[str, Any]) -> None:
    rows: list[tuple[Any, ...]] = [
        ("MB sent by a chip", *CHIPS),
        *(
            (f"{name}, {way}", *(f"{model['sent'][n][way] / 1e6:,.0f}" for n in CHIPS))
            for name, model in results["models"].items()
            for way in model["sent"][1]
        ),
    ]
    print(report.table(rows), end="\n\n")
    percent = lambda part: "" if part is None else f"{part:.0%}"
    head = "efficiency, fixed batch per chip", "ms", *CHIPS
    rows = [head]
    for one in results["scaling"]:
        label = f"{one['model']}, {one['machine']}, {one['way']}"
        cells = (percent(one["efficiency"][n]) for n in CHIPS)
        rows.append((label, f"{one['milliseconds']:.2f}", *cells))
    print(report.table(rows), end="\n\n")
    found = results["cpu"]["efficiency_as_compiled"].values()
    print(
        "awd, CPU core, data parallel, as compiled:", *map(percent, found), end="\n\n"
    )
    chips = [*results["scaling"][0]["efficiency_of_global_rows"]]
    rows = [("efficiency, fixed global batch", "rows", *chips, "below 50% at")]
    for one in results["scaling"]:
        label = f"{one['model']}, {one['machine']}, {one['way']}"
        cells = (percent(one["efficiency_of_global_rows"][n]) for n in chips)
        below = one["global_rows_below_half_at"]
        rows.append((label, one["global_rows"], *cells, below))
        if one["way"] == "data parallel":
            cells = (percent(one["with_free_links"][n]) for n in chips)
            label = f"{one['model']}, {one['machine']}, free links"
            rows.append((label, one["global_rows"], *cells, ""))
    print(report.table(rows), end="\n\n")
    print("tokens a chip for 50%:", results["tokens_for_half"], end="\n\n")
    rows = [("efficiency at most chips, if sustained", *ASSUMED)]
    for one in results["scaling"]:
        if found := one["efficiency_at_most_chips"]:
            label = f"{one['model']}, {one['machine']}, {one['way']}"
            rows.append((label, *map(percent, found.values())))
    print(report.table(rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
