"""How the build of a derivation ended, with the numbers of the wire but not its layout.

Checked against Nix's `BuildResult` of 2.8, 2.34 and 2.35.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from protocol.store.realisation import Realisation, UnkeyedRealisation


class BuildStatus(IntEnum):
    """The outcome; the values are the numbers on the wire."""

    BUILT = 0
    SUBSTITUTED = 1
    ALREADY_VALID = 2
    PERMANENT_FAILURE = 3
    INPUT_REJECTED = 4
    OUTPUT_REJECTED = 5
    """Also a fixed output with another hash than stated."""
    TRANSIENT_FAILURE = 6
    CACHED_FAILURE = 7
    """Written by no Nix in use."""
    TIMED_OUT = 8
    MISC_FAILURE = 9
    DEPENDENCY_FAILED = 10
    LOG_LIMIT_EXCEEDED = 11
    NOT_DETERMINISTIC = 12
    RESOLVES_TO_ALREADY_VALID = 13
    """Since 2.6; clients up to 2.5 take it for a failure."""
    NO_SUBSTITUTERS = 14
    """Since 2.8."""

    @property
    def is_success(self) -> bool:
        """Whether the outputs are valid now."""
        return self in _SUCCESSES


_SUCCESSES: Final = frozenset(
    {
        BuildStatus.BUILT,
        BuildStatus.SUBSTITUTED,
        BuildStatus.ALREADY_VALID,
        BuildStatus.RESOLVES_TO_ALREADY_VALID,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The outcome of one derivation."""

    status: BuildStatus
    error_message: str = ""
    times_built: int = 0
    is_non_deterministic: bool = False
    start_time: int = 0
    """Seconds since 1970, 0 where unknown."""
    stop_time: int = 0
    cpu_user: int | None = None
    """Microseconds of processor time."""
    cpu_system: int | None = None
    built_outputs: Mapping[str, Realisation | UnkeyedRealisation] = field(default_factory=dict)
    """By output name; with the old kind of identity where the peer sent JSON.  Empty on failure."""

    @property
    def is_success(self) -> bool:
        """Whether the outputs are valid now."""
        return self.status.is_success
