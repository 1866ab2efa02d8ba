"""Nix's own base 32: bytes to text and back.  Refuses any other alphabet, upper case and padding.

The bytes are read as one little-endian number of `8n` bits; the text lists its base-32 digits from
the most significant one, `ceil(8n / 5)` of them.  Checked against Nix's `BaseNix32`.
"""

import base64
import re
from typing import Final

from protocol.errors import RemoteProtocolError

ALPHABET: Final = "0123456789abcdfghijklmnpqrsvwxyz"
"""All digits and lower-case letters but e, o, t and u, which keeps most swear words out of
paths."""

_RFC4648: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_FROM_RFC: Final = bytes.maketrans(_RFC4648, ALPHABET.encode())
_TO_RFC: Final = bytes.maketrans(ALPHABET.encode(), _RFC4648)
_ONLY_DIGITS: Final = re.compile(f"[{ALPHABET}]*").fullmatch


def encoded_length(size: int) -> int:
    """The number of digits that `size` bytes take."""
    return (size * 8 + 4) // 5


def encode(data: bytes) -> str:
    """Write bytes as base-32 digits."""
    # The standard library packs 5 bytes into 8 digits from the most significant end: hand it the
    # number in that order, with zeroes in front up to a whole group, and drop the digits of those.
    group = bytes(-len(data) % 5) + data[::-1]
    digits = base64.b32encode(group).translate(_FROM_RFC)
    return digits[len(digits) - encoded_length(len(data)) :].decode("ascii")


def decode(text: str) -> bytes:
    """Read base-32 digits; the inverse of `encode`.

    Raises:
        RemoteProtocolError: a character outside the alphabet, or digits that no bytes are written
        as.
    """
    if not _ONLY_DIGITS(text):
        raise RemoteProtocolError(f"not a Nix base-32 text: `{text}`")
    size = len(text) * 5 // 8
    group = text.encode("ascii").rjust(-(-len(text) // 8) * 8, b"0").translate(_TO_RFC)
    number = base64.b32decode(group)
    spare = len(number) - size
    if len(text) != encoded_length(size) or any(number[:spare]):
        raise RemoteProtocolError(f"base-32 text that no bytes are written as: `{text}`")
    return number[spare:][::-1]
