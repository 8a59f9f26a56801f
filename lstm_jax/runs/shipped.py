"""The configs that come with the package, by name."""

import difflib
import functools
import os
import shlex
from pathlib import Path
from typing import Any

from lstm_jax.config import ConfigError, expand_home, read
from lstm_jax.tasks import TASKS

_PACKAGE = Path(__file__).parent.parent


def shipped_folder() -> Path:
    """Where the shipped configs are: in the installed package, or in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


@functools.cache
def shipped() -> dict[str, Path]:
    """Name to file, such as ``quickstart`` or ``reproduce/awd``."""
    folder = shipped_folder()
    files = sorted(folder.rglob("*.toml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def config_path(named: str) -> Path:
    """The file of a config that a command names: a path, or a shipped config.

    A file that exists goes before a shipped config of the same name.

    Raises:
        ConfigError: there is no such file, and no shipped config has this name; or it
            is a folder.
    """
    try:
        path = expand_home(named)
    except ValueError as error:
        raise ConfigError(f"cannot read config {named}: {error}.") from error
    known = shipped()
    if _is_there(path) and not os.path.isdir(path):
        return Path(path)
    if named in known:
        return known[named]
    if os.path.isdir(path):
        raise ConfigError(f"{named} is a folder, expected a TOML file{_in(path)}.")
    if named in TASKS:
        fit = [name for name in known if read(known[name]).get("task") == named]
        raise ConfigError(
            f"{named} is a task, not a config; name one of the configs of this task "
            f"({', '.join(fit)}), or edit a copy: lstm-jax config {fit[0]} > my.toml"
        )
    stem = Path(named).stem
    same = [name for name in shipped() if name.rpartition("/")[2] == stem]
    near = same or difflib.get_close_matches(named, shipped(), 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(
        f"cannot read config {named}: there is no such file. Name a TOML file, or a "
        f"config that comes with lstm_jax: {', '.join(shipped())}{hint}."
    )


def _in(folder):
    """What to do with a folder that may hold a run."""
    config = Path(folder) / "config.toml"
    if not config.is_file():
        return "; name a file in it"
    command = shlex.join(["lstm-jax", "train", str(config), "--resume"])
    return f" such as {config}; to continue the run in it: {command}"


def _is_there(path):
    """True as well where the system says more of a path than that nothing is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # no permission, too long, or a NUL in it
        return True
    return True


def read_named(named: str) -> dict[str, Any]:
    """The values of the config that a command names; raises as `config_path`."""
    return read(config_path(named))
