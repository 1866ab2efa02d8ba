"""What a client asks to have built: store paths, and outputs of derivations.

| meaning | text below worker 1.30 (`legacy`) | since 1.30 |
|---|---|---|
| a path, substituted if missing | `<path>` | `<path>` |
| a `.drv` file itself | not possible | `<path>.drv` |
| all outputs | `<path>.drv` | `<path>.drv!*` |
| some outputs | `<path>.drv!a,b` | `<path>.drv!a,b` |
| an output of an output (experimental) | not possible | `<path>.drv!out!bin` |

A bare `.drv` means different things on either side of 1.30.  Names of outputs ascend when written
and are read in any order.  Checked against Nix's `DerivedPath::toStringLegacy`, `parseLegacy` and
`StorePathWithOutputs`.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.store.path import STORE_DIR, StorePath, check_name

ALL_OUTPUTS: Final = frozenset({"*"})
"""Stands for every output; `*` is not a possible name of one."""

MAX_DEPTH: Final = 8
"""Levels of outputs of outputs.  Nix's own text for more than one does not work."""


class BadDerivedPath(RemoteProtocolError):
    """A text that asks for nothing that can be built."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A store path as it is."""

    path: StorePath

    def render(self, *, legacy: bool = False) -> str:
        """The text on the wire.

        Raises:
            LocalProtocolError: a `.drv` file itself, which `legacy` peers cannot be asked for.
        """
        if legacy and self.path.is_derivation:
            raise LocalProtocolError(
                f"a peer below worker protocol 1.30 cannot be asked for the file `{self.path}`"
            )
        return self.path


@dataclass(frozen=True, slots=True)
class SingleBuilt:
    """One output of a derivation, itself used as a derivation."""

    derivation: "SingleDerivedPath"
    output: str


SingleDerivedPath: TypeAlias = StorePath | SingleBuilt
"""A `.drv` file that is there, or that has to be built first."""


@dataclass(frozen=True, slots=True)
class Built:
    """Some or all outputs of a derivation."""

    derivation: SingleDerivedPath
    outputs: frozenset[str]
    """Names, or `ALL_OUTPUTS`."""

    def render(self, *, legacy: bool = False) -> str:
        """The text on the wire.

        Raises:
            LocalProtocolError: an output of an output, which `legacy` peers do not know.
        """
        if legacy and isinstance(self.derivation, SingleBuilt):
            raise LocalProtocolError(
                "a peer below worker protocol 1.30 cannot be asked for an output of an output"
            )
        derivation = _render_single(self.derivation)
        if legacy and self.outputs == ALL_OUTPUTS:
            return derivation
        return f"{derivation}!{','.join(sorted(self.outputs))}"


DerivedPath: TypeAlias = Opaque | Built
"""All that can be asked for."""


def parse_derived_path(
    text: str, store_dir: str = STORE_DIR, *, legacy: bool = False
) -> DerivedPath:
    """Read the text of a request.

    Args:
        text: one row of the table above.
        store_dir: where its path has to lie.
        legacy: whether the peer speaks a worker protocol below 1.30.

    Raises:
        RemoteProtocolError: a bad store path or name of an output, or too many levels.
    """
    head, separator, outputs = text.rpartition("!")
    if not separator:
        path = StorePath.parse(text, store_dir)
        return Built(path, ALL_OUTPUTS) if legacy and path.is_derivation else Opaque(path)
    if head.count("!") > (0 if legacy else MAX_DEPTH):
        raise BadDerivedPath(f"too many levels of outputs of outputs: `{text}`")
    names = frozenset(outputs.split(","))
    if names != ALL_OUTPUTS:
        for name in names:
            check_name(name)
    return Built(_parse_single(head, store_dir), names)


def _parse_single(text: str, store_dir: str) -> SingleDerivedPath:
    head, separator, output = text.rpartition("!")
    if separator:
        return SingleBuilt(_parse_single(head, store_dir), check_name(output))
    path = StorePath.parse(text, store_dir)
    if not path.is_derivation:
        raise BadDerivedPath(f"only a derivation has outputs: `{text}`")
    return path


def _render_single(derivation: SingleDerivedPath) -> str:
    match derivation:
        case SingleBuilt(inner, output):
            return f"{_render_single(inner)}!{output}"
        case StorePath():
            return derivation
