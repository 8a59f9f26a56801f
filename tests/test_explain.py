"""``lstm-jax explain``: the worked example, a unit of a run, vanishing gradients."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import Activations, LSTMCell, Zoneout, cli
from lstm_jax.commands.explain import _lines_of, _print_gradients
from lstm_jax.diagnostics import Vanishing, trace, vanishing_gradients, worked_step
from lstm_jax.diagnostics.worked_step import cut_step
from lstm_jax.runs.examined import Layer
from lstm_jax.training.run_errors import RunError
from tests import every_task

KEY, XS = jax.random.key(0), jnp.ones((4, 3))
WORKED = dict(f=0.8320184, i=0.8320184, g=0.9216686, o=0.8320184)
WORKED |= dict(c=0.9332488, h=0.6091248)
pytestmark = pytest.mark.usefixtures("optax_promotion")


def explained(capsys, *words):
    assert cli.main(["explain", *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return {row["symbol"].removesuffix("_t"): row["value"] for row in rows}


def test_the_worked_example(capsys):
    found = explained(capsys)
    for name, value in WORKED.items():
        assert abs(found[name] - value) < 1e-7
    assert cli.main(["explain"]) == 0
    said = capsys.readouterr().out
    for value in WORKED.values():
        assert f"{value:.7f}"[:-1] in said
    assert "g = 0.921, c = 0.932 and h = 0.608" in " ".join(said.split())


def test_textbooks_cut_between_the_lines():
    cut = dict(f=0.832, i=0.832, g=0.921, o=0.832, c=0.932, h=0.608)
    assert cut_step(0.5, 0.1, 0.2) == cut


def test_other_numbers(capsys):
    found = explained(capsys, "x=-1", "h=2", "c=3", "w_x=0.5", "w_hf=0", "b_g=4")
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    f, i, g, o = sigmoid(0.5), sigmoid(2.5), np.tanh(5.5), sigmoid(2.5)
    c = f * 3 + i * g
    want = dict(f=f, i=i, g=g, o=o, c=c, h=o * np.tanh(c))
    assert {name: found[name] for name in want} == pytest.approx(want)


def test_a_unit_of_a_layer_in_numpy():
    keys = jax.random.split(jax.random.key(0), 4)
    params = lstm_jax.init_lstm(keys[0], 3, 5)
    h, c = jax.random.normal(keys[1], (2, 5))
    x = jax.random.normal(keys[2], (3,))
    lines = worked_step(params, lstm_jax.LSTMCarry(h, c), x, unit=3)
    value = {line.symbol: line.value for line in lines}
    z = np.asarray(x @ params.w_x + h @ params.w_h + params.b).reshape(4, 5)[:, 3]
    np.testing.assert_allclose([value[f"z_{k}"] for k in "ifgo"], z, rtol=1e-5)
    carry, _ = lstm_jax.lstm_step(params, lstm_jax.LSTMCarry(h, c), x)
    np.testing.assert_allclose(value["h_t"], carry.h[3], rtol=1e-5)
    np.testing.assert_allclose(value["c_t"], carry.c[3], rtol=1e-5)
    with pytest.raises(ValueError, match="the layer has 5 units; pass 0 to 4"):
        worked_step(params, None, x, unit=5)
    with pytest.raises(ValueError, match=r"expected \[D\]"):
        worked_step(params, None, jnp.ones((2, 3)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with jax.numpy_dtype_promotion("standard"):
        return every_task.train("language_model", tmp_path_factory.mktemp("lm") / "a")


def test_a_unit_of_a_run(run, capsys):
    capsys.readouterr()
    found = explained(capsys, str(run), "--unit", "lstm.0.3", "--step", "7")
    loaded = lstm_jax.load_run(run)
    tokens = loaded.task.tokens("valid")[:8].astype(np.int32)
    carries, _ = loaded.model.hidden(tokens[:, None], deterministic=True)
    assert found["c"] == pytest.approx(float(carries[0].c[0, 3]), abs=1e-5)
    assert found["h"] == pytest.approx(float(carries[0].h[0, 3]), abs=1e-5)


def test_a_cell_with_other_equations_is_refused():
    found = trace(Zoneout(LSTMCell(2)), params := LSTMCell(2).init(KEY, 3), None, XS)
    for cell in (Zoneout(LSTMCell(2)), LSTMCell(2, Activations(gate="hard_sigmoid"))):
        with pytest.raises(RunError, match="only the equations of a plain LSTMCell"):
            _lines_of(Layer("a.0", cell, params, found), 0, 0)
    assert len(_lines_of(Layer("a.0", LSTMCell(2), params, found), 0, 0)) == 10


def test_numbers_without_a_name_for_them(tmp_path, monkeypatch, capsys):
    """A folder with = in its name is a folder; JSON stays JSON; underflow is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert cli.main(["explain", "lr=0.1"]) == 2
    assert "is not a run" in capsys.readouterr().err
    words = ["explain", "--gradients", "--steps", "20", "--json", "--out", "g.png"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["RNN"]["kept_h"] > 0
    tiny = [
        Vanishing(name, {"h": np.array([0.0, 1.0]), "c": np.array([0.0, 1.0])})
        for name in ("RNN", "LSTM, forget bias 1")
    ]
    _print_gradients(tiny, 2)
    assert "too small for float64" in capsys.readouterr().out


def test_gradients_vanish_in_an_rnn_and_less_in_an_lstm(tmp_path, capsys):
    out = tmp_path / "gradients.png"
    words = ["explain", "--gradients", "--steps", "40", "--out", str(out)]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "LSTM, forget bias 1" in said
    assert out.read_bytes().startswith(b"\x89PNG")
    kept = {one.name: one for one in vanishing_gradients(40, hidden_size=16)}
    # The forget gate multiplies the path through c: about sigmoid(b) at every step.
    rnn, *biases, chrono = (
        kept["RNN"].kept("h"),
        *(kept[f"LSTM, forget bias {b}"].kept("c") for b in (0, 1, 3)),
        kept["LSTM, chrono"].kept("c"),
    )
    assert rnn < 1e-4
    assert biases == sorted(biases)
    assert biases[0] < biases[1] / 100 < biases[2] / 1000
    assert chrono > 0.01


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["y=1"], "unknown key y; valid: x, h, c"),
        (["x=a"], "x is 'a', expected a finite number"),
        (["x=inf"], "expected a finite number"),
        (["--unit", "0.1"], "--unit needs RUN"),
        (["--gradients", "x=1"], "do not go together"),
        (["--gradients", "--steps", "1"], "expected 2 to 10,000"),
        (["a", "b"], "a and b are two runs"),
        (["nowhere"], "nowhere is not a run"),
    ],
)
def test_what_is_refused(words, said, capsys):
    assert cli.main(["explain", *words]) == 2
    assert said in capsys.readouterr().err


def test_units_and_steps_that_are_not_there(run, capsys):
    assert cli.main(["explain", str(run), "--unit", "0.99"]) == 2
    assert "its units are lstm.0.0 to lstm.0.7" in capsys.readouterr().err
    assert cli.main(["explain", str(run), "--step", "457"]) == 2
    assert "--step is 457, expected 0 to 456" in capsys.readouterr().err
