"""The example server: a real uvicorn, asked by real clients over sockets."""

import asyncio
import concurrent.futures
import contextlib
import importlib
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import jax
import numpy as np
import pytest
import uvicorn
import websockets.sync.client as websockets
from flax import nnx

from lstm_jax import LSTMCell, Stack
from lstm_jax.models.functional import Functional
from lstm_jax.models.language_model import LanguageModel

FOLDER = Path(__file__).parents[1] / "examples" / "serving"
D, H, LAYERS = 3, 16, 2
EXACT = 1e-6
STACK = Stack([LSTMCell(H)] * LAYERS)


@pytest.fixture(scope="module")
def files():
    """The modules of the example, which import each other by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        names = "app", "models", "serve", "sessions"
        return {name: importlib.import_module(name) for name in names}


class Served(NamedTuple):
    http: httpx.Client
    app: object

    def open(self):
        return self.http.post("/sessions").json()["id"]

    def step(self, id, xs, **options):
        inputs = {"inputs": np.asarray(xs).tolist()}
        return self.http.post(f"/sessions/{id}/steps", json=inputs, **options)

    def outputs(self, id, xs):
        answer = self.step(id, xs)
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["outputs"])

    def stream(self):
        address = f"ws://{self.http.base_url.netloc.decode()}/stream"
        return websockets.connect(address, compression=None)

    @property
    def socket(self):
        url = self.http.base_url
        return socket.create_connection((url.host, url.port), timeout=10)


@contextlib.contextmanager
def running(files, model=None, **limits):
    """A server in a thread, on a free port."""
    model = model or files["models"].demo(LAYERS, H, D)
    limits = files["app"].Limits(**{"sessions": 8, "batch": 8, "steps": 50} | limits)
    app = files["app"].create_app(model, limits)
    settings = files["serve"].settings(model, limits.steps)
    config = uvicorn.Config(app, port=0, log_level="critical", **settings)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield Served(http, app)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served(files):
    with running(files) as served:
        yield served


def inputs(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, D), np.float32)


def offline(xs):
    """The outputs of one call over whole sequences ``[T, ..., D]``."""
    params = STACK.init(jax.random.key(0), D)
    return np.asarray(STACK(params, None, xs, implementation="scan")[1])


def assert_same(ys, expected):
    np.testing.assert_allclose(ys, expected, rtol=0, atol=EXACT * abs(expected).max())


class Gate:
    """Holds every batch until it is opened; notes the slots of each."""

    def __init__(self, served, monkeypatch):
        self._event, self.entered, self.slots = threading.Event(), threading.Event(), []
        self._step = served.app.state.states.step
        monkeypatch.setattr(served.app.state.states, "step", self)

    def __call__(self, slots, fresh, xs):
        self.slots.append(slots)
        self.entered.set()
        assert self._event.wait(60)
        return self._step(slots, fresh, xs)

    def open(self):
        self._event.set()


def test_interleaved_sessions_have_the_answers_of_one_offline_call(
    files, served, monkeypatch
):
    T, S = 40, 6
    xs = inputs(T, S)
    gate = Gate(served, monkeypatch)

    async def session(http, n):
        rng, ys, at = np.random.default_rng(n), [], 0
        id = (await http.post("/sessions")).json()["id"]
        while at < T:
            piece = xs[at : at + rng.integers(1, 9), n]
            asked = {"inputs": piece.tolist()}
            answer = (await http.post(f"/sessions/{id}/steps", json=asked)).json()
            at += len(piece)
            assert answer["steps"] == at
            ys += answer["outputs"]
        assert (await http.delete(f"/sessions/{id}")).status_code == 204
        return ys

    async def all_sessions():
        async with httpx.AsyncClient(base_url=served.http.base_url) as http:
            asyncio.get_running_loop().call_later(0.2, gate.open)
            return await asyncio.gather(*(session(http, n) for n in range(S)))

    ys = np.array(asyncio.run(all_sessions())).swapaxes(0, 1)
    assert_same(ys, offline(xs))
    assert max(map(len, gate.slots)) >= S - 1  # they did share batches


def test_a_new_session_in_a_used_slot_begins_from_zero(served):
    xs = inputs(5)
    for _ in range(2 * served.app.state.sessions.slots):
        id = served.open()
        assert_same(served.outputs(id, xs), offline(xs))
        served.http.delete(f"/sessions/{id}")


def test_a_stream_has_the_answers_of_one_offline_call(served):
    xs = inputs(9)
    with served.stream() as stream:
        ys = []
        for piece in np.split(xs, [1, 2, 6]):
            stream.send(piece.tobytes())
            ys.append(np.frombuffer(stream.recv(), np.float32).reshape(-1, H))
    assert_same(np.concatenate(ys), offline(xs))


def test_messages_of_a_stream_are_answered_in_order(served):
    xs = inputs(20)
    with served.stream() as stream:
        for x in xs:
            stream.send(x.tobytes())
        ys = [np.frombuffer(stream.recv(), np.float32) for _ in xs]
    assert_same(np.array(ys), offline(xs))


def until(is_so):
    """Waits for what another thread will do."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_idle_session_times_out(files, monkeypatch):
    now = 0.0
    with running(files, sessions=1, timeout=0.3) as served:
        monkeypatch.setattr(served.app.state.sessions, "_clock", lambda: now)
        id = served.open()
        full = served.http.post("/sessions")
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        assert full.json()["detail"] == "All 1 sessions are in use; try again later."
        with served.stream() as stream, pytest.raises(Exception, match="in use"):
            stream.recv(timeout=5)
        for _ in range(4):  # use keeps it alive
            now += 0.2
            assert served.step(id, inputs(1)).status_code == 200
        now += 0.4
        assert served.http.get("/health").json()["sessions"] == 0
        answer = served.step(id, inputs(1))
        assert answer.status_code == 404
        assert "timed out after 0.3 idle seconds" in answer.json()["detail"]
        with served.stream() as stream, pytest.raises(Exception, match="was idle"):
            stream.recv(timeout=5)
        assert_same(served.outputs(served.open(), inputs(2)), offline(inputs(2)))


