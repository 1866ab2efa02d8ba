"""What the garbage collector must leave alone: what builds use, and what was just delivered.

Links below the store's own `gcroots`, which Nix takes for roots wherever they lie there (Nix:
`LocalStore::findRoots`).  They survive us: what was delivered stays protected over a restart, and
what builds used that a kill ended is let go at the next start.  A collection that runs already has
read the links; from it the connections that build protect, since each is a temporary root of what
it touches.
"""

import itertools
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog
import trio

from protocol.store.path import StorePath

log = structlog.get_logger()

FOLDER: Final = "nix/var/nix/gcroots/nix-shim"
"""Below the physical root of a store."""

ROUNDS: Final = (1.0, 600.0)
"""Least and most seconds between looks for what has expired."""


class Keeper:
    """Protects paths of one store."""

    def __init__(self, root: Path, seconds: float) -> None:
        """See the class.

        Args:
            root: physical root of the store.
            seconds: for which what is delivered is kept; less than one: not at all.
        """
        self._used = root / FOLDER / "used"
        self._delivered = root / FOLDER / "delivered"
        self._seconds = seconds
        self._numbers = itertools.count()

    def settle(self) -> None:
        """Let go what builds used that ended with an earlier run of ours."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._used)

    @contextmanager
    def using(self, paths: Iterable[StorePath]) -> Iterator[None]:
        """Protect `paths`, whether or not they are valid yet, during the block."""
        folder = self._used / str(next(self._numbers))
        self._link(folder, paths)
        try:
            yield
        finally:
            with suppress(OSError):
                shutil.rmtree(folder)

    def deliver(self, paths: Iterable[StorePath]) -> None:
        """Protect `paths` for a time, from now on."""
        if self._seconds >= 1:
            self._link(self._delivered, paths)

    def forget(self, paths: Iterable[StorePath]) -> None:
        """Protect `paths` no longer: they are to be deleted."""
        for path in paths:
            (self._delivered / path.base).unlink(missing_ok=True)

    def expire(self) -> None:
        """Let go what was delivered long ago."""
        oldest = time.time() - self._seconds
        with suppress(FileNotFoundError):
            for link in list(self._delivered.iterdir()):
                if link.lstat().st_mtime < oldest:
                    link.unlink(missing_ok=True)

    async def run(self) -> None:
        """Let go what has expired, for ever."""
        least, most = ROUNDS
        while True:
            await trio.to_thread.run_sync(self.expire)
            await trio.sleep(min(max(self._seconds / 4, least), most))

    def _link(self, folder: Path, paths: Iterable[StorePath]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in paths:
                link = folder / path.base
                link.unlink(missing_ok=True)
                link.symlink_to(path)
        except OSError as error:
            # A build is worth more than its protection: a disk may be full, or the store another's.
            log.warning("paths-unprotected", folder=str(folder), why=str(error))
