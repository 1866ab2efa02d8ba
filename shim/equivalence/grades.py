"""How far a pair is trusted, how far its two recipes differ, and which part it plays.

The orders are the policy's vocabulary: a peer accepts grades from one on upwards and difference
classes up to one.  What leads to a grade or class is decided elsewhere (`differences`, the gates).
"""

from enum import IntEnum, StrEnum


class Grade(IntEnum):
    """The evidence behind a pair; a higher one is trusted more."""

    DECLARED = 1
    """An operator said so."""
    CHECKED = 2
    """Paired by structure; a result also passed every gate."""
    VERIFIED = 3
    """Built both ways, or compared with the binary cache's native output, and found equivalent."""
    IDENTICAL = 4
    """Provable from the derivations: the same output path, or an output fixed by its hash."""


class DifferenceClass(IntEnum):
    """What a difference between two recipes may do to the result; a pair has its worst one."""

    NONE = 0
    """The recipes differ in nothing."""
    BENIGN = 1
    """Platform flags, tool prefixes, checks off: how it is made, not what is made."""
    NOTABLE = 2
    """Could reach the result: preset configure answers, other build tools, unexplained values."""
    SEMANTIC = 3
    """Asks for another result: other features, dependencies, patches, sources or outputs."""


class Role(StrEnum):
    """For which machine, and as what, the cross half of a pair is used."""

    HOST = "host"
    """A library or program for the board: cross outputs are replaced by the native ones."""
    TOOL = "tool"
    """A build tool: the cross half is its build-platform version and runs on the fast machine."""
    TOOLCHAIN = "toolchain"
    """A part of the standard environment: compiler, linker, libc, wrappers, and stdenv itself."""
