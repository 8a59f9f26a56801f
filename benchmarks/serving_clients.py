"""The clients of `benchmarks.serving`: polite ones, which are measured, and others."""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from collections import Counter

import numpy as np
from websockets.asyncio.client import connect

JSON = "content-type: application/json"


async def over_websocket(port, xs, start, every):
    """Sends a step when it is due, ``every`` seconds; returns the outputs, and the
    seconds from when each step was due.
    """
    async with connect(f"ws://127.0.0.1:{port}/stream", compression=None) as server:

        async def step(x):
            while True:
                await server.send(x.tobytes())
                answer = await server.recv()
                if isinstance(answer, bytes):
                    return np.frombuffer(answer, np.float32)
                await asyncio.sleep(json.loads(answer)["retry_after"])

        return await paced(step, xs, start, every)


async def over_http(port, xs, start, every):
    """As `over_websocket`, with a request per step over one connection."""
    with contextlib.closing(Http(port)) as server:
        _, opened = await server.ask("POST", "/sessions")
        path = f"/sessions/{opened['id']}/steps"

        async def step(x):
            body = json.dumps({"inputs": [x.tolist()]})
            while (answer := await server.ask("POST", path, body))[0] == 429:
                await asyncio.sleep(1)
            assert answer[0] == 200, answer
            return np.array(answer[1]["outputs"][0], np.float32)

        return await paced(step, xs, start, every)


async def paced(step, xs, start, every):
    outputs, seconds = [], []
    begin = await start()
    for n, x in enumerate(xs):
        due = begin + n * every
        await asyncio.sleep(due - time.perf_counter())
        outputs.append(await step(x))
        seconds.append(time.perf_counter() - due)
    return np.array(outputs), np.array(seconds)


class Http:
    """One connection of HTTP/1.1 that stays open."""

    def __init__(self, port):
        self._port, self._writer = port, None

    async def ask(self, method, path, body="", more=""):
        """The status and the body of the answer, from JSON."""
        if self._writer is None:
            streams = asyncio.open_connection("127.0.0.1", self._port)
            self._reader, self._writer = await streams
        self._writer.write(request(method, path, body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        text = await self._reader.readexactly(int(fields.get(b"content-length", 0)))
        return int(head.split()[1]), json.loads(text or "null")

    def close(self):
        if self._writer is not None:
            self._writer.close()


def request(method, path, body):
    data = body.encode()
    lines = f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(data)}", JSON
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


GARBAGE = [
    ('{"inputs": [[', 400),
    ('{"inputs": [[NaN]]}', 422),
    ('{"inputs": [[1, 2]]}', 422),
    ('{"inputs": "' + "x" * 2_000_000 + '"}', 413),
]
"""Bodies and the status of their answers."""


def disturb(port, in_size, seconds):
    """Garbage, slow clients and clients that vanish; returns how many of each."""
    return asyncio.run(_disturb(port, in_size, time.perf_counter() + seconds))


async def _disturb(port, in_size, end):
    counts = Counter()
    xs = np.zeros((64, in_size), np.float32).tobytes()
    kinds = (garbage, random_bytes, vanish, vanish_from_stream, slow_body, never_reads)

    async def repeat(kind):
        while time.perf_counter() < end:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(max(0.1, end - time.perf_counter())):
                    await kind(port, xs)
            counts[kind.__name__] += 1
            await asyncio.sleep(0.25)

    await asyncio.gather(*map(repeat, kinds))
    return dict(counts)


async def garbage(port, xs):
    del xs
    for body, status in GARBAGE:
        with contextlib.closing(Http(port)) as server:
            _, opened = await server.ask("POST", "/sessions")
            path = f"/sessions/{opened['id']}"
            found = await server.ask("POST", f"{path}/steps", body)
            assert found[0] == status, found
        with contextlib.closing(Http(port)) as server:
            assert (await server.ask("DELETE", path))[0] == 204


async def random_bytes(port, xs):
    del xs
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(np.random.default_rng(0).bytes(2000))
    await reader.read()
    writer.close()


async def vanish(port, xs):
    """Half a request, and then a reset connection."""
    del xs
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    half = request("POST", "/sessions/x/steps", '{"inputs": [[1, 2, 3]]}')[:-9]
    writer.write(half)
    await asyncio.sleep(0.05)
    reset(writer)


async def vanish_from_stream(port, xs):
    """64 steps over a WebSocket, and then a reset connection."""
    server = await connect(f"ws://127.0.0.1:{port}/stream", compression=None)
    await server.send(xs)
    reset(server.transport)


def reset(transport):
    """Closes with RST, as a process that is killed may."""
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    getattr(transport, "transport", transport).abort()


async def slow_body(port, xs):
    """A byte every tenth of a second, until the server has had enough."""
    del xs
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = " " * 4000
    head = request("POST", "/sessions/x/steps", body)[: -len(body)]
    writer.write(head)
    answer = asyncio.ensure_future(reader.read())
    while not answer.done():
        writer.write(b" ")
        await asyncio.sleep(0.1)
    assert answer.result().split()[1] == b"408", answer.result()
    writer.close()


async def never_reads(port, xs):
    """Asks for many outputs over a WebSocket, and reads none for ten seconds."""
    url = f"ws://127.0.0.1:{port}/stream"
    async with connect(url, compression=None, max_queue=1) as server:
        for _ in range(10):
            await server.send(xs)
            await asyncio.sleep(1)


if __name__ == "__main__":
    print(json.dumps(disturb(*map(int, sys.argv[1:]))))
