"""Derivations by path, read from wherever they lie: a store, a folder or an archive.

The only reading module of this package besides `file`.  A derivation is parsed when it is first
asked for and kept; one that is missing, oversized, malformed or forged (its path does not follow
from its content, so it could be its own input) is an `UnreadableDerivation` that names its path, so
that a walk can go on without it.
"""

import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

from protocol.errors import ProtocolError
from protocol.store import aterm
from protocol.store.addressing import text_path
from protocol.store.derivation import Derivation
from protocol.store.modulo import HashModulo, check_outputs
from protocol.store.path import STORE_DIR, StorePath
from shim.errors import ExitCode, ShimError

MAX_DERIVATION: Final = 64 << 20
"""Bytes of one `.drv`.  The largest of nixpkgs are below 1 MiB; a system's `etc` reaches a few."""

_OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    ".tar": lambda file: file,
    ".tar.zst": lambda file: zstandard.ZstdDecompressor().stream_reader(file),
    ".tar.xz": lzma.open,
}
"""Archive suffix -> a readable stream of the plain tar in it."""


class UnreadableDerivation(ShimError):
    """A `.drv` that is not there, or is no derivation."""

    def __init__(self, path: StorePath, why: str) -> None:
        super().__init__(f"cannot read derivation: `{path}`: {why}", code=ExitCode.DATA)
        self.path = path
        self.why = why


class Derivations:
    """A read-only, caching view of many derivations, by the path of their `.drv`."""

    def __init__(
        self, read: Callable[[StorePath], bytes | None], store_dir: str = STORE_DIR
    ) -> None:
        """See the class.

        Args:
            read: the ATerm of a `.drv`, or None if there is no such file.
            store_dir: the store directory that all paths in the derivations start with.
        """
        self.store_dir = store_dir
        self._read = read
        self._parsed: dict[StorePath, Derivation | UnreadableDerivation] = {}
        self._forgeries: dict[StorePath, str] = {}
        self._ways = [
            HashModulo(self.__getitem__, store_dir, last_wins=last_wins)
            for last_wins in (False, True)
        ]

    @classmethod
    def open(cls, where: Path, store_dir: str = STORE_DIR) -> "Derivations":
        """From `where`: an archive of `.drv` files, a folder of them, or the root of a store.

        Raises:
            ShimError: no such file, an unknown archive type, or a damaged archive.
        """
        if where.is_dir():
            folders = (where, where / store_dir.lstrip("/"))
            return cls(lambda path: _from_folders(folders, path), store_dir)
        members = dict(_archive(where))
        return cls(lambda path: members.get(path.base), store_dir)

    def __getitem__(self, path: StorePath) -> Derivation:
        """The derivation at `path`.

        Raises:
            UnreadableDerivation: it is missing or malformed; the same error each time.
        """
        found = self._parsed.get(path)
        if found is None:
            found = self._parsed[path] = self._load(path)
        if isinstance(found, UnreadableDerivation):
            raise found
        return found

    def forgery(self, path: StorePath) -> str:
        """Why the output paths stated by the derivation at `path` cannot be its own.

        Empty if they are.  Nix up to 2.7 hashed inputs of equal hash in another way, so either
        result will do.  Where an input is missing nothing can be said, and that is empty too.

        Raises:
            UnreadableDerivation: there is no such derivation.
        """
        why = self._forgeries.get(path)
        if why is None:
            why = self._forgeries[path] = self._forgery(self[path])
        return why

    def _forgery(self, derivation: Derivation) -> str:
        why = ""
        for modulo in self._ways:
            try:
                check_outputs(derivation, modulo)
            except UnreadableDerivation:
                return ""
            except ProtocolError as error:
                why = str(error)
            else:
                return ""
        return why

    def __contains__(self, path: StorePath) -> bool:
        try:
            self[path]
        except UnreadableDerivation:
            return False
        return True

    def _load(self, path: StorePath) -> Derivation | UnreadableDerivation:
        if not path.is_derivation:
            return UnreadableDerivation(path, "its name does not end in `.drv`")
        try:
            data = self._read(path)
            if data is None:
                return UnreadableDerivation(path, "no such file")
            if len(data) > MAX_DERIVATION:
                return UnreadableDerivation(path, f"larger than {MAX_DERIVATION} bytes")
            derivation = aterm.parse(data, path.name.removesuffix(".drv"), self.store_dir)
            inputs = derivation.input_sources | derivation.input_derivations.keys()
            follows = text_path(path.name, data, inputs, self.store_dir)
        except (OSError, ProtocolError) as error:
            return UnreadableDerivation(path, str(error))
        if follows != path:
            return UnreadableDerivation(path, "its content belongs to another path")
        return derivation


def _from_folders(folders: tuple[Path, ...], path: StorePath) -> bytes | None:
    for folder in folders:
        try:
            with (folder / path.base).open("rb") as file:
                return file.read(MAX_DERIVATION + 1)
        except FileNotFoundError:
            continue
    return None


def _archive(where: Path) -> Iterator[tuple[str, bytes]]:
    """Base name and content of every `.drv` member, wherever in the archive it lies."""
    opener = next((_OPENERS[end] for end in _OPENERS if where.name.endswith(end)), None)
    if opener is None:
        raise ShimError(
            f"neither a folder nor an archive of derivations: `{where}`",
            hint=f"expected a directory or one of {', '.join(_OPENERS)}",
            code=ExitCode.USAGE,
        )
    try:
        with where.open("rb") as raw, tarfile.open(fileobj=opener(raw), mode="r|") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".drv"):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name.rpartition("/")[2], content.read(MAX_DERIVATION + 1)
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        raise ShimError(f"cannot read archive: `{where}`: {error}", code=ExitCode.DATA) from error
