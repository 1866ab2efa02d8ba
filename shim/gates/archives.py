"""Members of archives: ar, cpio, tar, zip.  Reads their directories; unpacks nothing by itself.

Formats are those of ar(5) with GNU and BSD names, cpio(5) `newc` and `odc`, POSIX.1 tar with GNU's
long names, and PKWARE's APPNOTE for zip.  Names are for messages only.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shim.gates.blob import CHUNK, Blob
from shim.gates.settings import LimitError
from shim.gates.unpack import DamagedError

LONGEST_NAME: Final = 4096


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        name: for messages; control characters are replaced.
        offset: of its data in the archive.
        size: of its data, as stored.
        method: zip's compression method; 0 is stored, -1 cannot be read (encrypted).
    """

    name: str
    offset: int
    size: int
    method: int = 0


def _shown(name: bytes) -> str:
    text = name[:LONGEST_NAME].decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def _number(text: bytes, base: int, what: str) -> int:
    digits = text.strip(b" \0")
    try:
        value = int(digits or b"0", base)
    except ValueError:
        value = -1
    if value < 0 or digits[:1] in {b"+", b"-"}:
        raise DamagedError(f"{what} is no number: `{_shown(text)}`")
    return value


def _inside(blob: Blob, offset: int, size: int) -> None:
    if offset + size > blob.size:
        raise DamagedError(f"a member of {size} bytes is cut off")


def ar(blob: Blob) -> Iterator[Member]:
    """Members of a static library or Debian package, its symbol and name tables left out."""
    place = 8
    long_names = b""
    while place < blob.size:
        head = blob.read(place, 60)
        if len(head) < 60 or head[58:] != b"`\n":
            raise DamagedError("a member's header is cut off")
        size = _number(head[48:58], 10, "a member's size")
        data = place + 60
        _inside(blob, data, size)
        place = data + size + size % 2
        name = head[:16].rstrip(b" ")
        if name == b"//":
            long_names = blob.read(data, min(size, CHUNK))
        elif name in {b"/", b"/SYM64/"} or name.startswith(b"__.SYMDEF"):
            continue
        elif name.startswith(b"#1/"):
            length = min(_number(name[3:], 10, "a name's length"), size, LONGEST_NAME)
            yield Member(
                _shown(blob.read(data, length).rstrip(b"\0")), data + length, size - length
            )
        elif name.startswith(b"/") and name[1:].isdigit():
            start = int(name[1:])
            end = long_names.find(b"/\n", start, start + LONGEST_NAME)
            yield Member(_shown(long_names[start:end]), data, size)
        else:
            yield Member(_shown(name.removesuffix(b"/")), data, size)


