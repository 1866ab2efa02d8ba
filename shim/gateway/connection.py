"""One SSH connection: who it is, and how much it may hold.

asyncssh leaves two things open that a server for others' machines needs: what is written waits in
memory without limit while the client's TCP connection takes nothing, or while keys are exchanged
that the client never finishes; and a client that ended cannot be told from one that was lost.
"""

import asyncio
import contextlib
import os
from collections import Counter
from typing import Final, Protocol

import asyncssh
import structlog
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacketLogger

from shim.gateway.channel import SessionChannel
from shim.gateway.relay import Hold, Relay

log = structlog.get_logger()

DEFERRED: Final = 64
"""Packets that may wait for an exchange of keys; more would come from bulk data only."""

PIECE: Final = 1 << 16
"""Bytes that asyncssh is given at once; two packets of bulk data."""

QUESTIONS: Final = 40
"""How often a client may ask to be let in; each of its keys takes about two."""


class Door(Protocol):
    """What a connection asks the gateway."""

    buffer: memoryview
    """What everything is read into; see `Relay`."""

    sessions: Counter[str]
    """Sessions that each peer holds."""
    connections: Counter[str]
    """Connections that each peer holds."""

    def owner(self, key: bytes, user: str) -> str | None:
        """The peer that may come with this key under this name."""

    def allowance(self, peer: str) -> int:
        """Sessions, and connections, that a peer may hold."""

    def open(self, connection: "Connection", peer: str) -> asyncssh.SSHServerSession[bytes]:
        """A session for a channel."""

    def logged_in(self, connection: "Connection") -> None:
        """A login ended well."""

    def gone(self, connection: "Connection") -> None:
        """A connection ended."""


class Connection(asyncssh.SSHServerConnection, asyncio.BufferedProtocol):
    """asyncssh's connection, with limits, and read into the door's buffer as in `Relay`."""

    def __init__(
        self,
        door: Door,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
    ) -> None:
        super().__init__(loop, options)
        self.door = door
        self.relays: set[Relay] = set()
        self.left = False
        """Whether the client's end closed the TCP connection, as the end of its process does; a
        client that was lost is reset, or silent."""
        self.dropped = False
        """Whether we broke it off: its client would have stayed."""
        self._full = False
        self._wire: asyncio.Transport | None = None
        self._batch: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        super().connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's interface
        return self.door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # asyncssh copies all that is left for each packet that it takes off the front.
        for start in range(0, nbytes, PIECE):
            if self._transport is None:  # one of the packets ended the connection
                return
            self.data_received(bytes(self.door.buffer[start : min(start + PIECE, nbytes)]))

    def eof_received(self) -> None:
        self.left = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None = None) -> None:
        if exc is not None:
            self._hear_out()
        super().connection_lost(exc)

    def _hear_out(self) -> None:
        """Take in what came before the connection broke: the client may have said that it leaves.

        One that goes while data is on its way to it says so and resets the connection; if asyncio
        meets the reset while writing, it reads no more.
        """
        assert self._wire is not None
        wire = self._wire.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while count := os.readv(wire, [self.door.buffer]):
                self.buffer_updated(count)

    def drop(self) -> None:
        """Break it off, as if the client were lost."""
        self.dropped = True
        self.abort()

    def pause_writing(self) -> None:
        self._full = True
        self._flow()

    def resume_writing(self) -> None:
        self._full = False
        self._flow()

    @property
    def congested(self) -> bool:
        """Whether what is written now would pile up."""
        return self._full or len(self._deferred_packets) > DEFERRED

    def send_packet(
        self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None
    ) -> None:
        # asyncssh sends an empty packet before each, against attacks on ciphers without a tag of
        # their own (CBC); we offer none, and it doubles the packets of a download.
        if pkttype == MSG_IGNORE:
            return
        super().send_packet(pkttype, *args, handler=handler)
        if len(self._deferred_packets) == DEFERRED + 1:
            self._flow()

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self._flow()

    def _send(self, data: bytes) -> None:
        """Write what one turn of the loop makes at once: a system call for each packet is slow."""
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(data)

    def _flush(self) -> None:
        # asyncssh lets go of its transport before the last packet (why it disconnects) is out.
        if self._wire is not None and self._batch:
            self._wire.write(b"".join(self._batch))
        self._batch.clear()

    def _flow(self) -> None:
        for relay in self.relays:
            relay.hold(Hold.CONNECTION, on=self.congested)


class Server(asyncssh.SSHServer):
    """What asyncssh asks about one connection: only public keys of peers are let in."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: Connection
        self._user = ""
        self._questions = 0
        self._candidate: tuple[str, bytes] | None = None
        self._peer: tuple[str, bytes] | None = None

    @property
    def peer(self) -> str | None:
        """Whose key the login was made with."""
        return self._peer[0] if self._peer else None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, Connection)
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def public_key_auth_supported(self) -> bool:
        """Asked for every attempt, so attempts are counted here; true for all, whoever asks."""
        self._questions += 1
        if self._questions > QUESTIONS and self._peer is None:
            self._connection.abort()
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        peer = self._door.owner(key.public_data, username)
        self._candidate = None if peer is None else (peer, key.public_data)
        return peer is not None

    def auth_completed(self) -> None:
        assert self._candidate is not None
        self._peer = self._candidate
        peer, _ = self._peer
        self._door.connections[peer] += 1
        self._door.logged_in(self._connection)
        if self._door.connections[peer] > self._door.allowance(peer):
            log.warning("client-refused", why="peers.*.sessions reached", peer=peer)
            self._connection.disconnect(
                asyncssh.DISC_TOO_MANY_CONNECTIONS, "too many connections of this peer"
            )
            return
        log.info("peer-connected", peer=peer, user=self._user)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is not None:
            self._door.connections[self._peer[0]] -= 1
            log.info("peer-gone", peer=self._peer[0], why=self._why(exc))
        self._door.gone(self._connection)

    def _why(self, exc: Exception | None) -> str:
        if self._connection.dropped:
            return "we stop"
        return "left" if exc is None or self._connection.left else str(exc)

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]] | bool:
        """Open a channel, if the key is still the peer's: it may have been taken away since."""
        assert self._peer is not None
        peer, key = self._peer
        if self._door.owner(key, self._user) != peer:
            log.warning("session-refused", peer=peer, why="its key was removed")
            return False
        return SessionChannel(self._connection), self._door.open(self._connection, peer)
