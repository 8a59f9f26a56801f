"""``lstm-jax config``: the keys of a config, a config that comes with the package, or a
config as a run would read it."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection
from typing import Any

from lstm_jax.commands.arguments import add_overrides
from lstm_jax.config import ConfigError, dump, kinds_of
from lstm_jax.runs.configs import find_task, read_config
from lstm_jax.runs.shipped import config_path, read_named, shipped
from lstm_jax.tasks import TASKS


def add_command(commands) -> None:
    """``lstm-jax config`` and its options."""
    command = commands.add_parser(
        "config",
        help="print a config, or explain its keys",
        description="Prints a config that comes with lstm_jax (as it stands), a file "
        "or the defaults of a task (with every key). Without a name, lists the names. "
        "Start with: lstm-jax config quickstart > my.toml",
    )
    command.add_argument(
        "source", nargs="?", help="a config that comes with lstm_jax, a file, or a task"
    )
    add_overrides(command)
    command.add_argument(
        "--schema",
        action="store_true",
        help="type, default and meaning of every key, or of those that are named, such "
        "as model.hidden_size",
    )
    command.set_defaults(command=config)


def config(args) -> int:
    """The command."""
    if args.schema:
        tasks = [_task_of(args.source)] if args.source else TASKS
        for n, task in enumerate(tasks):
            print("\n" * bool(n), end="")
            lines = schema(find_task(task)[0])
            print(*(_only(lines, args.overrides, task) or lines), sep="\n")
    elif args.source is None:
        raise ConfigError(
            f"name a config that comes with lstm_jax ({', '.join(shipped())}), a TOML "
            f"file, or a task ({', '.join(TASKS)}); or explain all keys with --schema."
        )
    elif args.source in TASKS:
        print(dump(read_config({"task": args.source}, args.overrides)), end="")
    elif config_path(args.source) == shipped().get(args.source) and not args.overrides:
        print(config_path(args.source).read_text(encoding="utf-8"), end="")
    else:
        print(dump(read_config(read_named(args.source), args.overrides)), end="")
    return 0


def _only(lines, keys, task):
    """The lines of some keys or sections.

    Raises:
        ConfigError: the task does not have one of them.
    """
    found = []
    name = lambda line: line.removeprefix("# ").partition(" =")[0]
    for key in keys:
        chosen = [
            n
            for n, line in enumerate(lines)
            if name(line) == key or name(line).startswith(f"{key}.")
        ]
        if not chosen:
            known = {name(line) for line in lines if line[:1].strip()}
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out to see all."
            raise ConfigError(f"the task {task} has no key {key}; {hint}")
        found += [line for n in chosen for line in lines[n : n + 2]]
    return found


def _task_of(source):
    """``source`` names a task, or a config that does."""
    known = source in TASKS or not (source.endswith(".toml") or source in shipped())
    return source if known else read_named(source).get("task")


def schema(kind: Any, prefix: str = "", shown: Collection[str] = ()) -> list[str]:
    """Every key of a config dataclass: its type, its default and its meaning.

    Args:
        kind: the config dataclass.
        prefix: the path of its section, with a dot behind it.
        shown: sections in it that are left out, since another kind has shown them.
    """
    lines, sections = [], []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        default = kind.__pydantic_fields__[field.name].default
        if options := kinds_of(inner):
            if field.name in shown:
                continue
            # Only one kind at a time: the others are comments.
            shown = set()
            for option in options.values():
                mark = "" if isinstance(default, option) else "# "
                keys = schema(option, f"{prefix}{field.name}.", shown)
                shown |= set(typing.get_type_hints(option))
                sections += ["", *(_commented(line, mark) for line in keys)]
            continue
        key, kind_of = f"{prefix}{field.name}", _name(inner)
        if default is None:
            lines.append(f"# {key} =  ({kind_of}, unset)")
        else:
            lines.append(f"{key} = {dump_value(default)}  ({kind_of})")
        lines.append(f"    {_meaning(kind, field.name)}")
    return lines + sections


def _commented(line, mark):
    is_key = line and not line.startswith(("    ", "# "))
    return mark + line if is_key else line


def _meaning(kind, name):
    """The docstring under a field, in the class that has it or in one it inherits; of
    a ``kind`` without its own, that of the class."""
    if name == "kind" and not kind.__pydantic_fields__[name].description:
        return " ".join(kind.__doc__.split())
    for base in kind.__mro__:
        field = vars(base).get("__pydantic_fields__", {}).get(name)
        if field is not None and field.description:
            return " ".join(field.description.split())
    return ""


def dump_value(value: Any) -> str:
    """A value as it stands in a file, on one line."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(dump_value, value))}]"
    (line,) = dump(dataclasses.make_dataclass("One", ["value"])(value)).splitlines()
    return line.partition(" = ")[2]


def _name(kind):
    """A type in the words of someone who writes TOML."""
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(f'"{choice}"' for choice in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = (k for k in typing.get_args(kind) if k is not types.NoneType)
        return " | ".join(map(_name, kinds))
    if typing.get_origin(kind) is typing.Annotated:
        return _name(typing.get_args(kind)[0])
    if typing.get_origin(kind) is tuple:
        return f"list of {_name(typing.get_args(kind)[0])}s"
    names = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return names[kind]
