"""Serves a streaming LSTM to many sessions, with one batched step for all of them.

pip install fastapi "uvicorn[standard]"
python examples/serving/serve.py --demo
python examples/serving/serve.py runs/quickstart
"""

import argparse

import models
import uvicorn
from app import Limits, create_app

OPTIONS = {
    "sessions": "sessions at once",
    "timeout": "seconds until an idle session is dropped",
    "queue": "requests that may wait for a step",
    "batch": "rows of the largest batch",
    "steps": "steps of one request",
}
"""The limits that can be set, and what they mean."""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", help="folder of a run of a language model")
    parser.add_argument("--demo", action="store_true", help="serve random weights")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    for name, meaning in OPTIONS.items():
        default = getattr(Limits, name)
        kind, text = _positive(type(default)), f"{meaning} (default {default:g})"
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    args = parser.parse_args(argv)
    if bool(args.run) == args.demo:
        parser.error("give either the folder of a run or --demo")
    model = models.demo() if args.demo else models.of_run(args.run)
    app = create_app(model, Limits(**{name: getattr(args, name) for name in OPTIONS}))
    uvicorn.run(app, host=args.host, port=args.port, **settings(model, args.steps))


def settings(model: models.Model, steps: int) -> dict:
    """How uvicorn runs the application."""
    return dict(
        access_log=False,
        ws_max_size=64 + 4 * steps * model.in_size,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )


def _positive(kind):
    def number(text):
        if not (value := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return number


if __name__ == "__main__":
    main()
