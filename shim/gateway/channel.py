"""asyncssh's session channel with what a client can make it hold bounded.

asyncssh opens a channel's whole window again whenever data is taken, though most of it may still
lie here untaken: a session whose daemon is slower than its client would take in the rest of the
upload.  It keeps every environment variable, of which we use none.
"""

import asyncio
from typing import Final

import asyncssh
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST
from asyncssh.packet import SSHPacket, UInt32
from asyncssh.session import DataType

WINDOW: Final = 1 << 21
"""Bytes that a client may send ahead; what a stalled session can hold of its data."""

PACKET: Final = 1 << 15
"""Bytes of data in one packet, as OpenSSH has it."""

LEAST_PACKET: Final = 1 << 10
"""Least size of packets that a client must take: RFC 4254 has no least, OpenSSH takes 32768, and
asyncssh never ends sending to one that takes packets of 0 bytes."""


class SessionChannel(asyncssh.SSHServerChannel[bytes]):
    """A channel whose window counts what was taken, not what came."""

    def __init__(self, connection: asyncssh.SSHServerConnection) -> None:
        super().__init__(
            connection,
            asyncio.get_running_loop(),
            allow_pty=False,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=WINDOW,
            max_pktsize=PACKET,
        )
        self._taken = 0

    @property
    def usable(self) -> bool:
        """Whether the client takes packets of a size that can be sent."""
        return self._send_pktsize >= LEAST_PACKET

    def _deliver_data(self, data: bytes, datatype: DataType) -> None:
        self._taken += len(data)
        if self._taken >= WINDOW // 2:
            self.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(self._taken))
            self._recv_window += self._taken
            self._taken = 0
        if self._session is not None:
            self._session.data_received(data, datatype)

    def _process_env_request(self, packet: SSHPacket) -> bool:
        packet.get_string()
        packet.get_string()
        packet.check_end()
        return True  # as if it were of use: clients that are told otherwise would complain
