"""``lstm-jax report``: a page for a run of every task, and for several runs."""

import json
import re
import shutil
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax import cli
from lstm_jax.report.charts import Scale, drawing, label
from lstm_jax.report.elements import Chart, Colored, Line, Quote, Section
from lstm_jax.report.page import render
from lstm_jax.runs.examined import examine
from tests import every_task, tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")
VOID = {"meta", "link", "br", "hr", "img", "input", "line", "path", "circle"}


class Reader(HTMLParser):
    """Checks that tags close, and collects texts, ids and addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.ids, self.addresses = [], [], [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[k] for k in ("href", "src") if k in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


def read(path):
    html = path.read_text(encoding="utf-8")
    page = Reader(html)
    assert len(page.ids) == len({*page.ids})
    assert len(html) < 5 * 2**20
    inside = {f"#{name}" for name in page.ids}
    assert {*page.addresses} <= inside | {"data:,"}
    assert not re.search(r"https?://|@import|url\(", html)
    return "".join(page.texts), html


SHOWN = {
    "language_model": ["Sampled text at temperature 0.5", "Units on text"],
    "memory": ["Loss", "Gradient through time of layers.0"],
    "classification": ["Confusion matrix, test split", "Accuracy"],
    "tagging": ["Metrics of each class", "encoder.layers.0.backward"],
    "forecasting": ["Forecast of load", "80% interval"],
    "translation": ["Attention: ", "Translations of the valid split"],
    "transcription": ["Transcripts of the test split", "Posteriors of"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("every"), {}

    def of(task):
        if task not in made:
            with jax.numpy_dtype_promotion("standard"):
                made[task] = every_task.train(task, folder / task)
        return made[task]

    return of


@pytest.mark.parametrize("task", SHOWN)
def test_every_task_has_a_report(task, runs, capsys):
    run = runs(task)
    assert cli.main(["report", str(run)]) == 0
    text, _ = read(run / "report.html")
    for said in (*SHOWN[task], "Gates and states", "Config", "jaxlib"):
        assert said in text, said
    assert "This section is missing" not in text
    result = next(run.glob("result-*.json"))
    loss = json.loads(result.read_text())["loss"]
    assert f"{loss:.5g}" in text


WITHOUT_DATA = {
    "classification": "series.csv",
    "language_model": "text.txt",
    "forecasting": "load.csv",
    "translation": "valid.de",
    "transcription": "valid.jsonl",
}


@pytest.mark.parametrize("task", WITHOUT_DATA)
def test_without_data_the_rest_is_there(task, runs, tmp_path, capsys):
    copy, data = tmp_path / "copy", WITHOUT_DATA[task]
    shutil.copytree(runs(task), copy)
    config = copy / "config.toml"
    changed = config.read_text().replace(data, "gone.csv")
    assert changed != config.read_text()
    config.write_text(changed)
    capsys.readouterr()
    assert cli.main(["report", str(copy), "--out", str(tmp_path / "r.html")]) == 0
    assert "missing in the report: Gates and states: " in capsys.readouterr().err
    text, _ = read(tmp_path / "r.html")
    assert re.search(r"This section is missing: .*gone.csv", text)
    assert "Curves" in text


def test_several_runs(runs, tmp_path, capsys):
    one, other, out = runs("classification"), runs("memory"), tmp_path / "both.html"
    assert cli.main(["report", str(one), str(other), "--out", str(out)]) == 0
    text, _ = read(out)
    assert "measure different things" in text
    copy = tmp_path / "copy"
    shutil.copytree(runs("language_model"), copy)
    two = [str(runs("language_model")), str(copy), "--out", str(tmp_path / "two.html")]
    assert cli.main(["report", *two]) == 0
    assert "Bits per character" in read(tmp_path / "two.html")[0]
    text, _ = read(out)
    assert "model.hidden_size" in text
    assert f"{one}, training" in text
    assert cli.main(["report", str(one), str(other)]) == 2
    assert "several runs need --out" in capsys.readouterr().err
    assert cli.main(["report", str(one), str(one), "--out", str(tmp_path / "x")]) == 2
    assert "named twice" in capsys.readouterr().err
    assert cli.main(["report", str(one), "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_gates_that_were_logged(tmp_path, capsys):
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]
    assert cli.main(["train", *args, "train.log_gates=true"]) == 0
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    logged = {m["step"]: m for m in lines if "gate lstm.0 f mean" in m}
    assert [*logged] == [6, 12]
    loaded = lstm_jax.load_run(tmp_path / "run")
    (layer,) = examine(loaded.task, loaded.params).layers
    f = np.asarray(layer.trace.gates["f"])  # of the best checkpoint, the last
    found = logged[12]
    assert found["gate lstm.0 f mean"] == pytest.approx(f.mean(), abs=1e-5)
    assert found["gate lstm.0 f open"] == pytest.approx((f > 0.9).mean(), abs=1e-6)
    g = np.asarray(layer.trace.gates["g"])
    assert found["gate lstm.0 g closed"] == pytest.approx((g < -0.9).mean(), abs=1e-6)
    remembered = np.median(-1 / np.log(f.astype(float)).mean(0))
    assert found["gate lstm.0 remembers"] == pytest.approx(remembered, rel=1e-3)
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    text, _ = read(tmp_path / "run" / "report.html")
    assert "Gates of lstm.0, open" in text


def test_text_of_data_is_text():
    """Whatever a model or the data say is shown and never run."""
    bad = "</pre><script>alert(1)</script>&amp;"
    chart = Chart(bad, bad, bad, [Line(bad, [0, 1], [1.0, 2.0])])
    items = [Quote(bad, bad), Colored(bad, [bad], [(bad, np.zeros(1))]), chart]
    html = render(bad, bad, [Section("Of data", items)])
    Reader(html)
    assert "<script>alert" not in html
    assert html.count("alert(1)") >= 10


def test_a_chart_is_where_its_numbers_are():
    chart = Chart("t", "x", "y", [Line("a", [0, 1, 2], [1.0, np.nan, 3.0], True)])
    found = drawing(chart)
    assert found.paths[0].count("M") == 2  # a gap
    (x0, y0), (x2, y2) = found.points[0]
    assert x0 == found.x.start
    assert x2 == found.x.end
    assert y2 < y0  # larger is higher
    assert found.data["lines"][0]["y"] == ["1", "nan", "3"]
    assert drawing(Chart("t", "x", "y", [Line("a", [], [])])) is None


def test_scales():
    linear = Scale(0.0, 10.0, 0.0, 100.0)
    assert linear.ticks == [
        (0, "0"),
        (20, "2"),
        (40, "4"),
        (60, "6"),
        (80, "8"),
        (100, "10"),
    ]
    log = Scale(-3.0, 1.0, 100.0, 0.0, log=True)
    np.testing.assert_allclose(log([1e-3, 1.0, 10.0]), [100.0, 25.0, 0.0])
    assert np.isnan(log([0.0, -1.0])).all()
    assert [text for _, text in log.ticks] == ["0.001", "0.01", "0.1", "1", "10"]
    assert label(-2e-9) == "-2e-09"
    close = Scale(1000.2, 1002.3, 0.0, 1.0)
    assert [text for _, text in close.ticks] == ["1,000.5", "1,001", "1,001.5", "1,002"]
    steps = Scale(0.0, 2e6, 0.0, 1.0)
    assert steps.ticks[-1][1] == "2,000,000"


def test_long_lines_keep_their_mean():
    ys = np.random.default_rng(0).normal(size=10_000)
    line = drawing(
        Chart("t", "x", "y", [Line("a", np.arange(10_000), ys)])
    ).chart.lines[0]
    assert len(line.xs) <= 300
    sizes = np.diff([*range(0, 10_000, 34), 10_000])
    np.testing.assert_allclose((line.ys * sizes).sum(), ys.sum())
    assert "means of 34" in line.name


def test_colors_of_a_unit():
    colored = Colored("c", "ab", [("u", np.array([-1.0, 0.0, 0.5, 1.0, 7.0]))])
    assert colored.levels == ["aegii"]
