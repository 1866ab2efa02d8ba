"""Who broke a rule of the protocol, and where in the value it happened.

Two kinds only: ours (a bug: let it crash) and the peer's (the session ends).  A daemon's "no" is an
answer, not an exception, and lives in `protocol.worker.stderr`.
"""

from collections.abc import Generator
from contextlib import contextmanager


class ProtocolError(Exception):
    """A broken rule.  `path` names the field from the outermost value inwards."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Read `BuildDerivation.derivation.outputs.out: bad digest`."""
        if not self.path:
            return self.message
        return f"{'.'.join(self.path).replace('.[', '[')}: {self.message}"


class LocalProtocolError(ProtocolError):
    """Our own code asked for something the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer, or a file, broke a rule of its format."""


class LimitExceeded(RemoteProtocolError):
    """Well-formed so far, but more than we agreed to hold (`protocol.limits`)."""


class UnknownOperation(RemoteProtocolError):
    """An operation number that the negotiated version does not have."""


@contextmanager
def inside(name: str) -> Generator[None, None, None]:
    """Prefix the path of any protocol error raised within by `name`."""
    try:
        yield
    except ProtocolError as error:
        error.path = (name, *error.path)
        raise
