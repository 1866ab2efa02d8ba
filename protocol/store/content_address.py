"""Content addresses: how an object was hashed, and to what.  Computes nothing itself.

| method | `render` | in `AddToStore` (`render_method`) | in a derivation (`prefix` + algorithm) |
|---|---|---|---|
| text | `text:sha256:<nix32>` | `text:sha256` | `text:sha256` |
| flat | `fixed:<algorithm>:<nix32>` | `fixed:<algorithm>` | `<algorithm>` |
| nar | `fixed:r:<algorithm>:<nix32>` | `fixed:r:<algorithm>` | `r:<algorithm>` |
| git | `fixed:git:<algorithm>:<nix32>` | `fixed:git:<algorithm>` | `git:<algorithm>` |

Nix writes nix32 and reads base 16 and base 64 as well.  Checked against `ContentAddress::parse`,
`ContentAddressMethod::renderWithAlgo`, `ContentAddressMethod::parsePrefix`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.store.hash import Hash, HashAlgorithm


class BadContentAddress(RemoteProtocolError):
    """A text that is no content address."""


class Method(StrEnum):
    """What bytes are hashed; the values are the names that Nix's JSON uses."""

    TEXT = "text"
    """The contents of one file, with references allowed: `builtins.toFile` and `.drv` files."""
    FLAT = "flat"
    """The contents of one file."""
    NAR = "nar"
    """The NAR of any tree ("recursive")."""
    GIT = "git"
    """The tree as git hashes it (experimental)."""

    @property
    def prefix(self) -> str:
        """What precedes the algorithm in a derivation's output."""
        return _PREFIXES[self]


_PREFIXES: Final = {Method.TEXT: "text:", Method.FLAT: "", Method.NAR: "r:", Method.GIT: "git:"}


@dataclass(frozen=True, slots=True)
class ContentAddress:
    """A method and the hash it gave."""

    method: Method
    hash: Hash

    def __post_init__(self) -> None:
        if self.method is Method.TEXT and self.hash.algorithm is not HashAlgorithm.SHA256:
            raise BadContentAddress(f"a text is addressed by sha256, not by {self.hash.algorithm}")

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """The spelling of path infos, `fixed:r:sha256:<nix32>`."""
        return f"{render_method(self.method, self.hash.algorithm)}:{self.hash.nix32()}"

    @classmethod
    def parse(cls, text: str) -> "ContentAddress":
        """Read the spelling of path infos.

        Raises:
            BadContentAddress: unknown method or algorithm, or no hash.
        """
        method_and_algorithm, _, digest = text.rpartition(":")
        method, algorithm = parse_method(method_and_algorithm)
        return cls(method, Hash.parse(digest, algorithm))


def render_method(method: Method, algorithm: HashAlgorithm) -> str:
    """The spelling of an `AddToStore` request, `fixed:r:sha256`."""
    return f"{'' if method is Method.TEXT else 'fixed:'}{method.prefix}{algorithm}"


def parse_method(text: str) -> tuple[Method, HashAlgorithm]:
    """Read the spelling of an `AddToStore` request.

    Raises:
        BadContentAddress: neither `text:` nor `fixed:` comes first, or the rest is unknown.
    """
    head, _, rest = text.partition(":")
    if head == "text":
        return _checked(Method.TEXT, rest, text)
    if head == "fixed":
        method, algorithm = parse_output_method(rest)
        if method is not Method.TEXT:
            return method, algorithm
    raise BadContentAddress(f"neither `text:` nor `fixed:` and a method: `{text}`")


def parse_output_method(text: str) -> tuple[Method, HashAlgorithm]:
    """Read the spelling of a derivation's output, `r:sha256`.

    Raises:
        BadContentAddress: the method or the algorithm is unknown.
    """
    prefix, separator, algorithm = text.rpartition(":")
    for method, spelled in _PREFIXES.items():
        if prefix + separator == spelled:
            return _checked(method, algorithm, text)
    raise BadContentAddress(f"unknown method of content addressing: `{text}`")


def _checked(method: Method, algorithm: str, whole: str) -> tuple[Method, HashAlgorithm]:
    try:
        parsed = HashAlgorithm(algorithm)
    except ValueError:
        raise BadContentAddress(f"unknown hash algorithm: `{whole}`") from None
    if method is Method.TEXT and parsed is not HashAlgorithm.SHA256:
        raise BadContentAddress(f"a text is addressed by sha256: `{whole}`")
    return method, parsed
