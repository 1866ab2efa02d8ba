"""The daemon's configuration: TOML in, frozen values out, every mistake reported at once.

The dataclasses below are the reference: a field's name (with `-` for `_`) is its key, its default
the key's default, the text below it the key's meaning.  Nothing else reads the file.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from shim.equivalence.grades import DifferenceClass, Grade
from shim.errors import ExitCode, ShimError
from shim.gates.settings import Settings
from shim.systems import SYSTEMS, Systems


@dataclass(frozen=True, slots=True)
class NixStore:
    """A store and the nix-daemon that owns it: one that runs already, or one that we start."""

    root: Path
    """Physical root: the files of `/nix/store/x` lie at `ROOT/nix/store/x`; `/` for the host's."""
    socket: Path | None = None
    """Socket of the nix-daemon; required when `start` is false."""
    start: bool = True
    """Start and supervise a nix-daemon for this root ourselves."""
    program: str = "nix-daemon"
    """The nix-daemon to start."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further nix.conf settings for the nix-daemon that we start; they win over ours."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Where cross derivations, and the x86_64 tools they name, come from."""

    root: Path = Path("/")
    """Physical root of the store that holds the .drv closures named by the tables."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may stand in for a native build."""

    cross: bool = False
    """Allow cross-compiled outputs at native paths.  The opt-in: off unless said."""
    emulate: bool = True
    """Allow running the native derivation under an emulator."""
    least_grade: Grade = Grade.CHECKED
    """Least grade of a table entry that is used: declared, checked, verified or identical."""
    worst_difference: DifferenceClass = DifferenceClass.NOTABLE
    """Worst class of difference between two recipes that is accepted."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for which we wait for a peer; one that stays silent longer is given up."""

    handshake: float = 30
    """From a client's connection to the end of its handshake."""
    connect: float = 30
    """For a nix-daemon of ours to accept and answer the handshake."""
    transfer: float = 900
    """Without a byte of progress, while a request, a body or a reply is under way."""
    reply: float = 7200
    """For a nix-daemon's answer to an operation that builds nothing (verifying takes long)."""
    build_silence: float = 14400
    """For the next line of a build's log, or its end."""
    idle: float = 604800
    """Between two requests of one client; a client that builds locally holds its connection."""
    shutdown: float = 20
    """For running sessions to end after SIGTERM, and for our nix-daemons to exit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done, and held, at once."""

    builds: int = 4
    """Foreign builds that run at the same time."""
    sessions: int = 400
    """Connections of clients; further ones are closed at once."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table that is made anew when one of its peers asks for what it does not know."""

    scan: tuple[str, ...]
    """Arguments of `nix-shim table scan`, without `--output`."""
    peers: tuple[str, ...] = ()
    """Peers whose unknown derivations cause a scan; none: all peers."""
    interval: float = 900
    """Least seconds from the start of one scan to the start of the next."""
    timeout: float = 3600
    """Seconds that a scan may take."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    serving: NixStore
    """The store that boards see."""
    plant: NixStore
    """The store in which planted builds happen; nobody else may use it."""
    socket: Path = Path("/run/nix-shim/socket")
    """Where the daemon listens."""
    socket_mode: int = 0o666
    """Permissions of the socket; who may do what is decided by credentials and policy."""
    state_directory: Path = Path("/var/lib/nix-shim")
    """What the daemon remembers between runs."""
    store_dir: str = "/nix/store"
    """The logical store directory; boards, serving store and plant store must agree on it."""
    systems: tuple[str, ...] = ("aarch64-linux",)
    """Systems whose builds we judge; builds for other systems are relayed untouched."""
    tables: tuple[Path, ...] = ()
    """Equivalence tables, the first that knows a derivation wins."""
    sources: Mapping[str, TableSource] = field(default_factory=dict)
    """Tables that we make ourselves, by name; they come after `tables`.  They and what keeps their
    derivations from the garbage collector are below `tables` in the state directory."""
    platforms: Systems = field(default_factory=lambda: SYSTEMS)
    """Further systems, or other facts about known ones: Nix system -> fields of
    `shim.systems.System`, and under `elf` those of `ElfIdentity`; laid over those we know."""
    key_directory: Path | None = None
    """Keys that sign planted outputs, one per grade (`nix-shim keys`); by default `keys` in the
    state directory, made at the first start."""
    key_name: str = "nix-shim"
    """How keys made at the first start are called; name the host, so that boards can tell."""
    trust_boards: bool = False
    """Answer the handshake with `trusted`: clients then send flat derivations, without graphs."""
    operators: tuple[int, ...] = (0,)
    """User ids whose direct connections are relayed as a trusted user's."""
    preamble_users: tuple[int, ...] = (0,)
    """User ids that may say on whose behalf they connect (`nix-shim stdio`, the gateway)."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    policy: Policy = field(default_factory=Policy)
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    gates: Settings = field(default_factory=Settings)
    """How strict and how patient the gates are: `overrides`, `limits`, `scratch`; docs/gates.md."""

    def table_of(self, source: str) -> Path:
        """Where the table of one of `sources` lies; before its first scan it does not exist."""
        return self.state_directory / "tables" / f"{source}.table"


SOURCE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names of sources are names of files."""


def _key(name: str) -> str:
    return name.replace("_", "-")


def _named(kind: type[Grade] | type[DifferenceClass], text: object) -> Any:
    choices = {member.name.lower(): member for member in kind}
    if not isinstance(text, str) or text not in choices:
        raise ValueError(f"`{text}` is none of {', '.join(choices)}")
    return choices[text]


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
    for section in (NixStore, Evaluation, Policy, Deadlines, Limits, TableSource, Config):
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
    for name, store in (("serving", config.serving), ("plant", config.plant)):
        if not store.start and store.socket is None:
            found.append(f"{name}.socket: required when {name}.start is false")
    if config.serving.root == config.plant.root:
        found.append(
            f"plant.root: `{config.plant.root}` is the serving store's; plants need their own"
        )
    if config.gates.scratch is not None and not config.gates.scratch.is_absolute():
        found.append(f"gates.scratch: `{config.gates.scratch}` is no absolute path")
    if not config.store_dir.startswith("/"):
        found.append(f"store-dir: `{config.store_dir}` is no absolute path")
    found += [
        f"sources.{name}: not a name of letters, digits, `-` and `_`"
        for name in config.sources
        if SOURCE_NAME.fullmatch(name) is None
    ]
    if config.policy.cross and not config.tables and not config.sources:
        found.append("tables: policy.cross is on but no table is named; see `nix-shim table`")
    return found


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


def reference() -> list[tuple[str, str, str]]:
    """Every key with its type and default, for the documentation: (key, type, default)."""
    rows: list[tuple[str, str, str]] = []

    def walk(kind: type, prefix: str) -> None:
        hints = get_type_hints(kind)
        for each in fields(kind):
            hint = hints[each.name]
            if is_dataclass(hint) and isinstance(hint, type):
                walk(hint, f"{prefix}{_key(each.name)}.")
            else:
                shown = getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
                default = "those that ship with us" if each.name == "overrides" else each.default
                rows.append((f"{prefix}{_key(each.name)}", shown, str(default)))

    walk(Config, "")
    return rows
