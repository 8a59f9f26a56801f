"""The build warns of every public name that has no entry in the reference."""

import importlib

from sphinx.util import logging

logger = logging.getLogger(__name__)


def undocumented(modules: list[str], documented: set[str]) -> list[str]:
    """The names in ``__all__`` of ``modules`` that are not among the documented."""
    names = [
        f"{module}.{name}"
        for module in modules
        for name in importlib.import_module(module).__all__
    ]
    return [name for name in names if name not in documented]


def _on_check(app, env):
    documented = {name for name, *_ in env.domains["py"].get_objects()}
    for name in undocumented(app.config.public_modules, documented):
        logger.warning("%s is public, but has no entry in the reference.", name)


def setup(app):
    app.add_config_value("public_modules", [], "env", list)
    app.connect("env-check-consistency", _on_check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
