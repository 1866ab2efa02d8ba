"""The other end of a session."""

from dataclasses import dataclass

from shim.config import DEFAULT_DOMAIN
from shim.preamble import Speaks
from shim.session.routes import Standing


@dataclass(frozen=True, slots=True)
class Who:
    """The peer or operator for whom a session is, and what its relay said of it."""

    name: str
    standing: Standing
    domain: str = DEFAULT_DOMAIN
    """Whose store it sees."""
    speaks: Speaks = Speaks.WORKER
    arguments: tuple[str, ...] = ()
    """The command, for `Speaks.COMMAND`."""
    tells_endings: bool = False
    """Whether its relay half-closes when it leaves, so that a close tells that it vanished."""
