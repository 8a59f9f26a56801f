"""Series from files of the user's own: what is read, and what is said of errors."""

import gzip

import numpy as np
import pytest

from lstm_jax.data.labelled import Columns, read_series
from lstm_jax.data.text import DataError

TABLE = """id,time,height,label,weight
b,2,0.5,up,20
a,1,1.5,down,10
b,1,0.25,up,30
a,3,-1e3,down,11
b,3,0.75,up,40
"""
WANT = [[[0.5, 20], [0.25, 30], [0.75, 40]], [[1.5, 10], [-1e3, 11]]]
BY_TIME = [[[0.25, 30], [0.5, 20], [0.75, 40]], [[1.5, 10], [-1e3, 11]]]
FEATURES = ("height", "weight")
DEFAULT = Columns()


def values(examples):
    return [x.tolist() for x in examples.sequences]


def table(tmp_path, text=TABLE, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path, columns=DEFAULT):
    with pytest.raises(DataError) as caught:
        read_series(path, columns)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert str(path) in said
    return said.replace(str(path), "FILE")


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.rstrip().encode(),
        TABLE.replace("\n", "\n\n").encode(),
        gzip.compress(TABLE.encode()),
    ],
    ids=["plain", "crlf", "bom", "no last line end", "blank lines", "gzip"],
)
def test_a_table(tmp_path, data):
    path = table(tmp_path, data)
    examples = read_series(path, Columns(features=FEATURES))
    assert values(examples) == WANT
    assert examples.labels == ("up", "down")
    assert examples.features == FEATURES
    assert all(x.dtype == np.float64 for x in examples.sequences)
    by_time = read_series(path, Columns(time="time"))
    assert values(by_time) == BY_TIME
    assert by_time.features == FEATURES
    line = 3 if b"\n\n" in data else 2
    assert by_time.sources[0] == f"{path}, line {line}, sequence 'b'"


def test_names_and_order_of_columns(tmp_path):
    path = table(tmp_path, "y;x2;x1;who\nA;2;1;0\nA;4;3;0\nB;6;5;1\n")
    columns = Columns(sequence="who", label="y", features=("x1", "x2"), delimiter=";")
    examples = read_series(path, columns)
    assert values(examples) == [[[1, 2], [3, 4]], [[5, 6]]]
    assert examples.labels == ("A", "B")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_table_with_another_delimiter(tmp_path, delimiter):
    """Also one that the run was not trained with."""
    examples = read_series(table(tmp_path, TABLE.replace(",", delimiter)))
    assert examples.features == ("time", *FEATURES)
    assert [x[:, 1:].tolist() for x in examples.sequences] == WANT
    assert examples.ids == ("b", "a")


def test_columns_of_a_trained_run(tmp_path):
    columns = Columns(label=None, features=("x", "y"), trained=True)
    said = refusal(table(tmp_path, "id,x\na,1\n"), columns)
    assert said == (
        "FILE has no column 'y'; its columns are id, x; the run was trained with this "
        "column; add it, or rename one."
    )


def test_without_labels(tmp_path):
    path = table(tmp_path, "id,x\na,1\nb,2\n")
    examples = read_series(path, Columns(label=None))
    assert examples.labels is None
    assert values(examples) == [[[1]], [[2]]]


