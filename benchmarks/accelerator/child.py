"""The process of one stage: runs its cases and sends their rows to the supervisor.

    python -m benchmarks.accelerator.child MODULE --to FD --skip N [--dry-run]

The module has ``cases(setting)``, which returns ``{name: case}``. A case is a function
that yields rows, each a dict. `NotImplementedError` and `ImportError` mean that a case
is not available here.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.accelerator.packages import is_wanted

Cases = dict[str, Callable[[], Iterator[dict[str, Any]]]]


class Setting(NamedTuple):
    """What the cases of a stage depend on."""

    platform: str
    """The name JAX has for it: cuda, rocm, tpu or cpu."""
    dry_run: bool
    """Tiny sizes, and few of them."""
    until_end: contextlib.ExitStack
    """Closes what the cases share, such as the processes of libraries."""

    @property
    def one_process(self) -> bool:
        """Libraries share the process of the stage: one process holds a TPU, and
        starting others costs a dry run more than its work."""
        return self.platform == "tpu" or self.dry_run


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    with (
        open(args.to, "w", encoding="utf-8") as pipe,
        contextlib.ExitStack() as until_end,
    ):

        def send(**message):
            pipe.write(json.dumps(message, default=plain) + "\n")
            pipe.flush()

        setting = Setting(args.platform, args.dry_run, until_end)
        cases = cases_of(args.module, setting)
        send(cases=list(cases))
        for name, case in list(cases.items())[args.skip :]:
            send(begin=name)
            for row in rows_of(case):
                send(row=row)


def cases_of(module: str, setting: Setting) -> Cases:
    """The cases of a module; one that is not available if it lacks what is `WANTED`."""
    try:
        return importlib.import_module(module).cases(setting)
    except ModuleNotFoundError as error:
        if not is_wanted(error.name):
            raise
        return {"all cases": functools.partial(_lack, error)}


def _lack(error):
    raise error


def rows_of(case: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The rows of a case, and one more that says why it could not go on."""
    try:
        yield from case()
    except (ImportError, NotImplementedError) as reason:
        yield {"status": "not available", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        yield {"status": "failed", "reason": f"{type(error).__name__}: {error}"[-2000:]}


def plain(value: Any) -> Any:
    """What JSON does not know: ratios of times, numbers of numpy."""
    return value.item() if hasattr(value, "item") else dataclasses.asdict(value)


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.child")
    add = parser.add_argument
    add("module", help="has the function cases")
    add("--to", type=int, required=True, help="file descriptor that takes the rows")
    add("--platform", required=True)
    add("--skip", type=int, default=0, help="cases that have run")
    add("--dry-run", action="store_true")
    args = parser.parse_args(argv)
    # The processes of a stage must not hold the pipe open.
    os.set_inheritable(args.to, False)
    return args


if __name__ == "__main__":
    main()
