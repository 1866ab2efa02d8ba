"""The tokens of the NAR format and the limits on them.

Every token is a length of 8 bytes (little endian), the bytes, and zeroes up to a multiple of 8:

    nar    = "nix-archive-1" node
    node   = "(" "type" "regular" ["executable" ""] "contents" <bytes> ")"
           | "(" "type" "directory" {"entry" "(" "name" <bytes> "node" node ")"} ")"
           | "(" "type" "symlink" "target" <bytes> ")"

Entries ascend strictly by bytes.  Nix since 2.25 reads nothing but this; older readers took some
other orders of tokens that no version ever wrote.  Checked against Nix's `parseDump` and
`dumpPath`.
"""

from typing import Final

from protocol.errors import RemoteProtocolError

MAX_DEPTH: Final = 64
"""Levels of nodes, the root included.  Nix refuses more since its releases of 2026, and an unpacker
holds a directory open for each."""

MAX_NAME: Final = 255
"""Bytes of an entry's name: what Linux file systems take."""

MAX_TARGET: Final = 4095
"""Bytes of a symbolic link's target: what Linux takes."""

MAX_FILE: Final = 2**63 - 1
"""Bytes of a file: what Linux takes; contents are never held."""

_NO_NAMES: Final = frozenset({b"", b".", b".."})


class BadNar(RemoteProtocolError):
    """Bytes that are no NAR as Nix writes it."""


def token(data: bytes) -> bytes:
    """Length, bytes, zeroes up to a multiple of eight."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def _tokens(*texts: bytes) -> bytes:
    return b"".join(map(token, texts))


MAGIC: Final = token(b"nix-archive-1")
CLOSE: Final = token(b")")
REGULAR: Final = _tokens(b"(", b"type", b"regular", b"contents")
EXECUTABLE: Final = _tokens(b"(", b"type", b"regular", b"executable", b"", b"contents")
DIRECTORY: Final = _tokens(b"(", b"type", b"directory")
SYMLINK: Final = _tokens(b"(", b"type", b"symlink", b"target")
ENTRY: Final = _tokens(b"entry", b"(", b"name")
NODE: Final = token(b"node")


def is_name(name: bytes) -> bool:
    """Whether an entry can have that name, its length aside."""
    return name not in _NO_NAMES and b"/" not in name and b"\0" not in name


def is_target(target: bytes) -> bool:
    """Whether a symbolic link can have that target, its length aside."""
    return bool(target) and b"\0" not in target


def show(data: bytes) -> str:
    """Bytes for a message."""
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\0")