def test_parquet_is_the_same_table(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(csv.read_csv(arrow.BufferReader(TABLE.encode())), path)
    examples = read_series(path, Columns(time="time"))
    assert values(examples) == BY_TIME
    assert examples.labels == ("up", "down")
    holes = arrow.table({"id": ["a", "b"], "x": [1.0, None], "label": ["u", "v"]})
    parquet.write_table(holes, path)
    said = (
        "FILE, row 2: column 'x' is empty, expected a finite number; fill it in, or "
        "remove the row."
    )
    assert refusal(path) == said
    path.write_bytes(b"PAR1")
    assert "cannot be read as Parquet" in refusal(path)


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    said = "FILE needs the package pyarrow: pip install 'lstm-jax[data]'."
    assert refusal(tmp_path / "a.parquet") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            TABLE.replace("0.25", "tall"),
            "line 4: column 'height' is 'tall', expected a",
        ),
        (TABLE.replace("0.25", ""), "FILE, line 4: column 'height' is empty, expected"),
        (
            TABLE.replace("0.25", "nan"),
            "line 4: column 'height' is 'nan', expected a f",
        ),
        (TABLE.replace("-1e3", "-inf"), "line 5: column 'height' is '-inf', expected"),
        (TABLE.replace("1e3", "1e999"), "line 5: column 'height' is '-1e999', expect"),
        (TABLE.replace(",30", ""), "FILE, line 4: found 4 cells, expected 5, one for"),
        (
            TABLE.replace(",30", ",30,1"),
            "FILE, line 4: found 6 cells, expected 5, one for",
        ),
        (TABLE.replace("b,1", ",1"), "FILE, line 4: column 'id' is empty, expected a"),
        (TABLE.replace("5,up,30", "5, ,30"), "line 4: column 'label' is empty, expec"),
        (TABLE.replace("5,up,30", "5,no,30"), "line 4: sequence 'b' has the label 'no"),
        (
            TABLE.replace("b,1", "b,2"),
            "line 4: sequence 'b' has time 2 twice, first in",
        ),
        (
            TABLE.replace("label", "lable"),
            "no column 'label' (did you mean 'lable'?); i",
        ),
        (TABLE.replace("weight", "height"), "FILE has the column 'height' twice; give"),
        (TABLE.replace("weight", ""), "FILE has a column without name; give every col"),
        (TABLE.replace("0.25", '"0.25'), "FILE, line 4: unexpected end of data, expe"),
        (TABLE.replace("0.25", "0\r5"), "FILE, line 4: new-line character seen in un"),
        (
            TABLE.replace(",", ";").replace("0.25", "0,25"),
            "line 4: column 'height' is '0,25', expected a finite number; write 0.25",
        ),
        ("id\nb\n", "no column 'label'; its columns are id; set data.label to one o"),
        (
            "id,time,x,site,label\na,1,2,north,up\n",
            "line 2: column 'site' is 'north', expected a finite number; correct it, "
            "or remove the row; or name the columns that are features: "
            "'data.features=[\"x\"]'.",
        ),
        (TABLE[:28], "FILE has the names of columns but no rows."),
        ("id,time,label\na,1,b\n", "FILE has no column of features; its columns are"),
        ("\n \n", "FILE is empty, expected data."),
        (TABLE.encode().replace(b"0.25", b"0.\x00"), "line 4: there is a NUL byte, ex"),
        (TABLE.encode().replace(b"0.25", b"\xff"), "line 4: byte 0xff is not UTF-8; c"),
        (TABLE.encode("utf-16"), "FILE is UTF-16, expected UTF-8; save it as UTF-8."),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    assert said in refusal(table(tmp_path, text), Columns(time="time"))


def test_long_cells_are_one_error(tmp_path):
    text = TABLE.replace("0.25", "1" * 200_000)
    assert "field larger than field limit" in refusal(table(tmp_path, text))


