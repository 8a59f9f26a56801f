"""A session over a WebSocket: it lasts as long as the connection.

A binary message is inputs ``[T, D]``, float32, little-endian. The answer is a binary
message of the outputs ``[T, O]``. A refusal is a text message, one sentence as JSON;
the session goes on as if the refused message had not come.
"""

import asyncio
import contextlib
import json

import numpy as np
from batcher import Batcher
from bodies import wrong_sizes
from fastapi import WebSocket, WebSocketDisconnect
from models import Model
from refusals import NoFreeSlot, QueueFull, Refused
from sessions import Sessions

TRY_LATER, POLICY = 1013, 1008
"""Codes of closing a WebSocket."""
FLOAT = np.dtype("<f4")


async def run_stream(
    socket: WebSocket, model: Model, sessions: Sessions, batcher: Batcher, most: int
) -> None:
    """Serves one connection until the client leaves or is idle for too long."""
    await socket.accept()
    try:
        session = sessions.claim()
    except NoFreeSlot as error:
        return await socket.close(TRY_LATER, str(error))
    try:
        while True:
            # A client that does not read its answers is idle, too.
            async with asyncio.timeout(sessions.timeout):
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                answer = await _answer(message, model, sessions, batcher, most, session)
                await socket.send(answer)
    except TimeoutError:
        why = f"The session was idle for {sessions.timeout:g} seconds."
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(POLICY, why)
    except WebSocketDisconnect:
        pass
    finally:
        with contextlib.suppress(Refused):
            sessions.free(session.id)


async def _answer(message, model, sessions, batcher, most, session):
    try:
        xs = _inputs(message.get("bytes"), model, most)
        _, ys = await batcher.submit(sessions.find(session.id), xs)
        return {"type": "websocket.send", "bytes": ys.astype(FLOAT).tobytes()}
    except QueueFull as error:
        refusal = {"detail": str(error), "retry_after": 1}
    except (Refused, ValueError) as error:
        refusal = {"detail": str(error)}
    return {"type": "websocket.send", "text": json.dumps(refusal)}


def _inputs(data, model, most):
    if data is None:
        raise ValueError("The message is text, expected binary float32.")
    step = FLOAT.itemsize * model.in_size
    if len(data) % step:
        raise ValueError(
            f"The message has {len(data)} bytes, expected {step} a step: "
            f"{model.in_size} float32."
        )
    xs = np.frombuffer(data, FLOAT).reshape(-1, model.in_size)
    if wrong := wrong_sizes(xs, model.in_size, most) or model.check(xs):
        raise ValueError(wrong)
    return xs
