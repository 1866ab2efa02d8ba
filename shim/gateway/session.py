"""One session channel: the exec line becomes a relay or a refusal; nothing else is granted.

No terminal, subsystem, forwarding or environment: what is not overridden here asyncssh refuses, and
`server` turns off the rest.  Standard error carries one line if there will be no session, and
otherwise only what the daemon says there.
"""

import asyncio
from pathlib import Path
from typing import Final

import asyncssh
import structlog

from shim.execline import NOT_OFFERED, Accepted, Refused, parse
from shim.gateway.channel import SessionChannel
from shim.gateway.connection import Connection
from shim.gateway.relay import UNAVAILABLE, Hold, Relay
from shim.preamble import Preamble

log = structlog.get_logger()

CONNECT_DEADLINE: Final = 10.0
"""Seconds for the daemon to accept; one that is up accepts at once."""

NO_SHELL: Final = (
    "nix-shim: there is no shell here; boards come for Nix's stores (ssh-ng://, ssh://)"
)


class Session(asyncssh.SSHServerSession[bytes]):
    """What a peer does on one channel."""

    def __init__(self, connection: Connection, peer: str, daemon: Path, limit: int) -> None:
        self._connection = connection
        self._peer = peer
        self._daemon = daemon
        self._limit = limit
        self._answer: Accepted | Refused = Refused(NO_SHELL)
        self._chan: asyncssh.SSHServerChannel[bytes]
        self._relay: Relay | None = None
        self._early: list[bytes] = []
        """What the client said before the daemon was reached."""
        self._early_end = False
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan
        if not (isinstance(chan, SessionChannel) and chan.usable):
            chan.abort()

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._answer = parse(command)
        return True

    def session_started(self) -> None:
        places = self._connection.door.sessions
        if isinstance(self._answer, Accepted) and places[self._peer] >= self._limit:
            self._answer = Refused(
                f"nix-shim: {self._peer} holds {self._limit} sessions,"
                f" as many as peers.{self._peer}.sessions says"
            )
            self._refuse(self._answer, UNAVAILABLE)
        elif isinstance(self._answer, Refused):
            self._refuse(self._answer, NOT_OFFERED)
        else:
            places[self._peer] += 1
            opening = self._open(self._answer)
            self._opening = asyncio.get_running_loop().create_task(opening)

    def _refuse(self, answer: Refused, code: int) -> None:
        log.warning("session-refused", peer=self._peer, why=answer.message)
        self._chan.write_stderr(answer.message.encode() + b"\n")
        self._chan.exit(code)

    async def _open(self, answer: Accepted) -> None:
        """Reach the daemon and hand it what the client said meanwhile."""
        chan = self._chan
        preamble = Preamble(self._peer, answer.speaks, answer.arguments, tells_endings=True)
        fields = {"peer": self._peer, "speaks": answer.speaks}
        buffer = self._connection.door.buffer
        relay = Relay(chan, preamble, buffer, lambda how: self._ended(how, fields))
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await asyncio.get_running_loop().create_unix_connection(
                    lambda: relay, str(self._daemon)
                )
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or "it does not accept"
            log.warning("daemon-unreachable", socket=str(self._daemon), why=why, **fields)
            self._free()
            chan.write_stderr(b"nix-shim: the daemon is not running; the host's log says why\n")
            chan.exit(UNAVAILABLE)
            return
        log.info("session-opened", **fields)
        self._relay = relay
        self._connection.relays.add(relay)
        relay.hold(Hold.CONNECTION, on=self._connection.congested)
        if answer.greeting:
            chan.write(answer.greeting)
        for data in self._early:
            relay.send(data)
        self._early.clear()
        if self._early_end:
            relay.send_end()
        chan.resume_reading()

    def _ended(self, how: str, fields: dict[str, str]) -> None:
        relay = self._relay
        assert relay is not None
        log.info("session-ended", how=how, sent=relay.sent, received=relay.received, **fields)
        self._connection.relays.discard(relay)
        self._free()

    def _free(self) -> None:
        self._connection.door.sessions[self._peer] -= 1

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:  # noqa: ARG002 - asyncssh's interface
        if self._relay is not None:
            self._relay.send(data)
        else:
            self._early.append(data)
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        if self._relay is not None:
            self._relay.send_end()
        else:
            self._early_end = True
        return True  # the daemon's answer is still to come

    def pause_writing(self) -> None:
        if self._relay is not None:
            self._relay.hold(Hold.WINDOW, on=True)

    def resume_writing(self) -> None:
        if self._relay is not None:
            self._relay.hold(Hold.WINDOW, on=False)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._relay is not None:
            left = exc is None or self._connection.left
            self._relay.client_gone(orderly=left and not self._connection.dropped)
        elif self._opening is not None and not self._opening.done():
            self._opening.cancel()
            self._free()