def test_files_that_are_not_there(tmp_path):
    for name in ("a.csv", "a.npz"):
        assert "FILE cannot be read" in refusal(tmp_path / name)
    said = "without index.csv, expected an index.csv with the columns file and label"
    assert said in refusal(tmp_path)
    assert "does not exist; name a file or a folder" in refusal(tmp_path / "a")
    said = "is not a kind of file that holds series, expected .csv"
    assert said in refusal(table(tmp_path, name="a.xls"))


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def test_npz(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    x[1, 2] = np.nan  # padding
    path = npz(tmp_path, x=x, y=[1, 0], lengths=[3, 2])
    examples = read_series(path)
    assert values(examples) == [x[0].tolist(), x[1, :2].tolist()]
    assert examples.labels == ("1", "0")
    assert examples.features == ("x0", "x1")
    assert examples.sources[1] == f"{path}, sequence 1"
    assert examples.sequences[0].dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [("u1", "f4"), ("i2", "f4"), ("f2", "f4"), ("i4", "f8"), ("f8", "f8")],
)
def test_npz_of_one_feature(tmp_path, dtype, becomes):
    x = np.arange(6).reshape(2, 3)
    path = npz(tmp_path, x=x.astype(dtype), y=["b", "a"])
    examples = read_series(path)
    assert values(examples) == x[..., None].tolist()
    assert examples.labels == ("b", "a")
    assert examples.sequences[0].dtype == becomes


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            dict(y=[0, 1]),
            "FILE has no array 'x', expected x, y and perhaps lengths; it",
        ),
        (dict(x=np.ones((2, 3))), "FILE has no array 'y'"),
        (dict(x=np.ones(3), y=[0]), "x has shape (3,), expected [N, T, D] or [N, T]"),
        (dict(x=np.ones((0, 3)), y=[]), "x has shape (0, 3), expected"),
        (
            dict(x=np.ones((2, 3)), y=[0]),
            "y has shape (1,) and dtype int64, expected w",
        ),
        (dict(x=np.ones((2, 3)), y=[0.0, 1]), "and dtype float64, expected whole numb"),
        (
            dict(x=np.ones((2, 3)), y=[0, 1], lengths=[4, 1]),
            "lengths[0] is 4, expected 1 to 3, the steps of x.",
        ),
        (
            dict(x=np.ones((2, 3)), y=[0, 1], lengths=[3, 0]),
            "FILE, sequence 1 is empty (shape (0, 1)), expected one step or more; rem",
        ),
        (
            dict(x=np.array([[1, 2], [3, np.inf]]), y=[0, 1]),
            "FILE, sequence 1: step 1, feature 0 is inf, expected a finite number.",
        ),
        (dict(x=np.array([["a"]]), y=[0]), "dtype <U1, expected real numbers"),
        (
            dict(x=np.array([None]), y=[0]),
            "cannot be read as NPZ: Object arrays cannot",
        ),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, arrays, said):
    assert said in refusal(npz(tmp_path, **arrays))


def test_npz_that_is_not_whole(tmp_path):
    path = npz(tmp_path, x=np.ones((20, 30)), y=np.arange(20))
    path.write_bytes(path.read_bytes()[:-50])
    assert "cannot be read as NPZ" in refusal(path)
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    assert "has a single array without a name, expected x and y" in refusal(path)


def folder(tmp_path, index="file,label\nb.csv,up\na.csv,down\n"):
    (tmp_path / "index.csv").write_text(index)
    (tmp_path / "a.csv").write_text("height,weight\n1.5,10\n-1e3,11\n")
    (tmp_path / "b.csv").write_text("height,weight\n0.5,20\n0.25,30\n0.75,40\n")
    np.save(tmp_path / "c.npy", np.ones((4, 2), np.float32))
    np.save(tmp_path / "d.npy", np.ones(3, np.int8))
    (tmp_path / "e.csv").write_text("height\n1\n")
    (tmp_path / "f.csv").write_text("height,weight\n1,high\n")
    (tmp_path / "g.xls").write_text("")
    return tmp_path


def test_a_folder(tmp_path):
    examples = read_series(folder(tmp_path))
    assert values(examples) == WANT
    assert examples.labels == ("up", "down")
    assert examples.features == FEATURES
    index = tmp_path / "index.csv"
    assert examples.sources[1] == f"{index}, line 3: file 'a.csv'"
    arrays = read_series(folder(tmp_path, "file,label\nc.npy,1\nc.npy,2\n"))
    assert values(arrays) == np.ones((2, 4, 2)).tolist()


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (
            "file,label\nb.csv,1\ne.csv,2\n",
            "index.csv, line 3: file 'e.csv' has 1 feat",
        ),
        ("file,label\nc.npy,1\nd.npy,2\n", "line 3: file 'd.npy' has 1 feature (x0)"),
        ("file,label\nf.csv,1\n", "f.csv, line 2: column 'weight' is 'high', expected"),
        ("file,label\ng.xls,1\n", "line 2: file 'g.xls' is not .csv or .npy; convert"),
        (
            "file,label\nz.npy,1\n",
            "line 2: file 'z.npy' cannot be read as NPY: No such",
        ),
        ("file,label\nz.csv,1\n", "z.csv cannot be read: No such file or directory."),
        ("name,label\nz.csv,1\n", "index.csv has no column 'file'; its columns are na"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, index, said):
    assert said in refusal(folder(tmp_path, index))