def test_neither_use_nor_work_is_idleness(files):
    now = 0
    sessions = files["sessions"].Sessions(3, timeout=3, clock=lambda: now)
    busy, used, _ = (sessions.claim() for _ in range(3))
    busy.busy = True
    for now in range(0, 12, 2):  # noqa: B007
        sessions.find(used.id)
    sessions.drop_idle()
    assert len(sessions) == 2
    sessions.finish(busy)
    now += 4
    assert len({sessions.claim().slot for _ in range(3)}) == 3


def test_a_full_queue_refuses_and_a_busy_session_too(files, monkeypatch):
    xs = inputs(4, 3)
    with (
        running(files, queue=2) as served,
        concurrent.futures.ThreadPoolExecutor() as p,
    ):
        ids = [served.open() for _ in range(3)]
        gate = Gate(served, monkeypatch)
        first = p.submit(served.outputs, ids[0], xs[:2, 0])
        assert gate.entered.wait(10)
        busy = served.step(ids[0], xs[2:, 0])
        assert busy.status_code == 409
        assert "has a request in progress" in busy.json()["detail"]
        assert served.http.delete(f"/sessions/{ids[0]}").status_code == 409
        second = p.submit(served.outputs, ids[1], xs[:, 1])
        until(lambda: served.app.state.sessions.find(ids[1]).busy)
        full = served.step(ids[2], xs[:1, 2])
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        assert full.json()["detail"] == "2 requests wait already; try again later."
        gate.open()
        expected = offline(xs)
        assert_same(first.result(), expected[:2, 0])
        assert_same(second.result(), expected[:, 1])
        # What was refused has changed nothing.
        assert_same(served.outputs(ids[0], xs[2:, 0]), expected[2:, 0])
        assert_same(served.outputs(ids[2], xs[:, 2]), expected[:, 2])


def test_a_long_request_delays_no_short_one(files, monkeypatch):
    xs = inputs(50)
    with (
        running(files, batch=1) as served,
        concurrent.futures.ThreadPoolExecutor() as p,
    ):
        ids = [served.open() for _ in range(2)]
        gate = Gate(served, monkeypatch)
        long = p.submit(served.outputs, ids[0], xs)
        assert gate.entered.wait(10)
        short = p.submit(served.outputs, ids[1], xs[:1])
        until(lambda: served.app.state.sessions.find(ids[1]).busy)
        gate.open()
        assert_same(short.result(), offline(xs[:1]))
        assert_same(long.result(), offline(xs))
    assert [1] in gate.slots[:3]


GARBAGE = {
    '{"inputs": [[': (400, "The body is not valid JSON."),
    "[" * 8000: (400, "parsing"),
    "[]": (422, "not a JSON object"),
    "{}": (422, "inputs: Field required."),
    '{"inputs": []}': (422, "inputs has 0 steps, expected 1 to 50."),
    '{"inputs": [[1, 2]]}': (422, r"inputs[0] has 2 numbers, expected 3."),
    '{"inputs": [[1, 2, NaN]]}': (422, "inputs.0.2: Input should be a finite number."),
    '{"inputs": [[1, 2, 1e999]]}': (422, "finite"),
    '{"inputs": [[1, 2, 1e30]]}': (422, "not between -1e+06 and 1e+06."),
    '{"inputs": [[1, 2, "3"]]}': (422, "inputs.0.2: Input should be a valid number."),
    json.dumps({"inputs": [[0, 0, 0]] * 51}): (422, "inputs has 51 steps"),
    "x" * 3_000_000: (413, "The body has 3000000 bytes; the most is 8896."),
    b"\xff\xfe{": (400, ""),
}


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body[:30]))
def test_garbage_is_refused_in_a_sentence_and_changes_nothing(served, body):
    status, sentence = GARBAGE[body]
    xs, id = inputs(4), served.open()
    before = served.outputs(id, xs[:2])
    json_type = {"content-type": "application/json"}
    answer = served.http.post(f"/sessions/{id}/steps", content=body, headers=json_type)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]
    after = served.outputs(id, xs[2:])
    assert_same(np.concatenate([before, after]), offline(xs))
    served.http.delete(f"/sessions/{id}")


