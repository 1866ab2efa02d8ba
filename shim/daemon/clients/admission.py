"""The first moments of a connection: who is there, and how to turn somebody away.

Nix's own clients go on to the next builder when a handshake ends in an error, so whoever is not
admitted is told in the handshake, in words that the client shows.
"""

import socket
import struct
from typing import Final

import trio

from protocol.errors import RemoteProtocolError
from protocol.worker.events import Greeted
from protocol.worker.server import ServerConnection
from shim import preamble
from shim.channels import Channel, exit_frame, frame
from shim.config import DEFAULT_DOMAIN, Config
from shim.daemon.clients.client import Client, ClientGone, Pipe
from shim.daemon.clients.who import Who
from shim.preamble import Preamble, Speaks
from shim.session.routes import Standing

_CREDENTIALS: Final = struct.Struct("3i")
"""pid, uid, gid: Linux `struct ucred`, the answer to SO_PEERCRED."""

GREETING: Final = 8
"""Bytes that tell a preamble from Nix's own greeting."""

TRY_AGAIN: Final = 75
"""Exit code of a command that is turned away (`EX_TEMPFAIL`)."""


async def identify(stream: trio.SocketStream, config: Config) -> tuple[Who, bytes]:
    """Who is there, and the first bytes of what it speaks.

    Raises:
        BadPreamble: it claims to be whom it may not, or what it says is no preamble.
        BrokenResourceError: it closed before it had said enough.
        TooSlowError: it did not say it in time; an operator has as long as a nix-daemon leaves it.
    """
    ucred = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(ucred)
    operator = uid in config.operators
    deadlines = config.deadlines
    with trio.fail_after(deadlines.idle if operator else deadlines.handshake):
        head = await _exactly(stream, GREETING)
    if head != preamble.MAGIC:
        name = f"uid {uid}"
        domain = DEFAULT_DOMAIN if operator else config.peer(name).domain
        return Who(name, Standing.OPERATOR if operator else Standing.PEER, domain), head
    speaker = uid in config.preamble_users
    if not (speaker or operator):  # before more is read of whoever it is
        raise _may_not(uid)
    with trio.fail_after(deadlines.handshake):
        head += await _exactly(stream, preamble.HEADER.size - GREETING)
        said = Preamble.parse(await _exactly(stream, preamble.body_length(head)))
    if said.speaks is Speaks.CONTROL:
        if not operator:
            raise preamble.BadPreamble(f"uid {uid} is no operator (operators)")
        return Who(f"uid {uid}", Standing.OPERATOR, speaks=Speaks.CONTROL), b""
    if not speaker:
        raise _may_not(uid)
    return (
        Who(
            said.peer,
            Standing.PEER,
            config.peer(said.peer).domain,
            said.speaks,
            said.arguments,
            said.tells_endings,
        ),
        b"",
    )


def _may_not(uid: int) -> preamble.BadPreamble:
    return preamble.BadPreamble(f"uid {uid} may not speak for others (preamble-users)")


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise trio.BrokenResourceError("closed before the handshake")
        data += more
    return data


async def turn_away(stream: Pipe, who: Who, head: bytes, why: str, config: Config) -> None:
    """Answer the handshake with an error; at most for `deadlines.handshake`.

    Args:
        stream: the connection; closed by the caller.
        who: the other end.
        head: bytes of its protocol that were received already.
        why: what it is told.
        config: for deadlines.
    """
    with trio.move_on_after(config.deadlines.handshake):
        try:
            if who.speaks is Speaks.WORKER:
                await _refuse_worker(stream, head, why, config)
            else:
                said = frame(Channel.STDERR, f"nix-shim: {why}\n".encode())
                await stream.send_all(said + exit_frame(TRY_AGAIN))
        except (ClientGone, RemoteProtocolError, trio.BrokenResourceError):
            return  # it did not wait for the answer


async def _refuse_worker(stream: Pipe, head: bytes, why: str, config: Config) -> None:
    connection = ServerConnection(config.store_dir)
    if head:
        connection.receive(head)
    client = Client(stream, connection, config.deadlines)
    while not isinstance(await client.event(config.deadlines.handshake), Greeted):
        pass
    await client.send(connection.refuse(why))
