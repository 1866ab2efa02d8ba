"""Every ceiling on what a peer may make us hold.  NAR contents are never held and have none.

A limit is asked before anything announced is read.  Limits are in bytes of the wire; the Python
values made of them were measured to take up to eight times as much memory (long sets of short
texts).  Names, digests and nesting have their own limits where they are defined
(`protocol.store.path`, `protocol.nar.format`).
"""

from typing import Final

MAX_TEXT: Final = 64 << 20
"""Bytes of one string.  The largest honest ones are structured attributes, files written by
`builtins.toFile` and pieces of an export; Nix itself has no limit."""

MAX_ITEMS: Final = 1 << 22
"""Items of one list, set or map.  The longest honest one is all paths of a large binary cache."""

MAX_REQUEST: Final = 128 << 20
"""Bytes of one request without its body: a question about a million paths has some 80 MiB."""

MAX_REPLY: Final = 512 << 20
"""Bytes of one reply without its body: all paths of a large store, told by our own daemon."""

MAX_MESSAGE: Final = MAX_TEXT + (1 << 20)
"""Bytes of one log message or error: one long text and some fields."""

MAX_HANDSHAKE: Final = 64 << 10
"""Bytes of a handshake: a dozen words and some names of features, from whoever could connect."""

MAX_FRAME: Final = 0xFFFF_FFFF
"""Bytes of one frame: Nix reads the length as 32 bits.  Frames are passed on in pieces."""

MAX_AHEAD: Final = 1 << 20
"""Bytes that a peer may send before it is its turn.  No Nix client sends requests ahead of replies,
but the end of a transfer and the next request may arrive together."""

MAX_TRACES: Final = 10_000
"""Lines of an error's trace: evaluation errors of a deep stack have hundreds."""

MAX_FIELDS: Final = 64
"""Fields of one activity or result: Nix's own have four at most."""
