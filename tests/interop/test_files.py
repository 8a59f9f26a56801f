"""Files and folders: read as they were written; hostile ones end in a sentence."""

import io
import json
import math
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import torch

from benchmarks import fuzz_readers
from lstm_jax import LSTMPParams, Stack, init_lstm_stack
from lstm_jax.interop import (
    InteropError,
    from_torch,
    load_stack,
    read_tensors,
    save_stack,
    stack_of,
    write_tensors,
)

ENDINGS = (".safetensors", ".npz", ".pt", ".pth")
TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.ones((), np.float64),
    "b": np.zeros((0, 2), np.float16),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    write_tensors(path, TENSORS)
    check_equal(read_tensors(path), TENSORS)
    under = {name[2:]: a for name, a in TENSORS.items() if name.startswith("a.")}
    check_equal(read_tensors(path, "a."), under)
    before = path.read_bytes()
    with pytest.raises(InteropError, match="already exists"):
        write_tensors(path, {})
    assert path.read_bytes() == before


def check_equal(got, wanted):
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert np.array_equal(got[name], array)


def test_bfloat16(tmp_path):
    tensors = {"w": np.arange(4).astype(ml_dtypes.bfloat16)}
    for ending in (".safetensors", ".pt"):
        write_tensors(tmp_path / f"w{ending}", tensors)
        check_equal(read_tensors(tmp_path / f"w{ending}"), tensors)
    with pytest.raises(InteropError, match=r"w is bfloat16.*write \.safetensors"):
        write_tensors(tmp_path / "w.npz", tensors)
    assert not (tmp_path / "w.npz").exists()


def test_views_are_written_as_they_look(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    for ending in ENDINGS:
        path = tmp_path / f"view{ending}"
        write_tensors(path, {"t": array.T, "f": np.asfortranarray(array)})
        check_equal(read_tensors(path), {"t": array.T, "f": array})


def zip_of(members, kind=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def npy(shape="(2,)", dtype="<f4", numbers=bytes(8)):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + numbers


def pickled(value):
    data = io.BytesIO()
    np.save(data, np.array([value], dtype=object))
    return data.getvalue()


def torch_file(program):
    return zip_of({"a/data.pkl": program, "a/version": "3\n", "a/byteorder": "little"})


def liar(name, content, said):
    """A member that unpacks to 256 MiB and says that it has ``said`` bytes."""
    data = zip_of({name: content + bytes(2**28 - len(content))}, zipfile.ZIP_DEFLATED)
    return data.replace(struct.pack("<I", 2**28), struct.pack("<I", said))


def storage():
    """A call of a storage with a size."""
    return torch_file(b"\x80\x02ctorch\nFloatStorage\nq\x00J\0\0\0\x7f\x85R.")


def nested_tuples():
    """Tuples of themselves, 60 deep, as a key: 2**60 steps to hash."""
    program = b"\x80\x02}q\x00)q\x01"
    for n in range(2, 62):
        program += b"h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"\x86q" + bytes([n])
    return torch_file(program + b"K\x01s.")


class Calls:
    def __reduce__(self):
        return bytearray, (10**10,)


LARGER = npy("(4096,)", numbers=bytes(4 * 4096))  # than what the header is read with
BOMB = zip_of(
    {"w.npy": npy("(1000000000,)", "<f4", bytes(2**29))}, zipfile.ZIP_DEFLATED
)
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}})

