"""TOML in, a `Config` out, every mistake reported at once with its key."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import cattrs
from cattrs.gen import make_dict_structure_fn, override

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
from shim.equivalence.grades import DifferenceClass, Grade
from shim.errors import ExitCode, ShimError
from shim.gates.settings import Settings
from shim.preamble import is_name
from shim.systems import SYSTEMS, Systems

SECTIONS: Final = (
    *(NixStore, Domain, Evaluation, Policy, Rule, Peer, Gateway, Metrics, Deadlines, Limits),
    *(TableSource, Config),
)

SOURCE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names of sources and domains are names of files."""


def _key(name: str) -> str:
    return name.replace("_", "-")


def _named(kind: type[Grade] | type[DifferenceClass], text: object) -> Any:
    choices = {member.name.lower(): member for member in kind}
    if not isinstance(text, str) or text not in choices:
        raise ValueError(f"`{text}` is none of {', '.join(choices)}")
    return choices[text]


def _uploads(value: object, _: object) -> Uploads:
    if not isinstance(value, str) or value not in list(Uploads):
        raise ValueError(f"`{value}` is none of {', '.join(Uploads)}")
    return Uploads(value)


def _number(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"`{value}` is no positive number of seconds")
    return float(value)


def _strict(value: object, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"`{value}` is no {kind.__name__}")
    return value


def _gates(value: object, _: object) -> Settings:
    if not isinstance(value, dict):
        raise TypeError(f"`{value}` is no table")
    return Settings.from_table(value)


def _path(value: object, _: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"`{value}` is no absolute path")
    return Path(value)


def _platforms(value: object, _: object) -> Systems:
    """The known systems under those of the file, whose fields have `-` where ours have `_`."""

    def fields_of(row: object) -> Any:
        if not isinstance(row, dict):
            return row
        return {key.replace("-", "_"): fields_of(each) for key, each in row.items()}

    if not isinstance(value, dict) or not all(isinstance(row, dict) for row in value.values()):
        raise TypeError(f"`{value}` is no table of tables")
    return SYSTEMS.extended({nix: fields_of(row) for nix, row in value.items()})


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Systems, _platforms)
    converter.register_structure_hook(Settings, _gates)
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, lambda value, _, kind=plain: _strict(value, kind))
    for enum in (Grade, DifferenceClass):
        converter.register_structure_hook(enum, lambda value, kind: _named(kind, value))
    converter.register_structure_hook(Uploads, _uploads)
    for section in SECTIONS:
        converter.register_structure_hook(
            section,
            make_dict_structure_fn(
                section,
                converter,
                _cattrs_forbid_extra_keys=True,
                **{  # type: ignore[arg-type] # the overrides are keyed by field name
                    each.name: override(rename=_key(each.name)) for each in fields(section)
                },
            ),
        )
    return converter


CONVERTER: Final = _converter()


def _check(config: Config) -> list[str]:
    """What is well-formed but cannot work, each with its key."""
    found = []
    roots: dict[Path, str] = {}
    for domain, stores in config.all_domains().items():
        prefix = "" if domain == DEFAULT_DOMAIN else f"domains.{domain}."
        for kind, store in (("serving", stores.serving), ("plant", stores.plant)):
            if store is None:
                continue
            key = prefix + kind
            if not store.start and store.socket is None:
                found.append(f"{key}.socket: required when {key}.start is false")
            if (other := roots.setdefault(store.root, key)) != key:
                found.append(f"{key}.root: `{store.root}` is that of {other}; each needs its own")
        if stores.plant is None and _allows_cross(config):
            found.append(f"{prefix}plant: required where a policy allows cross")
    found += [
        f"domains.{name}: not a name of letters, digits, `-` and `_`, or `{DEFAULT_DOMAIN}`"
        for name in config.domains
        if SOURCE_NAME.fullmatch(name) is None or name == DEFAULT_DOMAIN
    ]
    found += _check_peers(config)
    found += [
        f"{key}: `{number}` is less than 1"
        for key, number in _counts(config)
        if number is not None and number < 1
    ]
    found += [
        f"{key}: `{port}` is no TCP port"
        for key, port in (
            ("gateway.port", config.gateway.port),
            ("metrics.port", config.metrics.port),
        )
        if not 0 < port < 1 << 16
    ]
    if config.gates.scratch is not None and not config.gates.scratch.is_absolute():
        found.append(f"gates.scratch: `{config.gates.scratch}` is no absolute path")
    if not config.store_dir.startswith("/"):
        found.append(f"store-dir: `{config.store_dir}` is no absolute path")
    found += [
        f"sources.{name}: not a name of letters, digits, `-` and `_`"
        for name in config.sources
        if SOURCE_NAME.fullmatch(name) is None
    ]
    if _allows_cross(config) and not config.tables and not config.sources:
        found.append("tables: a policy allows cross but no table is named; see `nix-shim table`")
    return found


