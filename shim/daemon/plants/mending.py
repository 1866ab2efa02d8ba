"""Repairs of rejected plants: made in a copy, judged again, described for the import.

What may be changed is decided by `shim.gates.repair`; here it gets a folder, a second judgement and
what the serving store must know of the changed contents.  Nothing is imported here.
"""

import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.references import ReferenceScanner
from shim.config import Config
from shim.filetree import pack
from shim.gates import judge
from shim.gates.repair import repair
from shim.gates.subject import Subject
from shim.gates.verdict import Verdict
from shim.keys import Made

log = structlog.get_logger()

PREFIX: Final = "repair-"
"""What the names of the folders begin with in which copies are made."""

CHUNK: Final = 1 << 20
"""Bytes of a NAR handed over at once: a change of threads costs more than a small piece."""


@dataclass(frozen=True, slots=True)
class Mended:
    """A repaired copy and what the gates say of it.  Its files last as long as the context."""

    subject: Subject
    verdict: Verdict

    async def info(self, path: StorePath, built: PathInfo) -> PathInfo:
        """What is said of an output: as of the one that was built, but for its contents."""
        return await trio.to_thread.run_sync(self._info, path, built)

    def _info(self, path: StorePath, built: PathInfo) -> PathInfo:
        known = {each.digest: each for each in (*self.subject.allowed, *built.references, path)}
        scanner, hasher, size = ReferenceScanner(known), hashlib.sha256(), 0
        for piece in pack(self.subject.physical(path)):
            scanner.feed(piece)
            hasher.update(piece)
            size += len(piece)
        return replace(
            built,
            nar_hash=Hash(HashAlgorithm.SHA256, hasher.digest()),
            nar_size=size,
            references=frozenset(known[digest] for digest in scanner.found),
        )

    async def nar(self, path: StorePath) -> AsyncIterator[bytes]:
        """An output's contents."""
        pieces = pack(self.subject.physical(path))
        while chunk := await trio.to_thread.run_sync(_next, pieces):
            yield chunk


@asynccontextmanager
async def repaired(
    subject: Subject, counterparts: Mapping[StorePath, StorePath], config: Config
) -> AsyncIterator[Mended | None]:
    """The repaired form of a rejected result, or None when there is nothing to repair.

    It lies beside the plant store, on its file system, so that what is not changed is linked.
    """
    folder = await trio.to_thread.run_sync(
        partial(tempfile.TemporaryDirectory, prefix=PREFIX, dir=subject.root)
    )
    try:
        yield await trio.to_thread.run_sync(
            _repair, subject, counterparts, Path(folder.name), config
        )
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(folder.cleanup)


def _repair(
    subject: Subject, counterparts: Mapping[StorePath, StorePath], into: Path, config: Config
) -> Mended | None:
    try:
        found = repair(subject, counterparts, into)
    except OSError as error:  # a full disk, say: the verdict before the repair stands
        log.warning("repair-failed", derivation=subject.name, reason=str(error))
        return None
    if found is None:
        return None
    return Mended(found.subject, judge(found.subject, config.gates, changes=found.changes))


def sweep(root: Path) -> None:
    """Remove copies that a daemon left behind when it was killed.

    Args:
        root: physical root of the plant store; nobody may be repairing there.
    """
    for left in root.glob(f"{PREFIX}*"):
        shutil.rmtree(left)


def lowered(made: Made) -> Made:
    """How a plant that would have been `made` came about once it is repaired."""
    order = list(Made)
    return max(made, Made.REPAIRED, key=order.index)


def _next(pieces: Iterator[bytes]) -> bytes:
    """Some pieces in one; empty at the end."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= CHUNK:
            break
    return b"".join(parts)