def test_garbage_in_a_stream_is_refused_and_changes_nothing(served):
    xs = inputs(2)
    nan = np.full(D, np.nan, np.float32).tobytes()
    cases = {
        "text": "is text",
        b"12345": "has 5 bytes, expected 12 a step",
        b"": "has 0 steps",
        nan: "not between",
        bytes(51 * 12): "has 51 steps",
    }
    with served.stream() as stream:
        for message, sentence in cases.items():
            stream.send(message)
            assert sentence in json.loads(stream.recv())["detail"]
        stream.send(xs.tobytes())
        assert_same(
            np.frombuffer(stream.recv(), np.float32).reshape(-1, H), offline(xs)
        )


def test_clients_that_vanish_or_are_slow_change_nothing_for_others(files):
    xs = inputs(30)
    with running(files, body_seconds=2.0) as served:
        id, other = served.open(), served.open()
        whole = json.dumps({"inputs": inputs(50, seed=1).tolist()})
        head = f"POST /sessions/{other}/steps HTTP/1.1\r\nhost: x\r\n"
        head += (
            f"content-type: application/json\r\ncontent-length: {len(whole)}\r\n\r\n"
        )
        ys = []
        with served.socket as slow:
            slow.sendall(f"{head}{whole[:9]}".encode())
            for at in range(0, 30, 5):
                with served.socket as half:
                    half.sendall(f"{head}{whole[:99]}".encode())
                with served.socket as deaf:
                    deaf.sendall(f"{head}{whole}".encode())
                with served.socket as noise:
                    noise.sendall(np.random.default_rng(at).bytes(500))
                with served.stream() as stream:
                    stream.send(inputs(50).tobytes())
                    stream.socket.shutdown(socket.SHUT_RDWR)
                ys.append(served.outputs(id, xs[at : at + 5]))
            assert_same(np.concatenate(ys), offline(xs))
            assert slow.recv(99).startswith(b"HTTP/1.1 408")
        streams_are_over = lambda: served.http.get("/health").json()["sessions"] == 2
        until(streams_are_over)


def test_a_step_that_fails_stops_the_server_with_a_reason(files, monkeypatch):
    def fail(*args):
        raise RuntimeError("out of memory")

    with running(files) as served:
        id = served.open()
        assert served.http.get("/health").json()["status"] == "ok"
        monkeypatch.setattr(served.app.state.states, "step", fail)
        answer = served.step(id, inputs(1))
        assert answer.status_code == 503
        assert answer.json()["detail"] == "A step failed: out of memory"
        assert "restart" in served.step(id, inputs(1)).json()["detail"]
        assert served.http.get("/health").status_code == 503


def test_a_language_model_reads_tokens_and_answers_with_logits(files):
    build = Functional(
        lambda key: LanguageModel(7, embed_size=4, hidden_size=8, rngs=nnx.Rngs(key))
    )
    params = build.init(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(0, 7, 12)
    expected = build(params)(tokens[:, None].astype(np.int32))[1][:, 0]
    model = files["models"].language_model("seven tokens", build, params)
    with running(files, model) as served:
        id = served.open()
        ys = [served.outputs(id, piece[:, None]) for piece in np.split(tokens, [5])]
        np.testing.assert_allclose(np.concatenate(ys), expected, atol=2e-6)
        for bad in (7, -1, 0.5):
            answer = served.step(id, [[bad]])
            assert answer.status_code == 422
            assert "not a token, a whole number below 7" in answer.json()["detail"]


@pytest.mark.parametrize("block", range(2))
def test_the_examples_of_the_page_run(served, block):
    page = Path(__file__).parents[1] / "docs" / "serving.md"
    blocks = re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    address = served.http.base_url.netloc.decode()
    exec(blocks[block].replace("127.0.0.1:8000", address), names)
    assert_same(np.array(names["outputs"]), offline(np.array(names["xs"], np.float32)))


def test_the_command_needs_one_model(files, capsys, monkeypatch):
    for argv in ([], ["runs/mine", "--demo"], ["--demo", "--sessions", "0"]):
        with pytest.raises(SystemExit):
            files["serve"].main(argv)
    assert "0 is not above 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no such folder"):
        files["serve"].main(["runs/nowhere"])
    given = {}
    small = files["models"].demo(1, 2, 2)
    monkeypatch.setattr(files["models"], "demo", lambda: small)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: given.update(options))
    files["serve"].main(["--demo", "--port", "9", "--sessions", "2"])
    assert (given["port"], given["host"]) == (9, "127.0.0.1")
