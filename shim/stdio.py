"""`nix-shim stdio`: join standard input and output to the daemon's socket.

This is what a board's SSH session runs, once per connection, so it imports little and starts in
tens of milliseconds.  It knows nothing of the protocol; it says who the peer is and moves bytes.
Standard error stays silent once the daemon is reached: before a build is accepted Nix clients read
lines of it as commands (`# accept`), see `nix::HookInstance`.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from shim.preamble import BadPreamble, Preamble

DEFAULT_SOCKET: Final = "/run/nix-shim/socket"
DEFAULT_PEER: Final = "board"
CHUNK: Final = 1 << 18
CONNECT_DEADLINE: Final = 10.0
"""Seconds to wait for the daemon to accept; a daemon that is up accepts at once."""

USAGE: Final = """\
Usage: nix-shim stdio [--socket PATH] [--peer NAME] [NIX-DAEMON OPTION]...

Join standard input and output to the socket of `nix-shim serve`, on behalf of the peer NAME
(default: `board`).  The socket is --socket, else $NIX_SHIM_SOCKET, else
/run/nix-shim/socket.  Options of nix-daemon that Nix clients append (`--stdio`,
`--store URI`) are accepted and have no effect, so this can be the program of
`ssh-ng://HOST?remote-program=...` or a forced command.
"""

IGNORED: Final = {"--stdio": 0, "--store": 1, "--force-trusted": 0, "--default-trust": 0}
"""Options of `nix-daemon` that clients send -> how many words belong to each."""


def fail(message: str, code: int) -> NoReturn:
    """Say why there will be no session, and leave."""
    sys.stderr.write(f"nix-shim stdio: {message}\n")
    sys.exit(code)


def options(arguments: Sequence[str]) -> tuple[str, Preamble]:
    """The socket path and the peer that `arguments` name; leaves with a message if they are bad."""
    path = os.environ.get("NIX_SHIM_SOCKET", DEFAULT_SOCKET)
    peer = DEFAULT_PEER
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if option in {"-h", "--help"}:
            sys.stdout.write(USAGE)
            sys.exit(0)
        if option in {"--socket", "--peer"} and rest:
            if option == "--socket":
                path = rest.pop(0)
            else:
                peer = rest.pop(0)
        elif option in IGNORED:
            del rest[: IGNORED[option]]
        else:
            fail(f"unexpected argument `{option}`; see `nix-shim stdio --help`", 2)
    try:
        return path, Preamble(peer)
    except BadPreamble as error:
        fail(str(error), 2)


def copy(read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
    """Move bytes until the reader ends or either side is gone."""
    try:
        while data := read(CHUNK):
            write(data)
    except OSError:
        return


def write_fully(descriptor: int) -> Callable[[bytes], None]:
    """A writer to `descriptor` that returns when everything is written."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    return write


def main(arguments: Sequence[str]) -> int:
    """Relay until the daemon closes the session; the exit code is 0 then."""
    path, preamble = options(arguments)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_DEADLINE)
    try:
        connection.connect(path)
        connection.sendall(preamble.render())
    except OSError as error:
        fail(
            f"cannot reach the daemon at `{path}`: {error.strerror or error};"
            " is `nix-shim serve` running?",
            69,
        )
    connection.settimeout(None)

    def upstream() -> None:
        copy(lambda size: os.read(0, size), connection.sendall)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return

    # A thread per direction: neither can hold up the other, and the process ends with the daemon's.
    threading.Thread(target=upstream, daemon=True).start()
    copy(connection.recv, write_fully(1))
    os._exit(0)  # the other thread may be inside a read that nothing will end
