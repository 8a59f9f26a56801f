"""Reads the whole body of a request before the routes see it, within limits."""

import asyncio

from starlette.responses import JSONResponse


class BodyLimits:
    """ASGI middleware that refuses bodies that are too large or too slow.

    A body that is too large is read to its end but not kept. Then the client reads the
    answer, where a closed connection would be an error.

    Args:
        app: the application.
        most: bytes of a body.
        seconds: how long a body may take to arrive.
    """

    def __init__(self, app, most: int, seconds: float):
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            async with asyncio.timeout(self.seconds):
                body, size = await self._read(receive)
        except TimeoutError:
            refusal = f"The body did not arrive within {self.seconds:g} seconds."
            return await _refuse(408, refusal)(scope, receive, send)
        except ConnectionError:
            return None
        if size > self.most:
            refusal = f"The body has {size} bytes; the most is {self.most}."
            return await _refuse(413, refusal)(scope, receive, send)
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay():
            return next(whole, None) or await receive()

        return await self.app(scope, replay, send)

    async def _read(self, receive):
        """The body, cut off where it is too large, and its size."""
        body, size, more = bytearray(), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            piece = message.get("body", b"")
            size += len(piece)
            body += piece if size <= self.most else b""
            more = message.get("more_body", False)
        return bytes(body), size


def _refuse(status, sentence):
    return JSONResponse({"detail": sentence}, status, headers={"connection": "close"})
