"""One TOML file a run, read into validated, frozen dataclasses.

A config dataclass stands beside what it builds and is marked with `config`. On the
command line ``key.path=value`` is merged over the file and validated the same way. The
value of a text key is taken as it stands; any other value is parsed as TOML. An error
names the key by its path, what was given and what is valid.

A section of several kinds is a union of config dataclasses, each with a literal
``kind``, and ``Field(discriminator="kind")``: every kind has keys of its own. With
`kind_or` a section without a ``kind`` has a default one. TOML has no null: a key marked
with `NONE` takes "none" instead.

    keys.py        config dataclasses and the types of their keys
    toml.py        files, read and written
    overrides.py   values of the command line over those of a file
    validate.py    values to a dataclass, and what two configs differ in
    messages.py    what is wrong with a config
"""

from lstm_jax.config.keys import (
    NONE,
    ConfigError,
    Count,
    Depth,
    PathText,
    Weight,
    config,
    expand_home,
    kind_or,
    kinds_of,
)
from lstm_jax.config.messages import keys_named
from lstm_jax.config.overrides import override
from lstm_jax.config.toml import CONFIG_BYTES, DEPTH, dump, read
from lstm_jax.config.validate import build, changes, flat

__all__ = [
    "CONFIG_BYTES",
    "DEPTH",
    "NONE",
    "ConfigError",
    "Count",
    "Depth",
    "PathText",
    "Weight",
    "build",
    "changes",
    "config",
    "dump",
    "expand_home",
    "flat",
    "keys_named",
    "kind_or",
    "kinds_of",
    "override",
    "read",
]
