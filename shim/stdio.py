"""`nix-shim stdio`: join standard input and output to the daemon's socket.

This is what a board's SSH session runs, once per connection, so it imports little and starts in
tens of milliseconds.  It knows nothing of the protocol; it says who the peer is and what will be
spoken, and moves bytes.  Standard error stays silent once the daemon is reached, but for what the
daemon has for it: before a build is accepted Nix clients read lines of it as commands (`# accept`),
see `nix::HookInstance`.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket  # `socket` imports `enum` and more
from _thread import start_new_thread  # `threading` keeps account of threads, which is not needed

from shim.execline import NOT_OFFERED, SERVE, WORKER, Accepted, Refused, parse, session
from shim.preamble import BadPreamble, Preamble, Speaks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

DEFAULT_SOCKET: Final = "/run/nix-shim/socket"
DEFAULT_PEER: Final = "board"
CHUNK: Final = 1 << 17
"""Bytes that are moved at a time at most; a pipe holds half of it."""
CONNECT_DEADLINE: Final = 10.0
"""Seconds to wait for the daemon to accept; a daemon that is up accepts at once."""

UNAVAILABLE: Final = 69
"""Exit code when there is no daemon, or it went away before it said how a command ended."""

USAGE: Final = """\
Usage: nix-shim stdio [--socket PATH] [--peer NAME] [NIX OPTION]...

Join standard input and output to the socket of `nix-shim serve`, on behalf of the peer NAME
(default: `board`).  The socket is --socket, else $NIX_SHIM_SOCKET, else
/run/nix-shim/socket.

As a forced command (`command="nix-shim stdio --peer NAME",restrict` in authorized_keys, or
ForceCommand) it answers what the client asked sshd for: `nix-daemon --stdio` (ssh-ng://),
`nix-store --serve --write` (ssh://) and some of nix-store's commands.  Otherwise the options that
Nix clients append (`--stdio`, `--serve --write`, `--store URI`) say what is spoken, so this can be
the program of `ssh-ng://HOST?remote-program=...` too.
"""


def fail(message: str, code: int) -> NoReturn:
    """Say why there will be no session, and leave."""
    sys.stderr.write(f"nix-shim stdio: {message}\n")
    sys.exit(code)


def options(arguments: Sequence[str], asked: str | None) -> tuple[str, Preamble, bytes]:
    """What `arguments` and the client's own words mean; leaves with a message if they are bad.

    Args:
        arguments: of the command line.
        asked: the line that sshd was asked to run (`SSH_ORIGINAL_COMMAND`), if it says so.

    Returns:
        The socket's path, what to tell the daemon, and what to print first.
    """
    path = os.environ.get("NIX_SHIM_SOCKET", DEFAULT_SOCKET)
    peer = DEFAULT_PEER
    rest = list(arguments)
    of_nix: list[str] = []
    while rest:
        option = rest.pop(0)
        if option in {"-h", "--help"}:
            sys.stdout.write(USAGE)
            sys.exit(0)
        values = WORKER.get(option, SERVE.get(option))
        if option == "--socket" and rest:
            path = rest.pop(0)
        elif option == "--peer" and rest:
            peer = rest.pop(0)
        elif values is not None and len(rest) >= values:
            of_nix += [option, *rest[:values]]
            del rest[:values]
        else:
            fail(f"unexpected argument `{option}`; see `nix-shim stdio --help`", 2)
    answer = spoken(of_nix, asked)
    try:
        return path, Preamble(peer, answer.speaks, answer.arguments), answer.greeting
    except BadPreamble as error:
        fail(str(error), 2)


def spoken(of_nix: Sequence[str], asked: str | None) -> Accepted:
    """What the client will speak: our own options win, then sshd's word; else ssh-ng."""
    answer: Accepted | Refused | None = session(of_nix, Speaks.WORKER, Speaks.SERVE)
    if answer is None and {"--stdio", "--serve"}.intersection(of_nix):
        fail(f"`{' '.join(of_nix)}` do not go together; see `nix-shim stdio --help`", 2)
    if answer is None:
        answer = Accepted(Speaks.WORKER) if asked is None else parse(asked)
    if isinstance(answer, Refused):
        sys.stderr.write(f"{answer.message}\n")
        sys.exit(NOT_OFFERED)
    return answer


def upstream(connection: socket) -> None:
    """Send what the client says, and then that it has ended, until the daemon is gone."""
    buffer = memoryview(bytearray(CHUNK))
    try:
        while size := os.readv(0, [buffer]):
            connection.sendall(buffer[:size])
    except OSError:
        pass  # either side is gone, or there is no standard input
    try:
        connection.shutdown(SHUT_WR)
    except OSError:
        return


def write_fully(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def downstream(connection: socket) -> int:
    """Write what the daemon says to standard output, until either side is gone; the exit code."""
    buffer = memoryview(bytearray(CHUNK))
    try:
        while size := connection.recv_into(buffer):
            write_fully(1, buffer[:size])
    except OSError:
        pass
    return 0


def spread(connection: socket) -> int:
    """Write what the daemon's frames carry to where it belongs; the exit code that they end with.

    What cannot be written is dropped: a client that closed its standard error still gets the rest.
    """
    from shim.channels import BadFrame, Channel, Frames  # noqa: PLC0415 - most sessions have none

    descriptors = {Channel.STDOUT: 1, Channel.STDERR: 2}
    frames = Frames()
    try:
        while data := connection.recv(CHUNK):
            for channel, payload in frames.feed(data):
                if channel is Channel.EXIT:
                    return payload[0]
                try:
                    write_fully(descriptors[channel], payload)
                except OSError:
                    if channel is Channel.STDOUT:
                        return UNAVAILABLE
    except (OSError, BadFrame):
        return UNAVAILABLE
    return UNAVAILABLE


def main(arguments: Sequence[str]) -> int:
    """Relay until the daemon closes the session; the exit code is 0 then, or a command's own."""
    path, preamble, greeting = options(arguments, os.environ.get("SSH_ORIGINAL_COMMAND"))
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.settimeout(CONNECT_DEADLINE)
    try:
        connection.connect(path)
        connection.sendall(preamble.render())
    except OSError as error:
        fail(
            f"cannot reach the daemon at `{path}`: {error.strerror or error};"
            " is `nix-shim serve` running?",
            UNAVAILABLE,
        )
    connection.settimeout(None)
    write_fully(1, greeting)
    # A thread per direction: neither can hold up the other, and the process ends with the daemon's.
    start_new_thread(upstream, (connection,))
    code = downstream(connection) if preamble.speaks is Speaks.WORKER else spread(connection)
    os._exit(code)  # the other thread may be inside a read that nothing will end
