"""Values that only this protocol has.  Lays out nothing: that is `protocol.serve.results`."""

from dataclasses import dataclass
from typing import Final

from protocol.errors import LocalProtocolError
from protocol.store.build_result import BuildStatus
from protocol.version import Number

NEWEST: Final = Number(2, 8)
OLDEST: Final = Number(2, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Limits and wishes that come with every build.

    Checked against Nix's `ServeProto::BuildOptions`.
    """

    max_silent_time: int = 0
    """Seconds without output; 0 for no limit."""
    build_timeout: int = 0
    """Seconds; 0 for no limit."""
    max_log_size: int = 0
    """Bytes; 0 for no limit.  Since 2.2."""
    nr_repeats: int = 0
    """Further builds to compare with.  Since 2.3; servers since Nix 2.13 refuse all but 0."""
    enforce_determinism: bool = False
    """Since 2.3; clients up to Nix 2.12 send true, later ones false, no server since 2.13 asks."""
    keep_failed: bool = False
    """Whether the build directory stays after a failure.  Since 2.7."""


@dataclass(frozen=True, slots=True)
class BuildPathsResult:
    """The answer to `BuildPaths`: 0, or another number and a message.

    Servers of Nix send the *exit status* of `nix-store`: 1, or 100 and flags.  Clients read the
    number as a `BuildStatus`: they take 1, 2 and 13 for success and leave the message unread in
    the stream, and since Nix 2.34 they refuse numbers above 14.  `failed` makes only results that
    every client understands.
    """

    status: int = 0
    message: str = ""

    @property
    def is_success(self) -> bool:
        """Whether a server of Nix means that everything was built."""
        return self.status == 0

    @classmethod
    def failed(
        cls, message: str, status: BuildStatus = BuildStatus.MISC_FAILURE
    ) -> "BuildPathsResult":
        """A failure that clients of all versions take for one.

        Raises:
            LocalProtocolError: `status` is a success, or one that old clients do not know.
        """
        if status.is_success or status > BuildStatus.NOT_DETERMINISTIC:
            raise LocalProtocolError(f"clients do not take `{status.name}` for a failure")
        return cls(int(status), message)
