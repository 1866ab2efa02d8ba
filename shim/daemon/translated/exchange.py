"""Export streams in and out of a store, through a session: `nix-store --export` and `--import`.

An export tells whose NAR it was only behind it, and a store wants to know first.  So an imported
NAR is held, in memory while it is small and in a nameless file below the state directory after
that; one at a time.
"""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import IO, Final

import trio

from protocol.exports import BEGIN, END, ExportReader, Item, NarData, trailer
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker.messages import AddToStoreNar, IsValidPath, NarFromPath
from shim.config import Config
from shim.daemon.clients.asking import Store, Unanswered
from shim.daemon.nix.upstream import CHUNK, Upstream

IN_MEMORY: Final = 8 << 20
"""Bytes of a NAR beyond which it is held in a file."""


async def export(upstream: Upstream, paths: Iterable[StorePath]) -> AsyncIterator[bytes]:
    """The export of `paths`, each behind those that it refers to.

    Raises:
        Unanswered: one is not valid, or has changed since it was registered.
        DaemonRefused, DaemonLost: the session fails.
    """
    store = Store(upstream)
    for path in await store.in_order(paths):
        about = await store.info(path)
        yield BEGIN
        found = hashlib.sha256()
        async for data in upstream.stream(NarFromPath(path)):
            found.update(data)
            yield data
        if (digest := Hash(HashAlgorithm.SHA256, found.digest())) != about.nar_hash:
            raise Unanswered(
                f"hash of path '{path}' has changed from '{about.nar_hash}' to '{digest}'!"
            )
        yield trailer(Item(path, about.references, about.deriver))
    yield END


async def import_stream(
    upstream: Upstream, pieces: AsyncIterable[bytes], config: Config
) -> AsyncIterator[StorePath]:
    """Add what an export stream holds; each path once the store has it.

    Args:
        upstream: the session through which it is added.
        pieces: the stream; it is read to its end, or to where something fails.
        config: says where to hold what does not fit into memory, and how much disk to leave.

    Raises:
        RemoteProtocolError: the stream breaks a rule of its format.
        Unanswered: there is no room to hold a NAR.
        DaemonRefused, DaemonLost: the session fails.
    """
    reader = ExportReader(config.store_dir)
    held = _Held(config)
    try:
        async for piece in pieces:
            for event in reader.feed(piece):
                match event:
                    case NarData(data):
                        await held.add(data)
                    case Item():
                        await _add(upstream, event, held)
                        yield event.path
                        held.close()
                        held = _Held(config)
            if reader.finished:
                return
        reader.end()
    finally:
        held.close()


async def _add(upstream: Upstream, item: Item, held: "_Held") -> None:
    if await upstream.ask(IsValidPath(item.path)):
        return
    about = PathInfo(
        deriver=item.deriver,
        nar_hash=held.hash,
        references=item.references,
        nar_size=held.size,
    )
    await upstream.ask(
        AddToStoreNar(item.path, about, dont_check_signatures=True), body=held.pieces()
    )


class _Held:
    """A NAR that waits for its name."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by `close`
            IN_MEMORY, dir=str(config.state_directory)
        )
        self._hash = hashlib.sha256()
        self.size = 0

    async def add(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        if self.size <= IN_MEMORY:
            self._file.write(data)
        else:
            await trio.to_thread.run_sync(self._write, data)

    def _write(self, data: bytes) -> None:
        where = os.statvfs(self._config.state_directory)
        if where.f_bavail * where.f_frsize < self._config.limits.disk << 20:
            raise Unanswered(
                f"no room for a NAR of more than {self.size} bytes: less than"
                f" {self._config.limits.disk} MiB are free (limits.disk)"
            )
        self._file.write(data)

    @property
    def hash(self) -> Hash:
        return Hash(HashAlgorithm.SHA256, self._hash.digest())

    async def pieces(self) -> AsyncIterator[bytes]:
        self._file.seek(0)
        while data := await self._read():
            yield data

    async def _read(self) -> bytes:
        if self.size <= IN_MEMORY:
            return self._file.read(CHUNK)
        return await trio.to_thread.run_sync(self._file.read, CHUNK)

    def close(self) -> None:
        self._file.close()
