"""Do the readers of files survive corrupt files?

    python -m benchmarks.fuzz_readers [--only READER] [--seconds 600] [--keep FOLDER]

Valid files are corrupted at random, as bytes and inside their containers, and then
read. An `InteropError` or a result is fine. Any other exception, a crash, more than 1
GiB of extra memory (a limit of the operating system), or more than 20 seconds for a few
kilobytes is a find, and the file is kept. Each reader has its own process, watched from
outside. `READERS` lists the readers.
"""

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import fuzz_onnx
from lstm_jax.interop import InteropError, from_torch, read_tensors, write_tensors
from lstm_jax.interop.files.stored import read_stored, save_stack
from lstm_jax.interop.files.weight_file import WeightFile
from lstm_jax.interop.layout import LAYOUTS
from lstm_jax.interop.weights.stack import read_stack

MEMORY, PATIENCE = 2**30, 20.0


class Reader(NamedTuple):
    """Good inputs, how they are damaged, and what reads them, from a file."""

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], Any]
    damage: Callable[[random.Random, list[bytes]], bytes]
    suffix: str


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    if args.child:
        return _child(args)
    names = [name for name in READERS if args.only in name]
    finds = 0
    for name in names:
        result = watch(name, args)
        finds += len(result["finds"])
        print(json.dumps({name: result}), flush=True)
    return 1 if finds else 0


