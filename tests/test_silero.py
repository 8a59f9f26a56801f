"""The example of Silero VAD, with random weights in its shapes."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

PATH = Path(__file__).parents[1] / "examples" / "silero_vad.py"
EXACT = 2e-6
UNITS = 128
LAYERS = ((129, 128), (128, 64), (64, 64), (64, UNITS))


@pytest.fixture(autouse=True, scope="module")
def as_users_run_it():
    """The example relies on JAX's own promotion of dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def vad():
    spec = importlib.util.spec_from_file_location("examples_silero_vad", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensors(window=256):
    """Tensors with the names and shapes of the package's safetensors file."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    found = {"stft_conv.weight": draw(window + 2, 1, window)}
    for i, (size, out) in enumerate(LAYERS, start=1):
        size = window // 2 + 1 if i == 1 else size
        found[f"conv{i}.weight"] = draw(out, size, 3)
        found[f"conv{i}.bias"] = 0.1 * draw(out)
    for kind in ("ih", "hh"):
        found[f"lstm_cell.weight_{kind}"] = 2 * draw(4 * UNITS, UNITS)
        found[f"lstm_cell.bias_{kind}"] = 0.1 * draw(4 * UNITS)
    found["final_conv.weight"] = 6 * draw(1, UNITS, 1)
    found["final_conv.bias"] = 0.1 * draw(1)
    return {name: a.astype(np.float32) for name, a in found.items()}


@pytest.fixture(scope="module")
def params(vad, tmp_path_factory):
    path = tmp_path_factory.mktemp("silero") / "weights.safetensors"
    save_file(tensors(), path)
    return vad.load(path)


def sounds(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def written_out(found, sound):
    """The equations in float64, one chunk after the other."""
    found = {name: a.astype(np.float64) for name, a in found.items()}
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    basis = found["stft_conv.weight"][:, 0]
    window = basis.shape[1]
    chunk, context, pad = 2 * window, window // 4, window // 4
    sound = np.pad(sound.astype(np.float64), (context, -len(sound) % chunk))
    h = c = np.zeros(UNITS)
    p = []
    for at in range(context, len(sound), chunk):
        x = np.pad(sound[at - context : at + chunk], (0, pad), mode="reflect")
        frames = [basis @ x[i : i + window] for i in range(0, 2 * window, window // 2)]
        half = window // 2 + 1
        x = np.stack([np.hypot(f[:half], f[half:]) for f in frames], axis=1)  # [C, S]
        for i, stride in enumerate((1, 2, 2, 1), start=1):
            w, b = found[f"conv{i}.weight"], found[f"conv{i}.bias"]
            x = np.pad(x, ((0, 0), (1, 1)))
            steps = range(0, x.shape[1] - 2, stride)
            y = [np.einsum("oik,ik->o", w, x[:, t : t + 3]) + b for t in steps]
            x = np.maximum(np.stack(y, axis=1), 0)
        ih, hh = (found[f"lstm_cell.weight_{kind}"] for kind in ("ih", "hh"))
        z = ih @ x[:, 0] + found["lstm_cell.bias_ih"] + hh @ h
        i, f, g, o = np.split(z + found["lstm_cell.bias_hh"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        w, b = found["final_conv.weight"][0, :, 0], found["final_conv.bias"][0]
        p.append(sigmoid(w @ np.maximum(h, 0) + b))
    return np.array(p)


def test_the_numbers_are_those_of_the_equations(vad, params):
    sound = sounds(9 * 512 - 77)
    expected = written_out(tensors(), sound)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(vad.probabilities(params, sound), expected, atol=1e-5)


def test_the_network_of_8_khz_has_half_the_sizes(vad, tmp_path):
    save_file(tensors(128), tmp_path / "weights.safetensors")
    params = vad.load(tmp_path / "weights.safetensors", rate=8000)
    assert (params.chunk, params.context) == (256, 32)
    sound = sounds(5 * 256)
    found = vad.probabilities(params, sound)
    np.testing.assert_allclose(found, written_out(tensors(128), sound), atol=1e-5)


def test_weights_of_another_rate_are_refused(vad, tmp_path):
    save_file(tensors(128), tmp_path / "weights.safetensors")
    with pytest.raises(SystemExit, match="no weights of Silero VAD for 16000 Hz"):
        vad.load(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_stream_has_the_numbers_of_the_whole(vad, params, batch):
    x = sounds(6 * 512, *batch)
    state, call = vad.stream(params, batch)
    found = []
    for chunk in x.reshape(6, 512, *batch):
        state, p = call(state, chunk)
        assert p.shape == batch
        found.append(p)
    np.testing.assert_allclose(found, vad.probabilities(params, x), atol=EXACT)


def test_a_batch_has_the_numbers_of_its_sounds_alone(vad, params):
    x, lengths = sounds(6 * 512, 3), np.array([6 * 512, 1000, 0])
    x[1000:, 1:] = np.nan
    found = np.asarray(vad.probabilities(params, x, lengths))
    for row, length in enumerate(lengths):
        count = -(-length // 512)
        assert (found[count:, row] == 0).all()
        if count:
            alone = vad.probabilities(params, x[:length, row])
            np.testing.assert_allclose(found[:count, row], alone, atol=EXACT)


def test_blocks_of_the_front_end_change_nothing(vad, params, monkeypatch):
    x = sounds(5 * 512)
    whole, _ = vad.features(params, x)
    monkeypatch.setattr(vad, "BLOCK", 2)
    in_blocks, _ = jax.jit(vad.features.__wrapped__)(params, x)
    np.testing.assert_allclose(in_blocks, whole, atol=EXACT, rtol=1e-5)


def test_fine_tuning_learns_and_keeps_the_front_end(vad, params):
    x, labels = vad.tones(chunks=16, rows=3, size=params.chunk)
    lengths = np.array([16 * 512, 12 * 512, 9 * 512 + 1])
    x[9 * 512 + 1 :, 2] = np.nan
    tuned, losses = vad.fine_tune(params, x, labels, lengths, steps=40)
    p = np.asarray(vad.probabilities(params, x, lengths))
    real = np.arange(16)[:, None] < [16, 12, 10]
    nats = -np.log(np.where(labels, p, 1 - p)[real]).mean()
    np.testing.assert_allclose(losses[0], nats, rtol=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    assert tuned.basis is params.basis
    assert tuned.convs is params.convs
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), tuned.head, params.head)
    assert all(m > 0 for m in jax.tree.leaves(moved))


def test_segments_are_runs_of_chunks(vad):
    found = vad.segments([0.9, 0.5, 0.1, 0.2, 0.8], 0.5)
    assert found.tolist() == [[0, 1], [2, 2.5]]
    assert vad.segments([0.1, 0.2], 0.5).shape == (0, 2)
    assert vad.segments([0.1, 0.3], 1.0, threshold=0.3).tolist() == [[1, 2]]


def test_the_command_prints_the_same_for_files_and_streams(
    vad, tmp_path, capsys, monkeypatch
):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    monkeypatch.setattr(jax.config, "update", lambda *_: None)  # of the whole process
    save_file(tensors(), tmp_path / "weights.safetensors")
    loud = sounds(7 * 512) * np.repeat(np.arange(7) % 4 < 2, 512)
    soundfile.write(tmp_path / "talk.wav", 0.2 * loud, 16_000)
    args = [f"{tmp_path}/talk.wav", "--weights", f"{tmp_path}/weights.safetensors"]
    printed = []
    for more in ([], ["--stream"]):
        vad.main([*args, *more])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("\n") >= 1
