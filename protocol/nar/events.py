"""What a NAR consists of, one value after the other.

    node      = Regular {Data} End | Directory {Entry node} End | Symlink

A NAR is one node.  Names and targets are bytes, as Linux has them.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Regular:
    """A file begins; `size` bytes follow as `Data`, then `End`."""

    executable: bool
    size: int


@dataclass(frozen=True, slots=True)
class Data:
    """Some of a file's contents, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory begins; entries follow, then `End`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The name of the node that follows, in the innermost open directory."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link, complete."""

    target: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The innermost open file or directory is complete."""


Event: TypeAlias = Regular | Data | Directory | Entry | Symlink | End
"""All that can come."""
