"""Texts and tagged sentences: what is read, and what is said of errors."""

import json

import numpy as np
import pytest

from lstm_jax.data.labelled import encode, read_tagged, read_texts, text_of
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import learn

ROWS = [("Good, very\ngood.", "1"), ("schön\u2028ja", "0"), (" ok ", "1")]


def written(tmp_path, text, name):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(read, path, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said.replace(str(path), "FILE")


def jsonl(tmp_path, *rows, name="a.jsonl"):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    return written(tmp_path, "\n".join(lines) + "\n", name)


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_jsonl(tmp_path, ensure_ascii):
    objects = [{"label": int(y), "text": x} for x, y in ROWS]
    lines = [json.dumps(row, ensure_ascii=ensure_ascii) for row in objects]
    text = "\ufeff" + "\r\n\r\n".join(lines)
    path = written(tmp_path, text, "a.jsonl")
    examples = read_texts(path)
    assert [*zip(examples.sequences, examples.labels, strict=True)] == ROWS
    assert examples.sources == (f"{path}, line 1", f"{path}, line 3", f"{path}, line 5")
    assert examples.features == ()
    assert read_texts(path, label=None).labels is None


def test_csv(tmp_path):
    text = 'label,text\n1,"Good, very\ngood."\n0,schön\u2028ja\n1, ok \n'
    path = written(tmp_path, text, "a.csv")
    examples = read_texts(path)
    assert [*zip(examples.sequences, examples.labels, strict=True)] == ROWS
    assert examples.sources[1] == f"{path}, line 4"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: it is not JSON (Expecting property name"),
        ("[1]", "FILE, line 2: it is a list, expected an object {...}."),
        ("[" * 100_000, "FILE, line 2: it is not JSON"),
        ({"text": "a"}, "FILE, line 2: there is no key 'label'; its keys are text."),
        ({"label": "a"}, "FILE, line 2: there is no key 'text'; its keys are label."),
        ({"text": 3, "label": "a"}, "'text' is 3, expected a text that is not empty."),
        ({"text": " ", "label": "a"}, "'text' is ' ', expected a text that is not"),
        ({"text": "a", "label": None}, "'label' is None, expected a string that is"),
        ({"text": "a", "label": True}, "'label' is True, expected a string that is"),
        ({"text": "a", "label": 0.5}, "'label' is 0.5, expected a string that is no"),
        ({"text": "a", "label": " "}, "'label' is ' ', expected a string that is not"),
        ({"text": "\ud800", "label": 1}, "line 2: '\\ud800' is half of a character;"),
    ],
)
def test_jsonl_that_cannot_be_used(tmp_path, row, said):
    path = jsonl(tmp_path, {"text": "fine", "label": "x"}, row)
    assert said in refusal(read_texts, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\na,b\n ,c\n", "FILE, line 3: column 'text' is empty, expected a"),
        ("text,label\na,\n", "FILE, line 2: column 'label' is empty, expected a value"),
        (
            "words,label\na,b\n",
            "FILE has no column 'text'; its columns are words, labe",
        ),
        (b"text,label\na,b\nc\xff,d\n", "FILE, line 3: byte 0xff is not UTF-8; conve"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path, text, said):
    assert said in refusal(read_texts, written(tmp_path, text, "a.csv"))


SENTENCES = (("Ada", "met", "Ann"), ("#", "No"))
TAGS = (("B-PER", "O", "B-PER"), ("O", "O"))


def test_tagged(tmp_path):
    pairs = zip(SENTENCES, TAGS, strict=True)
    path = jsonl(tmp_path, *({"tokens": x, "tags": y} for x, y in pairs))
    conll = (
        "-DOCSTART- -X- O O\r\n\r\nAda NNP B-PER\r\nmet VB O\r\nAnn NNP B-PER\r\n \r\n"
        "\r\n#\tSYM\tO\r\nNo\tDT\tO"
    )
    columns = written(tmp_path, conll, "a.conll")
    for examples in (read_tagged(path), read_tagged(columns)):
        assert examples.sequences == SENTENCES
        assert examples.labels == TAGS
        assert examples.has_tags
    assert read_tagged(columns).sources == (f"{columns}, line 3", f"{columns}, line 8")
    found = read_tagged(columns, tags=None, classes=("B-PER", "O"))
    assert (found.sequences, found.labels) == (SENTENCES, None)
    plain = written(tmp_path, "Ada\nmet\nAnn\n\n#\nNo\n", "b.txt")
    assert read_tagged(plain, tags=None).sequences == SENTENCES


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"tokens": ["a", "b"], "tags": ["O"]},
            "'tokens' has 2 tokens and 'tags' has 1 tag, ",
        ),
        ({"tokens": [], "tags": []}, "line 2: 'tokens' is empty, expected one token"),
        ({"tokens": "ab", "tags": ["O"]}, "'tokens' is 'ab', expected a list."),
        ({"tokens": ["a b"], "tags": ["O"]}, "'a b' in 'tokens' is not a token, exp"),
        ({"tokens": [""], "tags": ["O"]}, "'' in 'tokens' is not a token, expected a"),
        ({"tokens": [3], "tags": ["O"]}, "3 in 'tokens' is not a token, expected a s"),
        ({"tokens": ["a"], "tags": [None]}, "'tags' is None, expected a string that"),
        ({"tokens": ["a"]}, "there is no key 'tags'; its keys are tokens."),
    ],
)
def test_jsonl_tags_that_cannot_be_used(tmp_path, row, said):
    path = jsonl(tmp_path, {"tokens": ["a"], "tags": ["O"]}, row)
    assert said in refusal(read_tagged, path)
    assert "FILE, line 2" in refusal(read_tagged, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", "FILE, line 1: there is no tag beside 'a', expected a token and"),
        ("a O\nb\n", "FILE, line 2 has 1 column, but line 1 has 2, expected the same"),
        ("a O\n\nb X O\n", "FILE, line 3 has 3 columns, but line 1 has 2, expected"),
        ("-DOCSTART- O\n\n", "FILE has no sentence, expected one or more."),
        (b"a O\nb\0 O\n", "FILE, line 2: there is a NUL byte, expected UTF-8 text; re"),
    ],
)
def test_columns_that_cannot_be_used(tmp_path, text, said):
    assert said in refusal(read_tagged, written(tmp_path, text, "a.conll"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Anna visits Rome .\n",
            "line 1 has 4 columns, and the last one, '.', is not a",
        ),
        ("Anna Lee\n\nBob Ray\n", "'Lee', is not a tag of the run (B-PER, O). Expect"),
        ("Anna O\nsings\n", "line 2 has 1 column, but line 1 has 2"),
    ],
)
def test_no_word_of_new_data_is_dropped(tmp_path, text, said):
    path, new = (
        written(tmp_path, text, "a.txt"),
        {"tags": None, "classes": ["B-PER", "O"]},
    )
    assert said in refusal(read_tagged, path, **new)
    table = written(tmp_path, "id,x\na,1\n", "a.csv")
    assert "FILE is a table, expected sentences" in refusal(read_tagged, table, **new)


def test_encoded(tmp_path):
    pairs = zip(SENTENCES, TAGS, strict=True)
    tagged = read_tagged(jsonl(tmp_path, *({"tokens": x, "tags": y} for x, y in pairs)))
    tokenizer = learn("words", text_of(tagged))
    encoded = encode(tagged, tokenizer)
    assert [len(x) for x in encoded.sequences] == [3, 2]
    assert tokenizer.decode(encoded.sequences[0]) == "Ada met Ann"
    assert encoded.labels == TAGS
    assert all(x.dtype == np.int32 for x in encoded.sequences)
    with pytest.raises(
        DataError, match="line 1: 3 tokens became 11 by bytes, but each"
    ):
        encode(tagged, learn("bytes", "any"))
    with pytest.raises(
        DataError, match="line 1: the vocabulary of this model does not"
    ):
        encode(tagged, learn("characters", "abc"))