def _allows_cross(config: Config) -> bool:
    return config.policy.cross or any(rule.cross for rule in config.rules)


def _check_peers(config: Config) -> list[str]:
    found = []
    owners: dict[str, str] = {}
    for name, peer in config.peers.items():
        key = f"peers.{name}"
        if not is_name(name):
            found.append(f"{key}: not a name of letters, digits and `._@+-`, at most 64")
        if peer.domain not in config.all_domains():
            found.append(f"{key}.domain: there is no domain `{peer.domain}`")
        found += [
            f"{key}.systems: `{system}` is not among systems"
            for system in peer.systems
            if system not in config.systems
        ]
        for line in peer.keys:
            public = " ".join(line.split()[:2])
            if (other := owners.setdefault(public, name)) != name:
                found.append(f"{key}.keys: `{public}` is a key of peers.{other}; whose is it?")
    return found


def _counts(config: Config) -> list[tuple[str, int | None]]:
    """Numbers of which none may be 0 or less, with their keys."""
    limits = config.limits
    return [
        ("limits.builds", limits.builds),
        ("limits.cores", limits.cores),
        ("limits.sessions", limits.sessions),
        *((f"limits.by-system.{name}", number) for name, number in limits.by_system.items()),
        *((f"limits.by-strategy.{name}", number) for name, number in limits.by_strategy.items()),
        *((f"peers.{name}.sessions", peer.sessions) for name, peer in config.peers.items()),
        *((f"peers.{name}.builds", peer.builds) for name, peer in config.peers.items()),
        ("gateway.logins", config.gateway.logins),
    ]


def parse(text: str, *, source: str = "configuration") -> Config:
    """Read a configuration from TOML text.

    Args:
        text: the file's contents.
        source: what to call the file in messages.

    Raises:
        ShimError: with one line per mistake, each naming its key.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ShimError(f"{source}: not TOML: {error}", code=ExitCode.CONFIG) from error
    return build(tree, source=source)


def build(tree: object, *, source: str = "configuration") -> Config:
    """A configuration from what a TOML file holds.

    Args:
        tree: tables as dictionaries.
        source: what to call the file in messages.

    Raises:
        ShimError: as `parse`.
    """
    try:
        config = CONVERTER.structure(tree, Config)
    except cattrs.BaseValidationError as error:
        mistakes = cattrs.transform_error(error, path="$", format_exception=_explain)
        raise ShimError(_report(source, mistakes), code=ExitCode.CONFIG) from error
    if mistakes := _check(config):
        raise ShimError(_report(source, mistakes), code=ExitCode.CONFIG)
    return config


def _explain(error: BaseException, kind: type | None) -> str:
    """One mistake in a word: cattrs adds `@ $.section.key`."""
    match error:
        case cattrs.ForbiddenExtraKeysError():
            known = ", ".join(_key(each.name) for each in fields(error.cl))
            return f"unknown key {', '.join(sorted(error.extra_fields))}; known: {known}"
        case KeyError():
            return f"missing key {error.args[0]}"
        case _:
            return str(error) or f"not a {kind}"


def _report(source: str, mistakes: list[str]) -> str:
    lines = []
    for mistake in mistakes:
        what, _, where = mistake.partition(" @ $")
        lines.append(f"{_key(where.lstrip('.')) or 'top level'}: {what}")
    return "\n  ".join([f"{source}:", *lines])


def load(path: Path) -> Config:
    """Read the configuration file.

    Raises:
        ShimError: the file is unreadable, or not a configuration.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ShimError(
            f"cannot read the configuration `{path}`: {error}", code=ExitCode.CONFIG
        ) from error
    return parse(text, source=str(path))
