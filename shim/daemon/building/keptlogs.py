"""The last build log of each derivation, kept for `nix-shim log`: one compressed file each.

A board's Nix keeps the log that it heard; this is for the host, and for boards whose session ended
early.  Old logs go when there are too many or they take too much room.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import zstandard

from protocol.store.path import StorePath
from shim.errors import ExitCode, ShimError

FILES: Final = 5000
"""Logs that are kept."""
ROOM: Final = 512 << 20
"""Bytes that they may take together."""
LONGEST: Final = 64 << 20
"""Bytes of a log that are read back: what is kept is bounded by `FlightLog`."""


class KeptLogs:
    """Logs in a folder below the state directory."""

    def __init__(self, state_directory: Path) -> None:
        self._folder = state_directory / "logs"

    def keep(self, derivation: StorePath, lines: Iterable[str]) -> None:
        """Put the log of `derivation` in the place of an older one.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self._folder.mkdir(mode=0o755, exist_ok=True)
        path = self._path(derivation)
        new = path.with_suffix(".new")
        text = "".join(f"{line}\n" for line in lines)
        try:
            new.write_bytes(zstandard.compress(text.encode(errors="surrogateescape")))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        self._forget()

    def read(self, derivation: StorePath) -> str | None:
        """The log of `derivation`, if there is one.

        Raises:
            ShimError: it cannot be read.
        """
        path = self._path(derivation)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShimError(f"cannot read the log `{path}`: {error.strerror}") from error
        try:
            text = zstandard.decompress(data, max_output_size=LONGEST)
        except zstandard.ZstdError as error:
            raise ShimError(f"the log `{path}` is damaged: {error}", code=ExitCode.DATA) from error
        return text.decode(errors="replace")

    def _path(self, derivation: StorePath) -> Path:
        return self._folder / f"{derivation.base}.log.zst"

    def _forget(self) -> None:
        """Delete the oldest logs beyond what may be kept."""
        with os.scandir(self._folder) as found:
            logs = sorted(
                ((each.stat(), Path(each.path)) for each in found if each.name.endswith(".zst")),
                key=lambda log: log[0].st_mtime,
                reverse=True,
            )
        room = 0
        for number, (stat, path) in enumerate(logs):
            room += stat.st_size
            if number >= FILES or room > ROOM:
                path.unlink(missing_ok=True)