def _cpio(
    blob: Blob, magics: frozenset[bytes], base: int, widths: tuple[int, int, int], align: int
) -> Iterator[Member]:
    """Members of a cpio archive.

    Args:
        blob: the archive.
        magics: what every header begins with.
        base: of the numbers in headers.
        widths: bytes of a header; places of the name's and the file's length in it.
        align: what headers with names, and data, are padded to.
    """
    length, name_at, size_at = widths
    name_width, size_width = (8, 8) if base == 16 else (6, 11)
    place = 0
    while True:
        head = blob.read(place, length)
        if len(head) < length or head[:6] not in magics:
            raise DamagedError("a member's header is cut off")
        name_size = _number(head[name_at : name_at + name_width], base, "a name's length")
        size = _number(head[size_at : size_at + size_width], base, "a member's size")
        name = blob.read(place + length, min(name_size, LONGEST_NAME)).rstrip(b"\0")
        data = -(-(place + length + name_size) // align) * align
        _inside(blob, data, size)
        place = -(-(data + size) // align) * align
        if name == b"TRAILER!!!":
            place = _behind_zeroes(blob, place)
            yield Member("(behind the archive)", place, blob.size - place)
            return
        yield Member(_shown(name), data, size)


def _behind_zeroes(blob: Blob, place: int) -> int:
    """The first byte from `place` that is not zero; Linux pads archives in RAM disks so."""
    while data := blob.read(place, CHUNK):
        rest = data.lstrip(b"\0")
        place += len(data) - len(rest)
        if rest:
            return place
    return blob.size


def cpio_new(blob: Blob) -> Iterator[Member]:
    """Members of a `newc` archive, such as an initial RAM disk; last what follows the archive."""
    return _cpio(blob, frozenset({b"070701", b"070702"}), 16, (110, 94, 54), 4)


def cpio_old(blob: Blob) -> Iterator[Member]:
    """Members of a portable (`odc`) archive; last what follows the archive."""
    return _cpio(blob, frozenset({b"070707"}), 8, (76, 59, 65), 1)


def tar(blob: Blob) -> Iterator[Member]:
    """Regular files of a tar archive."""
    place = 0
    long_name = b""
    while place < blob.size:
        head = blob.read(place, 512)
        if not head.strip(b"\0"):
            return
        if len(head) < 512 or head[257:262] != b"ustar":
            raise DamagedError("a member's header is cut off")
        if head[124] & 0x80:
            size = int.from_bytes(head[125:136], "big")
        else:
            size = _number(head[124:136], 8, "a member's size")
        data = place + 512
        _inside(blob, data, size)
        place = data + -(-size // 512) * 512
        kind = head[156:157]
        if kind == b"L":
            long_name = blob.read(data, min(size, LONGEST_NAME)).rstrip(b"\0")
        elif kind in {b"0", b"\0", b"7"}:
            short = head[:100].rstrip(b"\0")
            prefix = head[345:500].rstrip(b"\0") if head[262] == 0 else b""
            name = long_name or (prefix + b"/" + short if prefix else short)
            yield Member(_shown(name), data, size)
            long_name = b""


_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")


def zip_members(blob: Blob) -> Iterator[Member]:
    """Members of a zip file, jar or wheel, also behind a script or program.

    Raises:
        DamagedError: it does not follow its format.
        LimitError: members share their bytes, as only bombs have it.
    """
    begin, size, offset = _central_directory(blob)
    shift = begin - offset
    place, end = begin, begin + size
    left = blob.size
    while place < end:
        head = blob.read(place, _CENTRAL.size)
        if len(head) < _CENTRAL.size or head[:4] != b"PK\x01\x02":
            raise DamagedError("the central directory is cut off")
        fields = _CENTRAL.unpack(head)
        flags, method = fields[3], fields[4]
        packed, plain, local = fields[8], fields[9], fields[16]
        name_size, extra_size, comment_size = fields[10:13]
        name = blob.read(place + _CENTRAL.size, name_size)
        extra = blob.read(place + _CENTRAL.size + name_size, extra_size)
        packed, local = _wide(extra, plain, packed, local)
        place += _CENTRAL.size + name_size + extra_size + comment_size
        head = blob.read(local + shift, _LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            raise DamagedError(f"no member where the directory says: `{_shown(name)}`")
        *_, local_name, local_extra = _LOCAL.unpack(head)
        data = local + shift + _LOCAL.size + local_name + local_extra
        _inside(blob, data, packed)
        left -= packed
        if left < 0:
            raise LimitError("a zip file whose members overlap")
        yield Member(_shown(name), data, packed, -1 if flags & 1 else method)


def has_zip_end(blob: Blob) -> bool:
    """Whether it ends as a zip file without comment does."""
    return blob.read(blob.size - _END.size, 4) == b"PK\x05\x06"


def _central_directory(blob: Blob) -> tuple[int, int, int]:
    """Where it begins, its size, and where it says it begins."""
    tail_at = max(0, blob.size - _END.size - 0xFFFF)
    tail = blob.read(tail_at, blob.size - tail_at)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise DamagedError("there is no central directory")
    _, _, _, _, _, size, offset, _ = _END.unpack_from(tail, found)
    end = tail_at + found
    locator = blob.read(end - _LOCATOR.size, _LOCATOR.size)
    if locator[:4] == b"PK\x06\x07" and 0xFFFFFFFF in {size, offset}:
        end = _LOCATOR.unpack(locator)[2]
        head = blob.read(end, _END64.size)
        if len(head) < _END64.size or head[:4] != b"PK\x06\x06":
            raise DamagedError("the large central directory is cut off")
        size, offset = _END64.unpack(head)[8:10]
    if size > end:
        raise DamagedError("the central directory is cut off")
    return end - size, size, offset


def _wide(extra: bytes, plain: int, packed: int, local: int) -> tuple[int, int]:
    """Packed size and local header's place, from the zip64 field where 32 bits are too few."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        body = extra[place + 4 : place + 4 + length]
        place += 4 + length
        if kind != 1:
            continue
        numbers = iter(
            int.from_bytes(body[index : index + 8], "little") for index in range(0, len(body), 8)
        )
        if plain == 0xFFFFFFFF:
            next(numbers, 0)
        if packed == 0xFFFFFFFF:
            packed = next(numbers, packed)
        if local == 0xFFFFFFFF:
            local = next(numbers, local)
    return packed, local
