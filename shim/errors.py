"""Failures that a user or operator can cause or mend.

One exception carries the sentence, the remedy and the exit code; the command line prints it, the
daemon logs it.  Anything else that escapes is our bug and shows its traceback.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `nix-shim`; the names follow `sysexits.h`."""

    FAILURE = 1
    USAGE = 2
    DATA = 65
    UNAVAILABLE = 69
    CONFIG = 78


class ShimError(Exception):
    """What happened, to which value, and what to do about it."""

    def __init__(self, message: str, *, hint: str = "", code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        """Message and remedy on one line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message