HOSTILE = {
    "pickle.npz": (zip_of({"w.npy": pickled({"a": 1})}), "pickled Python objects"),
    "bomb.npz": (BOMB, "far more memory"),
    "huge.npz": (
        zip_of({"w.npy": npy("(10000000000000,)")}),
        "expected 40000000000000",
    ),
    "liar.npz": (liar("w.npy", LARGER, len(LARGER)), "corrupt: Bad CRC"),
    "negative.npz": (zip_of({"w.npy": npy("(-1,)")}), "expected"),
    "text.npz": (zip_of({"w.npy": b"no array"}), "corrupt"),
    "twice.npz": (zip_of({"w.npy": npy(), "w": npy()}), "w appears twice"),
    "none.npz": (b"", "corrupt"),
    "header.safetensors": (struct.pack("<Q", 2**62) + b"{}", "the header has"),
    "huge.safetensors": (
        struct.pack("<Q", len(HEADER)) + HEADER.encode() + bytes(4),
        "corrupt",
    ),
    "short.safetensors": (b"\1\2", "corrupt"),
    "old.pt": (pickle.dumps({"w": 1}), "not of torch.save"),
    "calls.pt": (torch_file(pickle.dumps(Calls(), 2)), r"calls __builtin__\.bytearray"),
    "storage.pt": (storage(), "makes a storage"),
    "protocol.pt": (torch_file(b"\x80\x03}."), "the opcode PROTO"),
    "hash.pt": (nested_tuples(), "shares dicts or tuples"),
    "new.pt": (torch_file(pickle.dumps(Calls(), 4)), "the opcode PROTO"),
    "packed.pt": (
        zip_of({"a/data.pkl": bytes(2**20)}, zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "list.pt": (torch_file(b"\x80\x02]q\x00."), "holds a list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    content, said = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InteropError, match=said) as raised:
            read_tensors(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert name in str(raised.value)
    assert peak < 2**26


def test_tensors_that_share_memory_are_bounded(tmp_path):
    """A view of one number that says it has 10**10."""
    path = tmp_path / "views.pt"
    torch.save({"w": torch.ones(1).expand(10**10)}, path)
    with pytest.raises(InteropError, match="far more memory"):
        read_tensors(path)


def test_a_module_is_no_file_of_weights(tmp_path):
    torch.save(torch.nn.LSTM(3, 5), tmp_path / "module.pt")
    with pytest.raises(InteropError, match="weights do not need; save a state_dict"):
        read_tensors(tmp_path / "module.pt")


def test_a_checkpoint_by_its_prefix(tmp_path):
    model = torch.nn.LSTM(3, 5)
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    content = {"model": model.state_dict(), "optimizer": optimizer, "epoch": 3}
    torch.save(content, tmp_path / "checkpoint.pt")
    tensors = read_tensors(tmp_path / "checkpoint.pt", "model.")
    assert from_torch(tensors)[0].w_x.shape == (3, 20)
    with pytest.raises(InteropError, match="expected a tensor; give the prefix"):
        read_tensors(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["weights.bin", "gone.npz", "gone.pt"])
def test_files_that_are_not_there(tmp_path, name):
    with pytest.raises(InteropError, match=r"expected one of|No such file"):
        read_tensors(tmp_path / name)


# Stacks


def test_a_stack_comes_back(tmp_path):
    key = jax.random.key(0)
    params = init_lstm_stack(key, 3, 5, num_layers=2, bidirectional=True)
    save_stack(tmp_path / "run", params)
    stack, loaded = load_stack(tmp_path / "run")
    assert stack == stack_of(params)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, loaded))
    with pytest.raises(InteropError, match="already exists"):
        save_stack(tmp_path / "run", params)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_cells_of_every_kind_and_a_merge(tmp_path):
    from lstm_jax import GRUCell, LayerNormLSTMCell, LSTMPCell, PeepholeLSTMCell

    cells = [
        PeepholeLSTMCell(5),
        LSTMPCell(5, 2, projection_bias=True),
        GRUCell(4),
        LayerNormLSTMCell(3),
    ]
    stack = Stack(cells, bidirectional=True, merge="sum")
    params = stack.init(jax.random.key(0), 3)
    save_stack(tmp_path / "run", params, merge="sum")
    read, loaded = load_stack(tmp_path / "run")
    assert read == stack
    assert isinstance(loaded[1].forward, LSTMPParams)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, loaded))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"hidden_size": 5', '"hidden_size": 6', "layer 0 is"),
        ('"version": 2', '"version": 3', "version 3, expected 2"),
        ('"cell": "lstm"', '"cell": "lstn"', "'lstn' is not a cell"),
        ('"directions": 1', '"directions": 2', "0.forward.w_x is missing"),
        ('"merge": "concat"', '"merge": "join"', "not describe a stack"),
        ("{", "[", "missing or corrupt"),
    ],
)
def test_a_stack_that_was_changed(tmp_path, old, new, said):
    save_stack(tmp_path / "run", init_lstm_stack(jax.random.key(0), 3, 5))
    path = tmp_path / "run" / "stack.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InteropError, match=said):
        load_stack(tmp_path / "run")


# The fuzzer


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_moment_of_fuzzing(tmp_path, name):
    reader = fuzz_readers.READERS[name]
    found = fuzz_readers.fuzz(reader, tmp_path, math.inf, seed=0, most=60)
    assert not found["finds"]


def test_the_fuzzer_finds(tmp_path):
    def read(path):
        if len(path.read_bytes()) == 3:
            raise KeyError("three")

    reader = fuzz_readers.Reader(
        lambda folder: [b"four"], read, fuzz_readers.damage_bytes, ".x"
    )
    found = fuzz_readers.fuzz(reader, tmp_path, 5, 0, most=200)
    assert "KeyError" in found["finds"][0]
    assert len(Path(found["finds"][0].partition(":")[0]).read_bytes()) == 3
