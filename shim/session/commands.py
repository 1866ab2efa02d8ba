"""The commands that a peer may run by SSH, as values.  Reads no words and runs nothing.

They are what `nixos-rebuild --build-host`, `nix-copy-closure` and deployment tools run on the far
side, as far as it means something for a store: `nix-store` with some of its operations, `nix build`
of derivations that are there, and the three programs that nixos-rebuild keeps its garbage collector
root with (`mktemp -d`, `readlink -f`, `rm -rf`).  No file of those names exists: a root of a peer
is an entry in a folder of ours, and its name is what the peer called it.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeAlias

from protocol.worker.stderr import Verbosity


class Code(IntEnum):
    """Exit codes of commands; those of failed builds are `nix-store`'s."""

    OK = 0
    FAILED = 1
    BUILD_FAILED = 100
    TIMED_OUT = 101
    HASH_MISMATCH = 102
    NOT_DETERMINISTIC = 104
    NOT_OFFERED = 127
    """As shells say that there is no such program."""


class BadCommand(Exception):
    """Words that are no command of ours: the message is one line for the user."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


def not_offered(what: str) -> BadCommand:
    """What a peer is told that asks for something else."""
    return BadCommand(
        f"nix-shim: `{what}` is not offered here; run it on the builder itself", Code.NOT_OFFERED
    )


def usage(message: str) -> BadCommand:
    """What a peer is told that wrote options which Nix would not take either."""
    return BadCommand(f"error: {message}", Code.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the options that all of Nix's commands share ask for."""

    verbosity: int = Verbosity.INFO
    build_output: bool = True
    """Whether the lines of builders are shown."""
    gc_warning: bool = True
    """Whether a build without a root is warned of."""
    keep_going: bool = False
    keep_failed: bool = False
    max_silent_time: int = 0
    """Seconds; 0 for no limit."""
    timeout: int = 0
    """Seconds; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class Target:
    """A store path, or outputs of a derivation, as the user wrote it."""

    path: str
    outputs: frozenset[str] = frozenset()
    """Names; none for all of a derivation's."""


class Printed(StrEnum):
    """What a build prints on standard output."""

    NOTHING = "nothing"
    ROOTS = "roots"
    """As `nix-store --realise`: the roots it made, else the paths."""
    PATHS = "paths"
    """As `nix build --print-out-paths`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Realise:
    """Build or fetch, and make roots if asked to."""

    targets: tuple[Target, ...]
    settings: Settings = field(default_factory=Settings)
    printed: Printed = Printed.ROOTS
    root: str | None = None
    """Name of the first root."""
    dry_run: bool = False
    check: bool = False
    ignore_unknown: bool = False


class Question(StrEnum):
    """What `nix-store --query` is asked."""

    OUTPUTS = "outputs"
    REQUISITES = "requisites"
    REFERENCES = "references"
    REFERRERS = "referrers"
    REFERRERS_CLOSURE = "referrers-closure"
    DERIVER = "deriver"
    VALID_DERIVERS = "valid-derivers"
    BINDING = "binding"
    HASH = "hash"
    SIZE = "size"
    TREE = "tree"
    RESOLVE = "resolve"
    ROOTS = "roots"
    """Which roots keep a path; of a peer, its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`nix-store --query`."""

    question: Question
    paths: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    use_output: bool = False
    """Of a derivation, ask about its outputs."""
    force_realise: bool = False
    """Build before asking."""
    include_outputs: bool = False
    binding: str = ""
    """Name of the environment variable that is asked for."""


@dataclass(frozen=True, slots=True)
class CheckValidity:
    """`nix-store --check-validity`."""

    paths: tuple[str, ...]
    print_invalid: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """`nix-store --export`."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """`nix-store --import`: an export stream on standard input."""


@dataclass(frozen=True, slots=True)
class Dump:
    """`nix-store --dump` of a store path."""

    path: str


@dataclass(frozen=True, slots=True)
class Version:
    """`--version` of a program of Nix."""

    program: str


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """`mktemp -d`: a name below which roots can be made."""

    template: str


@dataclass(frozen=True, slots=True)
class ReadLink:
    """`readlink -f`: where a root points to."""

    path: str


@dataclass(frozen=True, slots=True)
class RemoveRoots:
    """`rm -rf`: forget the roots of these names, and those below them."""

    paths: tuple[str, ...]


Command: TypeAlias = (
    Realise
    | Query
    | CheckValidity
    | Export
    | Import
    | Dump
    | Version
    | MakeFolder
    | ReadLink
    | RemoveRoots
)
"""All that a peer can run."""
