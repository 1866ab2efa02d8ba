"""ARM build attributes: numbers that object files state about the code in them.

Layout: ARM IHI 0045, "Addenda to the ABI for the Arm Architecture".  Only attributes of the whole
file are read, and only numeric ones.
"""

from collections.abc import Iterator
from typing import Final, Literal

TAG_CPU_ARCH: Final = 6
TAG_FP_NUMBER_MODEL: Final = 23
TAG_VFP_ARGS: Final = 28

_STRING_TAGS: Final = frozenset({4, 5, 67})
_COMPATIBILITY: Final = 32


class AttributesError(ValueError):
    """Attributes that do not follow their format."""


def file_attributes(data: bytes, endianness: Literal["little", "big"]) -> dict[int, int]:
    """Numeric `Tag_File` attributes of the `aeabi` part of an attributes section.

    Raises:
        AttributesError: the section is cut off or of an unknown format.
    """
    if data[:1] != b"A":
        raise AttributesError("build attributes of an unknown format")
    found: dict[int, int] = {}
    place = 1
    while place + 4 <= len(data):
        length = int.from_bytes(data[place : place + 4], endianness)
        if length < 4 or place + length > len(data):
            raise AttributesError("build attributes are cut off")
        vendor, _, body = data[place + 4 : place + length].partition(b"\0")
        place += length
        if vendor == b"aeabi":
            found.update(_of_file(body, endianness))
    return found


def _of_file(body: bytes, endianness: Literal["little", "big"]) -> dict[int, int]:
    found: dict[int, int] = {}
    while len(body) >= 5:
        scope, length = body[0], int.from_bytes(body[1:5], endianness)
        if length < 5 or length > len(body):
            raise AttributesError("build attributes are cut off")
        if scope == 1:
            found.update(_pairs(body[5:length]))
        body = body[length:]
    return found


def _pairs(data: bytes) -> Iterator[tuple[int, int]]:
    place = 0
    while place < len(data):
        tag, place = _uleb(data, place)
        if tag in _STRING_TAGS or (tag > _COMPATIBILITY and tag % 2):
            place = data.find(b"\0", place) + 1 or len(data)
            continue
        value, place = _uleb(data, place)
        if tag == _COMPATIBILITY:
            place = data.find(b"\0", place) + 1 or len(data)
        yield tag, value


def _uleb(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise AttributesError("build attributes are cut off")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
