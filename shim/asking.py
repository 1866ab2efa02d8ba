"""A question to the running daemon, over its socket (`shim.daemon.control`); operators only."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from shim.errors import ExitCode, ShimError
from shim.preamble import Preamble, Speaks

PATIENCE: Final = 60.0
"""Seconds that an answer may take: explaining plans a closure."""


class Ask(Protocol):
    """Asks one question."""

    def __call__(self, **question: str) -> dict[str, Any]:
        """The answer to the question whose fields these are; `ShimError` if it is an error."""


class NotRunning(ShimError):
    """No daemon listens at the socket."""


@contextmanager
def asking(path: Path) -> Iterator[Ask]:
    """A conversation with the daemon at `path`.

    Raises:
        NotRunning: nothing listens there.
        ShimError: it closed without an answer, which it does to those who are no operators.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
            connection.sendall(Preamble("operator", Speaks.CONTROL).render())
        except OSError as error:
            raise NotRunning(
                f"no daemon answers at `{path}`: {error.strerror or error}",
                hint="is nix-shim serve running, and is this its configuration?",
                code=ExitCode.UNAVAILABLE,
            ) from error
        with connection.makefile("rb") as reader:

            def ask(**question: str) -> dict[str, Any]:
                return _ask(connection, reader.readline, question, path)

            yield ask


def _ask(
    connection: socket.socket, read: Any, question: Mapping[str, str], path: Path
) -> dict[str, Any]:
    try:
        connection.sendall(json.dumps(question).encode() + b"\n")
        line = read()
    except ConnectionError:  # closed before it had read the question
        line = b""
    except OSError as error:
        raise ShimError(
            f"the daemon at `{path}` does not answer: {error}", code=ExitCode.UNAVAILABLE
        ) from error
    if not line:
        raise ShimError(
            f"the daemon at `{path}` answers operators only",
            hint="run as root, or as a user of the configuration's operators",
            code=ExitCode.UNAVAILABLE,
        )
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise ShimError(found["error"])
    return found