def fuzz(
    reader: Reader, folder: Path, seconds: float, seed: int, most: int | None = None
) -> dict[str, Any]:
    """Damages and reads for a while, in this process."""
    rng = random.Random(seed)
    seeds, finds, well, count = reader.seeds(folder), [], 0, 0
    path, end = folder / f"input{reader.suffix}", time.monotonic() + seconds
    for data in seeds:
        path.write_bytes(data)
        reader.read(path)
    while time.monotonic() < end and count != most:
        count += 1
        data = reader.damage(rng, seeds)
        path.write_bytes(data)
        start = time.monotonic()
        try:
            reader.read(path)
            well += 1
        except InteropError as error:
            said = f"{error} {error.__cause__!r}"
            # HDF5 asks for as much as a file says, and fills none of it.
            harmless = "far more memory" in said or "on disk image buffer" in said
            if "memory" in said.lower() and not harmless:
                finds.append(_keep(folder, reader, data, len(finds), said))
        except Exception as error:
            finds.append(_keep(folder, reader, data, len(finds), repr(error)))
        if time.monotonic() - start > PATIENCE:
            finds.append(_keep(folder, reader, data, len(finds), "too slow"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"inputs": count, "read": well, "finds": finds, "peak_bytes": peak}


def watch(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Fuzzes one reader in a process of its own; a crash or a hang is a find."""
    folder = args.keep / name.replace(" ", "-").strip(".")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.fuzz_readers", "--child", name]
    command += ["--seconds", str(args.seconds), "--seed", str(args.seed)]
    path = folder / f"input{READERS[name].suffix}"
    with subprocess.Popen(
        [*command, "--keep", str(folder)], stdout=subprocess.PIPE, text=True
    ) as child:
        changed = time.time() + 60
        while child.poll() is None:
            time.sleep(0.5)
            changed = max(changed, path.stat().st_mtime if path.exists() else 0)
            if time.time() - changed > PATIENCE:
                child.kill()
                return {"finds": [f"hangs: {path}"]}
        said = child.stdout.read() if child.stdout else ""
    if child.returncode:
        return {"finds": [f"ends with {child.returncode}: {path}"]}
    return json.loads(said.splitlines()[-1])


def _child(args):
    reader = READERS[args.child]
    reader.seeds(args.keep)  # imports what it needs before memory is limited
    used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = fuzz(reader, args.keep, args.seconds, args.seed)
    result["peak_bytes"] -= before
    print(json.dumps(result))
    return 0


def _keep(folder, reader, data, number, said):
    path = folder / f"find-{number}{reader.suffix}"
    path.write_bytes(data)
    return f"{path}: {said[:300]}"


# Damage

INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62, 2**63]


def damage_bytes(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A few changes anywhere, a shorter file, or two joined."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                data = data[:at]
            case 1:
                other = rng.choice(seeds)
                data = data[:at] + other[rng.randrange(len(other)) :]
            case 2:
                data[at : at + rng.choice([1, 2, 4, 64])] = b""
            case 3:
                data[at:at] = rng.randbytes(rng.choice([1, 4, 64]))
            case 4:
                width = rng.choice([1, 2, 4, 8])
                value = rng.choice(INTERESTING) % 256**width
                data[at : at + width] = value.to_bytes(width, "little")
            case 5 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case _:
                piece = data[at : at + rng.choice([8, 64, 512])]
                data[at:at] = piece * rng.choice([1, 2, 50])
    return bytes(data)


def damage_text(rng, data: bytes) -> bytes:
    """Numbers and words of a header changed, so that it stays what it is."""
    words = [b"0", b"-1", b"1e9", b"null", b"[]", b"{}", b'"F32"', b'"w_x"', b"1" * 25]
    pieces = bytearray(data)
    for _ in range(rng.choice([1, 2, 4])):
        places = [n for n, c in enumerate(pieces) if chr(c).isdigit()] or [0]
        at = rng.choice(places)
        if rng.random() < 0.5:
            pieces[at : at + 1] = str(rng.choice(INTERESTING)).encode()
        else:
            pieces[at : at + rng.randrange(1, 9)] = rng.choice(words)
    return bytes(pieces)


def damage_safetensors(rng, seeds):
    """Half of the time the header is changed, and its length put right."""
    if rng.random() < 0.5:
        return damage_bytes(rng, seeds)
    data = rng.choice(seeds)
    size = int.from_bytes(data[:8], "little")
    header = damage_text(rng, data[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def damage_zip(rng, seeds):
    """Half of the time what is inside is changed, and packed again without a fault."""
    if rng.random() < 0.5:
        return damage_bytes(rng, seeds)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(rng.choice(seeds))) as archive:
        members = [(m.filename, archive.read(m)) for m in archive.infolist()]
    programs = [n for n, (name, _) in enumerate(members) if name.endswith(".pkl")]
    at = rng.choice(
        programs if programs and rng.random() < 0.7 else range(len(members))
    )
    name, data = members[at]
    change = damage_text if rng.random() < 0.4 else lambda r, d: damage_bytes(r, [d])
    members[at] = name, change(rng, data)
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


# Readers


def tensors(H=3, D=2):
    rng = np.random.default_rng(0)
    shapes = dict(weight_ih_l0=(4 * H, D), weight_hh_l0=(4 * H, H))
    shapes |= dict(bias_ih_l0=(4 * H,), bias_hh_l0=(4 * H,))
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def written(suffix):
    def seeds(folder):
        found = []
        for n, size in enumerate([1, 3]):
            path = folder / f"seed-{n}{suffix}"
            path.unlink(missing_ok=True)
            write_tensors(path, tensors(size))
            found.append(path.read_bytes())
        return found + extra(suffix)

    return seeds


def extra(suffix):
    """Files as other programs write them: compressed, nested, shared."""
    data = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(data, **tensors())
    elif suffix == ".pt":
        import torch

        weights = {k: torch.tensor(v) for k, v in tensors().items()}
        shared = {f"lstm.{k}": v for k, v in weights.items()}
        torch.save({"state_dict": weights, "more": {"epoch": 1, **shared}}, data)
    else:
        return []
    return [data.getvalue()]


def read_file(path):
    """What ``lstm-jax import`` does, without a prefix, or else with one."""
    WeightFile(path).lines()
    try:
        return from_torch(read_tensors(path))
    except InteropError:
        return from_torch(read_tensors(path, "state_dict."))


def keras_seeds(ending):
    """A model of Keras, and the weights of another, with optimizers."""

    def seeds(folder):
        import h5py

        data, config = io.BytesIO(), {"class_name": "Sequential", "config": {}}
        facts = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        layer = {"class_name": "LSTM", "config": {"name": "a"} | facts}
        config["config"] = {"name": "model", "layers": [layer]}
        with h5py.File(data, "w") as file:
            for n, (name, array) in enumerate(keras_arrays().items()):
                file[f"layers/lstm/cell/vars/{n}"] = array
                file[f"optimizer/vars/{n}"] = array
                file[f"model_weights/a/a/lstm_cell/{name}:0"] = array
            file.create_group("layers/lstm/vars").attrs["name"] = "a"
            file.attrs["model_config"] = json.dumps(config)
        if ending == ".h5":
            return [data.getvalue()]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", data.getvalue())
        return [packed.getvalue()]

    return seeds


def keras_arrays(H=3, D=2):
    shapes = {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def read_keras(path):
    file = WeightFile(path)
    file.lines()
    return [file.read([found.prefix]) for found in file.found]


def stored_seeds(folder):
    """The JSON of a stored stack; its weights stay as they are."""
    target = folder / "stack"
    if not target.exists():
        save_stack(target, from_torch(tensors()))
    return [(target / "stack.json").read_bytes()]


def read_json(path):
    target = path.parent / "stack"
    (target / "stack.json").write_bytes(path.read_bytes())
    return read_stored(target)


def damage_json(rng, seeds):
    return (
        damage_bytes(rng, seeds) if rng.random() < 0.3 else damage_text(rng, seeds[0])
    )


def state_seeds(folder):
    """A number, from which a state dict is drawn."""
    return [b"0"]


def read_state(path):
    """A state dict, good but for a few changes, in one layout or another."""
    rng = random.Random(path.read_bytes())
    layout = LAYOUTS[rng.choice([*LAYOUTS])]
    state: dict[Any, Any] = dict(tensors(rng.choice([1, 3])))
    if path.read_bytes() == b"0":
        return read_stack(LAYOUTS["torch"], state)
    odd = [
        "weight_ih_l99999999",
        "weight_hh_l0_reverse",
        "0.kernel",
        "",
        "a/b",
        "l" * 99,
    ]
    for _ in range(rng.randrange(4)):
        name = rng.choice([*state, *odd, 3, None, "weight_ih", *layout_names(layout)])
        shape = [rng.choice([0, 1, 4, 12]) for _ in range(rng.randrange(4))]
        nothing: dict[str, Any] = {}
        nothing["deeper"] = nothing
        state[name] = rng.choice(
            [
                np.zeros(shape, rng.choice(["f4", "f8", "i4", "c8", "O", "S3", "?"])),
                *(None, "text", 3, [1.0, [2.0]], nothing, {"bias": np.ones(4)}, b"\0"),
            ]
        )
    return from_torch(state, prefix=rng.choice(["", "", "l", "weight_"]))


def layout_names(layout):
    return [name for tensor in layout.tensors for name in tensor.names()]


READERS = {
    ".safetensors": Reader(
        written(".safetensors"), read_file, damage_safetensors, ".safetensors"
    ),
    ".npz": Reader(written(".npz"), read_file, damage_zip, ".npz"),
    ".pt": Reader(written(".pt"), read_file, damage_zip, ".pt"),
    ".keras": Reader(keras_seeds(".keras"), read_keras, damage_zip, ".keras"),
    ".h5": Reader(keras_seeds(".h5"), read_keras, damage_bytes, ".h5"),
    ".onnx": Reader(
        fuzz_onnx.seeds,
        fuzz_onnx.read,
        lambda rng, seeds: fuzz_onnx.damage(rng, seeds, damage_bytes),
        ".onnx",
    ),
    "stored stack": Reader(stored_seeds, read_json, damage_json, ".json"),
    "state dict": Reader(
        state_seeds, read_state, lambda rng, _: rng.randbytes(8), ".seed"
    ),
}
"""Every reader of something that others may have made."""


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_readers")
    add = parser.add_argument
    add("--only", default="", help="readers with this in their names")
    add("--seconds", type=float, default=600.0, help="for each reader (600)")
    add("--seed", type=int, default=0)
    add("--keep", type=Path, help="folder of the inputs that were found")
    add("--child", choices=READERS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.keep = args.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    return args


if __name__ == "__main__":
    sys.exit(main())
