"""The configuration: one TOML file, read by the daemon, the gateway and the operator's commands.

`settings` is the reference: a field's name (with `-` for `_`) is its key, its default the key's
default, the text below it the key's meaning.  `reading` makes those values of a file and reports
every mistake at once.
"""

from shim.config.reading import build, load, parse
from shim.config.reference import Key, reference
from shim.config.settings import (
    DEFAULT_DOMAIN,
    Config,
    Deadlines,
    Domain,
    Evaluation,
    Gateway,
    Limits,
    Metrics,
    NixStore,
    Peer,
    Policy,
    Rule,
    TableSource,
    Uploads,
)

__all__ = [
    "DEFAULT_DOMAIN",
    "Config",
    "Deadlines",
    "Domain",
    "Evaluation",
    "Gateway",
    "Key",
    "Limits",
    "Metrics",
    "NixStore",
    "Peer",
    "Policy",
    "Rule",
    "TableSource",
    "Uploads",
    "build",
    "load",
    "parse",
    "reference",
]
