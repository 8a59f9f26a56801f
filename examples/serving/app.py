"""The web server: sessions over HTTP with JSON, or over a WebSocket with float32."""

import asyncio
import contextlib
import dataclasses

import refusals
from batcher import Batcher
from bodies import steps_type
from fastapi import FastAPI, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from limits import BodyLimits
from models import Model
from pydantic_core import to_json
from sessions import Sessions
from states import States
from streams import run_stream

STATUS = {
    refusals.UnknownSession: 404,
    refusals.Busy: 409,
    refusals.NoFreeSlot: 429,
    refusals.QueueFull: 429,
    refusals.Stopped: 503,
}
RETRY_AFTER = "1"
"""Seconds, told to clients that come at a busy time."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much the server takes on."""

    sessions: int = 1024
    """Sessions at once. Each has a slot on the device."""
    queue: int = 512
    """Requests that may wait for a step; more are refused."""
    batch: int = 256
    """Rows of the largest batch."""
    timeout: float = 300.0
    """A session that is idle for more seconds is dropped."""
    steps: int = 256
    """Steps of one request."""
    body_seconds: float = 10.0
    """How long the body of a request may take to arrive."""


def create_app(model: Model, limits: Limits) -> FastAPI:
    """The application. It compiles every batch size before it answers."""
    sessions = Sessions(limits.sessions, limits.timeout)
    states = States(model, limits.sessions, limits.batch)
    batcher = Batcher(states, sessions, limits.queue)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        await asyncio.to_thread(states.compile)
        batcher.start()
        yield
        await asyncio.to_thread(batcher.stop)

    app = FastAPI(title="Streaming LSTM", lifespan=lifespan)
    app.state.sessions, app.state.states = sessions, states
    # A float32 as JSON takes at most 20 bytes or so.
    most = 4096 + 32 * limits.steps * model.in_size
    app.add_middleware(BodyLimits, most=most, seconds=limits.body_seconds)
    app.add_exception_handler(refusals.Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    Steps = steps_type(model, limits.steps)

    @app.get("/health")
    async def health():
        sessions.drop_idle()
        stopped = batcher.error is not None
        facts = dict(
            status="stopped" if stopped else "ok",
            model=model.name,
            in_size=model.in_size,
            out_size=model.out_size,
            sessions=len(sessions),
            limits=dataclasses.asdict(limits),
        )
        return JSONResponse(facts, 503 if stopped else 200)

    @app.post("/sessions", status_code=201)
    async def open_session():
        return {"id": sessions.claim().id}

    @app.post("/sessions/{id}/steps")
    async def step(id: str, steps: Steps):
        session = sessions.find(id)
        count, ys = await batcher.submit(session, steps.array())
        answer = {"steps": count, "outputs": ys.tolist()}
        return Response(to_json(answer), media_type="application/json")

    @app.delete("/sessions/{id}", status_code=204)
    async def close_session(id: str):
        sessions.free(id)

    @app.websocket("/stream")
    async def stream(socket: WebSocket):
        await run_stream(socket, model, sessions, batcher, limits.steps)

    return app


async def _refused(request, error):
    status = STATUS[type(error)]
    headers = {"retry-after": RETRY_AFTER} if status == 429 else None
    return JSONResponse({"detail": str(error)}, status, headers)


async def _invalid(request, error):
    """The first thing that is wrong with a request, as one sentence."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return JSONResponse({"detail": "The body is not valid JSON."}, 400)
    if first["loc"] == ("body",):
        why = "The body is not a JSON object with content-type: application/json."
        return JSONResponse({"detail": why}, 422)
    place = ".".join(map(str, first["loc"][1:]))
    own = first.get("ctx", {}).get("error")
    return JSONResponse({"detail": str(own or f"{place}: {first['msg']}.")}, 422)
