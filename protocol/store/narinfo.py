"""Narinfo files: what a binary cache says about a path.  Fetches nothing, decompresses nothing.

    StorePath: <path>
    URL: <relative address of the NAR>
    Compression: <none, xz, zstd, bzip2, ...>
    FileHash: sha256:<nix32>            of the file at URL; may be missing
    FileSize: <bytes>                   may be missing
    NarHash: sha256:<nix32>
    NarSize: <bytes>
    References: <base names, ascending, space between>
    Deriver: <base name>                may be missing
    Sig: <name>:<base 64>               one line each, ascending
    CA: <content address>               may be missing

Written in that order; read in any.  As Nix does, unknown lines are skipped, a missing compression
means `bzip2`, and the deriver `unknown-deriver` none.  Checked against Nix's `NarInfo` of 2.8 and
2.36.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import RemoteProtocolError, inside
from protocol.store.content_address import ContentAddress
from protocol.store.hash import Hash
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.path_info import PathInfo

MAX_NUMBER: Final = 2**64 - 1


class BadNarInfo(RemoteProtocolError):
    """A text that is no narinfo file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NarInfo:
    """A path, what is known about it, and where its NAR is."""

    path: StorePath
    info: PathInfo
    url: str
    compression: str = "bzip2"
    file_hash: Hash | None = None
    file_size: int = 0
    """Bytes, 0 where unknown."""

    def render(self) -> str:
        """The text of the file."""
        info = self.info
        lines = [
            f"StorePath: {self.path}",
            f"URL: {self.url}",
            f"Compression: {self.compression}",
        ]
        if self.file_hash is not None:
            lines.append(f"FileHash: {self.file_hash}")
        if self.file_size:
            lines.append(f"FileSize: {self.file_size}")
        lines += [
            f"NarHash: {info.nar_hash}",
            f"NarSize: {info.nar_size}",
            f"References: {' '.join(sorted(path.base for path in info.references))}",
        ]
        if info.deriver is not None:
            lines.append(f"Deriver: {info.deriver.base}")
        lines += [f"Sig: {signature}" for signature in sorted(info.signatures)]
        if info.content_address is not None:
            lines.append(f"CA: {info.content_address}")
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str, store_dir: str = STORE_DIR) -> "NarInfo":
        """Read the text of a file.

        Raises:
            RemoteProtocolError: a line without colon or end, a repeated or missing one, or a value
                that is not valid; `.path` names the line.
        """
        fields: dict[str, Any] = {}
        signatures: set[str] = set()
        if text and not text.endswith("\n"):
            raise BadNarInfo("the last line does not end")
        for line in text.split("\n")[:-1]:
            name, separator, value = line.partition(":")
            if not separator:
                raise BadNarInfo(f"a line without a colon: `{line}`")
            value = value.removeprefix(" ")
            if name == "Sig":
                signatures.add(value)
            elif name in _READ:
                with inside(name):
                    if name in fields:
                        raise BadNarInfo("the line is repeated")
                    fields[name] = _READ[name](value, store_dir)
        for name in ("StorePath", "URL", "NarHash", "NarSize"):
            if not fields.get(name):
                raise BadNarInfo(f"no `{name}` is given")
        return cls(
            path=fields["StorePath"],
            info=PathInfo(
                deriver=fields.get("Deriver"),
                nar_hash=fields["NarHash"],
                references=fields.get("References", frozenset()),
                nar_size=fields["NarSize"],
                signatures=frozenset(signatures),
                content_address=fields.get("CA"),
            ),
            url=fields["URL"],
            compression=fields.get("Compression") or "bzip2",
            file_hash=fields.get("FileHash"),
            file_size=fields.get("FileSize", 0),
        )


def _text(value: str, _: str) -> str:
    return value


def _hash(value: str, _: str) -> Hash:
    return Hash.parse(value)


def _number(value: str, _: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > len(str(MAX_NUMBER)):
        raise BadNarInfo(f"not a number of bytes: `{value}`")
    return int(value)


def _references(value: str, store_dir: str) -> frozenset[StorePath]:
    return frozenset(StorePath.of(base, store_dir) for base in value.split(" ") if base)


def _deriver(value: str, store_dir: str) -> StorePath | None:
    return None if value == "unknown-deriver" else StorePath.of(value, store_dir)


def _content_address(value: str, _: str) -> ContentAddress | None:
    return ContentAddress.parse(value) if value else None


_READ: Final[dict[str, Callable[[str, str], object]]] = {
    "StorePath": StorePath.parse,
    "URL": _text,
    "Compression": _text,
    "FileHash": _hash,
    "FileSize": _number,
    "NarHash": _hash,
    "NarSize": _number,
    "References": _references,
    "Deriver": _deriver,
    "CA": _content_address,
}
