"""A table's entries as sections of bytes, and single entries decoded from them on demand.

Every store path and every text is written once and referred to by number.  Paths are ordered by
digest, so that their list is also the index.  An entry's head (derivations, outputs,
class, grade) is a small msgpack array by itself; its inputs and differences are compressed in
blocks, which are opened when somebody asks for them.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain
from typing import Any, Final, TypeVar

import msgpack
import zstandard

from protocol.store.base32 import ALPHABET
from protocol.store.path import DIGEST_LENGTH, StorePath
from shim.equivalence.grades import DifferenceClass, Grade, Role
from shim.equivalence.table import Difference, Entry, InputPair

BLOCK: Final = 64
"""Bodies compressed together: enough to find what repeats, few enough to open in 0.1 ms."""

LEVEL: Final = 9
"""zstd level of everything that is compressed."""

MAX_SECTION: Final = 1 << 28
"""Bytes of a section when expanded; the texts of 100,000 entries are a tenth of that."""

ROLES: Final = tuple(Role)
"""Roles are written as their place in this list; new ones go to the end."""

CLASSES: Final = {int(one): one for one in DifferenceClass}
GRADES: Final = {int(one): one for one in Grade}

KEY_LENGTH: Final = 6
"""Digits of a digest that its key stands for: as many as fit into 32 bits."""

_TO_PYTHON: Final = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")

Item = TypeVar("Item")


class _Numbering(dict[Item, int]):
    """Numbers things in the order in which they are first met."""

    def __missing__(self, item: Item) -> int:
        number = self[item] = len(self)
        return number


def encode(entries: Sequence[Entry], store_dir: str) -> dict[str, bytes]:
    """The sections that hold `entries`, which all lie in `store_dir`."""
    ordered = sorted({path for entry in entries for path in _paths(entry)}, key=_by_digest)
    number = {path: i for i, path in enumerate(ordered)}
    texts = _Numbering[str]()
    heads = [_head(entry, number, texts) for entry in entries]
    bodies = [_body(entry, number, texts) for entry in entries]
    found: list[list[int]] = [[] for _ in ordered]
    for row, entry in enumerate(entries):
        for path in dict.fromkeys(_own_paths(entry)):
            found[number[path]].append(row)
    names = [texts[path.name] for path in ordered]
    assert all(path.store_dir == store_dir for path in ordered)
    return {
        "digests": "".join(path.digest for path in ordered).encode("ascii"),
        "keys": _numbers(_key(path.digest) for path in ordered),
        "names": _numbers(names),
        "first_row": _numbers(accumulate(map(len, found), initial=0)),
        "rows": _numbers(chain.from_iterable(found)),
        "heads": b"".join(heads),
        "head_ends": _numbers(accumulate(map(len, heads), initial=0)),
        **_blocks(bodies),
        **_texts(texts),
    }


def _by_digest(path: StorePath) -> tuple[str, str]:
    return path.digest, path


def _key(digest: str) -> int:
    """A number that orders digests as their text does; few have the same."""
    try:
        return int(digest[:KEY_LENGTH].translate(_TO_PYTHON), 32)
    except ValueError:
        return 0


def _own_paths(entry: Entry) -> Iterable[StorePath]:
    return (
        entry.native,
        entry.cross,
        *entry.native_outputs.values(),
        *entry.cross_outputs.values(),
    )


def _paths(entry: Entry) -> Iterable[StorePath]:
    yield from _own_paths(entry)
    for pair in entry.inputs:
        yield pair.native
        yield pair.cross


def _head(entry: Entry, number: Mapping[StorePath, int], texts: Mapping[str, int]) -> bytes:
    def outputs(paths: Mapping[str, StorePath]) -> list[int]:
        return [*chain.from_iterable((texts[name], number[path]) for name, path in paths.items())]

    return pack(
        (
            number[entry.native],
            number[entry.cross],
            outputs(entry.native_outputs),
            outputs(entry.cross_outputs),
            ROLES.index(entry.role),
            int(entry.difference_class),
            int(entry.grade),
            texts[entry.reason],
            [*chain.from_iterable((texts[one], texts[two]) for one, two in entry.pairing.items())],
        )
    )


def _body(
    entry: Entry, number: Mapping[StorePath, int], texts: Mapping[str, int]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return (
        [
            (
                texts[one.slot],
                number[one.native],
                number[one.cross],
                ROLES.index(one.role),
                texts[one.reason],
            )
            for one in entry.inputs
        ],
        [
            (
                texts[one.rule],
                texts[one.subject],
                texts[one.native],
                texts[one.cross],
                int(one.difference_class),
            )
            for one in entry.differences
        ],
    )


def _blocks(bodies: Sequence[Any]) -> dict[str, bytes]:
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    blocks = [
        compress(pack(bodies[start : start + BLOCK])) for start in range(0, len(bodies), BLOCK)
    ]
    return {
        "blocks": b"".join(blocks),
        "block_ends": _numbers(accumulate(map(len, blocks), initial=0)),
    }


def _texts(texts: Iterable[str]) -> dict[str, bytes]:
    raw = [text.encode("utf-8", "surrogateescape") for text in texts]
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    return {
        "texts": compress(b"".join(raw)),
        "text_ends": _numbers(accumulate(map(len, raw), initial=0)),
    }


def pack(value: Any) -> bytes:
    """Msgpack of plain values; texts may hold any bytes, as those of derivations may."""
    packed = msgpack.packb(value, unicode_errors="surrogateescape")
    assert isinstance(packed, bytes)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """The inverse of `pack`.

    Raises:
        ValueError: no msgpack, or something behind it.
    """
    return msgpack.unpackb(data, unicode_errors="surrogateescape")


def expand(data: memoryview) -> bytes:
    """What is in one zstd frame.

    Raises:
        ValueError, zstandard.ZstdError: no such frame, or one that announces more than we hold.
    """
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= MAX_SECTION:
        raise ValueError(f"a compressed section of {size} bytes")
    return zstandard.ZstdDecompressor().decompress(data)


def _numbers(numbers: Iterable[int]) -> bytes:
    """Unsigned 32-bit numbers, little-endian."""
    values = array("I", numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _read_numbers(section: memoryview) -> "Sequence[int]":
    if sys.byteorder == "big":
        values = array("I", section.tobytes())
        values.byteswap()
        return values
    return section.cast("I")


class StoredRows:
    """Entries decoded from sections, each when it is asked for (`shim.equivalence.table.Rows`)."""

    def __init__(self, sections: Mapping[str, memoryview], store_dir: str) -> None:
        """See the class.

        Args:
            sections: what `encode` made; kept, not copied.
            store_dir: the directory that all paths lie in.

        Raises:
            KeyError, ValueError, zstandard.ZstdError: sections that `encode` did not make.
        """
        self._prefix = f"{store_dir}/"
        self._digests = sections["digests"]
        self._keys = _read_numbers(sections["keys"])
        self._names = _read_numbers(sections["names"])
        self._first_row = _read_numbers(sections["first_row"])
        self._rows = _read_numbers(sections["rows"])
        self._heads = sections["heads"]
        self._head_ends = _read_numbers(sections["head_ends"])
        self._text_ends = _read_numbers(sections["text_ends"])
        self._texts = expand(sections["texts"])
        self._blocks = sections["blocks"]
        self._block_ends = _read_numbers(sections["block_ends"])
        self._block: Callable[[int], Any] = lru_cache(maxsize=8)(self._open_block)
        self._text: Callable[[int], str] = lru_cache(maxsize=4096)(self._read_text)

    def __len__(self) -> int:
        return len(self._head_ends) - 1

    def __getitem__(self, row: int) -> Entry:
        head = self._heads[self._head_ends[row] : self._head_ends[row + 1]]
        native, cross, natives, crosses, role, judged, grade, reason, pairing = unpack(head)
        return Entry.stored(
            {
                "native_outputs": partial(self._outputs, natives),
                "cross_outputs": partial(self._outputs, crosses),
                "pairing": partial(self._pairing, pairing),
                "inputs": partial(self._inputs, row),
                "differences": partial(self._differences, row),
            },
            native=self._path(native),
            cross=self._path(cross),
            role=ROLES[role],
            difference_class=CLASSES[judged],
            grade=GRADES[grade],
            reason=self._read_text(reason),
        )

    def find(self, path: StorePath) -> Sequence[int]:
        """Row numbers of `path`, ascending."""
        number = bisect_left(self._keys, _key(path.digest))
        while number < len(self._names) and (here := self._path(number)).digest <= path.digest:
            if here == path:
                return self._rows[self._first_row[number] : self._first_row[number + 1]]
            number += 1
        return ()

    def _path(self, number: int) -> StorePath:
        start = number * DIGEST_LENGTH
        digest = str(self._digests[start : start + DIGEST_LENGTH], "ascii")
        return StorePath(f"{self._prefix}{digest}-{self._read_text(self._names[number])}")

    def _outputs(self, numbers: Sequence[int]) -> dict[str, StorePath]:
        return {
            self._text(name): self._path(path)
            for name, path in zip(numbers[::2], numbers[1::2], strict=True)
        }

    def _read_text(self, number: int) -> str:
        raw = self._texts[self._text_ends[number] : self._text_ends[number + 1]]
        return raw.decode("utf-8", "surrogateescape")

    def _open_block(self, number: int) -> Any:
        packed = self._blocks[self._block_ends[number] : self._block_ends[number + 1]]
        return unpack(expand(packed))

    def _pairing(self, numbers: Sequence[int]) -> dict[str, str]:
        return {
            self._text(one): self._text(other)
            for one, other in zip(numbers[::2], numbers[1::2], strict=True)
        }

    def _body(self, row: int) -> Any:
        return self._block(row // BLOCK)[row % BLOCK]

    def _inputs(self, row: int) -> tuple[InputPair, ...]:
        text = self._text
        return tuple(
            InputPair(text(slot), self._path(native), self._path(cross), ROLES[role], text(reason))
            for slot, native, cross, role, reason in self._body(row)[0]
        )

    def _differences(self, row: int) -> tuple[Difference, ...]:
        text = self._text
        return tuple(
            Difference(text(rule), text(subject), text(one), text(two), CLASSES[judged])
            for rule, subject, one, two, judged in self._body(row)[1]
        )
