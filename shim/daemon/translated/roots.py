"""Garbage collector roots of peers: names that they chose, kept where no peer can choose a path.

`nix-store --realise --add-root NAME` makes a link of that name on its machine.  Here NAME is only a
name: the link is an entry in the peer's own folder below the serving store's `gcroots`, found again
by that name, and it expires.  So a peer can protect what it asked for, and write nowhere.
Checked against Nix's `LocalStore::findRoots`, which takes every link into the store below there.
"""

import os
import posixpath
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from protocol.errors import RemoteProtocolError
from protocol.store.path import StorePath
from shim.daemon.clients.asking import Unanswered

FOLDER: Final = "nix/var/nix/gcroots/nix-shim/peers"
"""Below the physical root of a store; Nix looks for roots in all folders there."""

MOST: Final = 1000
"""Roots of one peer.  Who needs more lets some expire, or removes them."""

LEAST: Final = 3600.0
"""Seconds that a root lasts whatever is configured: one command makes it, the next reads it."""

_LETTERS: Final = string.ascii_letters + string.digits
_LONGEST: Final = 255
"""Bytes of a file name."""


def absolute(name: str) -> str:
    """The name as an absolute one: a peer's working directory is `/`."""
    return posixpath.normpath(posixpath.join("/", name))


class Roots:
    """The roots of one peer in one store."""

    def __init__(self, store_root: Path, peer: str, store_dir: str) -> None:
        self._peers = store_root / FOLDER
        self._folder = self._peers / quote(peer, safe="")
        self._store_dir = store_dir

    def add(self, name: str, target: StorePath) -> str:
        """Make or change a root.

        Returns:
            Its absolute name.

        Raises:
            Unanswered: the name is too long or in the store, or the peer has too many roots.
        """
        name = absolute(name)
        if name.startswith(f"{self._store_dir}/"):
            raise Unanswered(
                f"creating a garbage collector root ({name}) in the Nix store is forbidden"
            )
        link = self._link(name)
        if len(os.fsencode(link.name)) > _LONGEST:
            raise Unanswered(f"the name of a root is too long: '{name}'")
        self._folder.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and sum(1 for _ in self._folder.iterdir()) >= MOST:
            raise Unanswered(f"'{name}' would be one root more than the {MOST} that are possible")
        # Nix takes a link in the midst of being made for a root as well: no name starts with `%.`.
        fresh = self._folder / f"%.{secrets.token_hex(8)}"
        fresh.symlink_to(target)
        fresh.replace(link)
        return name

    def find(self, name: str) -> StorePath | None:
        """What the root of that name points to; None if there is none."""
        with suppress(OSError, RemoteProtocolError):
            return StorePath.parse(str(self._link(absolute(name)).readlink()), self._store_dir)
        return None

    def all(self) -> list[tuple[str, StorePath]]:
        """Every root by its name, in their order."""
        names = sorted(unquote(link.name) for link in self._links())
        return [(name, found) for name in names if (found := self.find(name)) is not None]

    def remove(self, name: str) -> None:
        """Forget the root of that name, and all below it."""
        name = absolute(name)
        below = name if name == "/" else f"{name}/"
        for link in self._links():
            known = unquote(link.name)
            if known == name or known.startswith(below):
                link.unlink(missing_ok=True)

    def expire(self, seconds: float) -> None:
        """Forget what is older than that (or `LEAST`, if that is more), of all peers."""
        oldest = time.time() - max(seconds, LEAST)
        with suppress(FileNotFoundError):
            for folder in list(self._peers.iterdir()):
                for link in list(folder.iterdir()):
                    if link.lstat().st_mtime < oldest:
                        link.unlink(missing_ok=True)

    def _link(self, name: str) -> Path:
        return self._folder / quote(name, safe="")

    def _links(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from list(self._folder.iterdir())


def fill(template: str) -> str:
    """A template of `mktemp` with random letters in place of its last `X`s."""
    stem = template.rstrip("X")
    return stem + "".join(secrets.choice(_LETTERS) for _ in template[len(stem) :])
