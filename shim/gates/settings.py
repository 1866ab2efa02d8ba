"""How strict and how patient the gates are: severity overrides per package, and limits."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from shim.gates.rules import Override
from shim.gates.shipped import SHIPPED


class LimitError(Exception):
    """A result that the limits do not allow to look at any further."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the gates look before they give up; giving up is a finding that rejects.

    Attributes:
        depth: containers within containers.
        member: bytes of one uncompressed member.
        total: bytes of all uncompressed members of one result.
        ratio: uncompressed bytes for each compressed one, beyond the first `free` bytes.
        free: bytes a member may have whatever its ratio.
        entries: directory entries and members of one result.
        memory: bytes of a member held in memory; larger ones go to a file in `scratch`.
        lookups: files looked for while following paths of links, libraries and interpreters.
        findings: findings kept for each rule; more are counted.
    """

    depth: int = 8
    member: int = 4 << 30
    total: int = 16 << 30
    ratio: int = 2000
    free: int = 64 << 20
    entries: int = 2_000_000
    memory: int = 8 << 20
    lookups: int = 4_000_000
    findings: int = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a configuration can say about the gates.

    Attributes:
        overrides: the last one that applies decides; those that ship with us come first.
        limits: see `Limits`.
        scratch: directory for large uncompressed members; the system's own when absent.
    """

    overrides: tuple[Override, ...] = SHIPPED
    limits: Limits = Limits()
    scratch: Path | None = None

    def with_overrides(self, more: Iterable[Override]) -> "Settings":
        """These settings with further overrides, which win over the earlier ones."""
        return replace(self, overrides=(*self.overrides, *more))
