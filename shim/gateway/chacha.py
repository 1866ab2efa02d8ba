"""ChaCha20-Poly1305 for asyncssh, at half the price: contexts are kept and given new nonces.

asyncssh makes three OpenSSL contexts for each packet.  Boards whose processors have no AES
instructions take this cipher first, and it is the one that OpenSSH's client prefers, so most
bulk data comes by it.  The construction is OpenSSH's (`PROTOCOL.chacha20poly1305`): one key for
the packet's length and one for the rest, whose first block of key stream is Poly1305's key.
"""

from typing import Final, Self

from asyncssh.encryption import Encryption, register_encryption_alg
from asyncssh.packet import UInt64
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

NAME: Final = "chacha20-poly1305@openssh.com"
KEY: Final = 32
"""Bytes of a ChaCha20 key, and of a Poly1305 key."""
BLOCK: Final = bytes(64)
"""One block of ChaCha20; of the first, Poly1305 takes 32 bytes and the rest is thrown away."""
START: Final = bytes(8)
"""The block counter at the start of a packet; the packet's number follows, as the nonce."""


class ChaCha(Encryption):
    """One direction of a connection."""

    def __init__(self, key: bytes) -> None:
        self._body = Cipher(ChaCha20(key[:KEY], bytes(16)), mode=None).encryptor()
        self._length = Cipher(ChaCha20(key[KEY:], bytes(16)), mode=None).encryptor()

    @classmethod
    def new(
        cls,
        cipher_name: str,  # noqa: ARG003 - asyncssh's interface, as the rest
        key: bytes,
        iv: bytes,  # noqa: ARG003
        mac_alg: bytes = b"",  # noqa: ARG003
        mac_key: bytes = b"",  # noqa: ARG003
        etm: bool = False,  # noqa: ARG003
    ) -> Self:
        return cls(key)

    @classmethod
    def needs_mac(cls) -> bool:
        return False

    @classmethod
    def get_mac_params(cls, mac_alg: bytes) -> tuple[int, int, bool]:  # noqa: ARG003
        return 0, 16, True

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        nonce = START + UInt64(seq)
        self._length.reset_nonce(nonce)
        mac_key = self._mac_key(nonce)
        sealed = self._length.update(header) + self._body.update(packet)
        return sealed, Poly1305.generate_tag(mac_key, sealed)

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        self._length.reset_nonce(START + UInt64(seq))
        return first_block, self._length.update(first_block[:header_len])

    def decrypt_packet(
        self,
        seq: int,
        first: bytes,
        rest: bytes,
        header_len: int,
        mac: bytes,
    ) -> bytes | None:
        mac_key = self._mac_key(START + UInt64(seq))
        sealed = first + rest
        try:
            Poly1305.verify_tag(mac_key, sealed, mac)
        except InvalidSignature:
            return None
        return self._body.update(sealed[header_len:])

    def _mac_key(self, nonce: bytes) -> bytes:
        self._body.reset_nonce(nonce)
        return self._body.update(BLOCK)[:KEY]


def install() -> None:
    """Let asyncssh use it for connections made from now on, in this process."""
    register_encryption_alg(NAME.encode(), ChaCha, "chacha20-poly1305", default=True)
