"""Real file trees to NARs and back.  Touches nothing outside the tree it is given.

Packing follows no symbolic links and refuses what NAR cannot say (sockets, devices, pipes).
Unpacking creates everything anew and overwrites nothing; each object is made relative to the open
directory it belongs to, so neither names nor links in the NAR lead anywhere else.  Both hold one
open directory per level and one piece of contents at a time.

Of the metadata NAR knows only the executable bit: the owner's decides, as with Nix's `dumpPath`,
and modes of what is unpacked follow the umask.
"""

import os
import shutil
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, assert_never

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import MAX_DEPTH, BadNar, is_name
from protocol.nar.reader import NarReader
from protocol.nar.writer import NarWriter
from shim.errors import ShimError

PIECE: Final = 1 << 18
"""Bytes of contents read at once: beyond that, larger pieces gain nothing."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_AT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_END: Final = End()


class FileTreeError(ShimError):
    """A tree that cannot be packed, or a NAR that cannot be unpacked."""


def pack(root: Path) -> Iterator[bytes]:
    """The NAR of a file, link or directory, in pieces.

    Raises:
        FileTreeError: something in the tree cannot be read, is of a kind that NAR does not know, or
            changes while it is read.
    """
    writer = NarWriter()
    for event in scan(root):
        yield writer.write(event)


def scan(root: Path) -> Iterator[Event]:
    """The same as events.

    Raises:
        FileTreeError: as `pack`.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # `resolve` would follow a link at the root
    # One open directory and what is left of its names per level; the first is the root's parent.
    levels: list[tuple[int, Iterator[bytes]]] = []
    where: list[bytes] = []
    try:
        levels.append((os.open(root.parent, _DIRECTORY_AT), iter([os.fsencode(root.name)])))
        while levels:
            directory, names = levels[-1]
            name = next(names, None)
            if name is None:
                os.close(levels.pop()[0])
                if levels:
                    yield _END
                    where.pop()
                continue
            if len(levels) > 1:
                yield Entry(name)
            where.append(name)
            if len(levels) > MAX_DEPTH:
                raise _refused(root, where, f"lies more than {MAX_DEPTH - 1} levels deep")
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                yield Directory()
                opened = os.open(name, _DIRECTORY, dir_fd=directory)
                levels.append((opened, iter(())))
                levels[-1] = (opened, iter(_sorted_names(opened)))
                continue
            if stat.S_ISREG(found.st_mode):
                yield from _file(name, directory)
            elif stat.S_ISLNK(found.st_mode):
                yield Symlink(os.readlink(name, dir_fd=directory))
            else:
                raise _refused(root, where, "is neither a file nor a directory nor a link")
            where.pop()
    except OSError as error:
        raise _refused(root, where, f"cannot be read: {error.strerror}") from error
    except _Changed as error:
        raise _refused(root, where, "changed while it was read") from error
    finally:
        for directory, _ in levels:
            os.close(directory)


def unpack(pieces: Iterable[bytes], target: Path) -> None:
    """Create `target` from a NAR; on any failure nothing of it is left.

    Raises:
        FileTreeError: `target` exists, or the file system refuses something.
        RemoteProtocolError: the bytes are no NAR, end too early, or something follows them.
    """
    reader = NarReader()
    with Unpacker(target) as unpacker:
        for piece in pieces:
            if reader.finished and piece:
                raise BadNar("something follows the end of the NAR")
            for event in reader.feed(piece):
                unpacker.write(event)
            if reader.leftover:
                raise BadNar(f"{len(reader.leftover)} bytes and more follow the end of the NAR")
        reader.end()


class Unpacker:
    """Creates a tree from events, in the order of `protocol.nar.events`.

    A context manager: leaving it by an exception, or before the tree is complete, removes what it
    has created.
    """

    def __init__(self, target: Path) -> None:
        self.target = Path(os.path.abspath(target))  # noqa: PTH100  # as in `scan`
        self.complete = False
        """Whether the tree is whole."""
        # The open directories, the first being the target's parent.
        self._levels: list[int] = []
        self._where = [os.fsencode(self.target.name)]
        self._file: int | None = None
        self._created = False

    def __enter__(self) -> Self:
        with self._explained():
            self._levels.append(os.open(self.target.parent, _DIRECTORY_AT))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        try:
            if self._created and (kind is not None or not self.complete):
                self._remove()
        finally:
            for directory in self._levels:
                os.close(directory)
            self._levels = []

    def write(self, event: Event) -> None:
        """Create what the event says.

        Raises:
            FileTreeError: it exists already, or the file system refuses it.
            LocalProtocolError: a name that leads elsewhere, or an event that cannot come here.
        """
        with self._explained():
            match event:
                case Data(data):
                    self._contents(data)
                case Entry(name):
                    if not is_name(name):
                        raise LocalProtocolError(f"not a name of a directory entry: {name!r}")
                    self._where.append(name)
                case Regular(executable):
                    mode = 0o777 if executable else 0o666
                    self._file = os.open(self._name(), _CREATE, mode, dir_fd=self._levels[-1])
                    self._created = True
                case Directory():
                    name, parent = self._name(), self._levels[-1]
                    os.mkdir(name, dir_fd=parent)
                    self._created = True
                    self._levels.append(os.open(name, _DIRECTORY, dir_fd=parent))
                case Symlink(target):
                    os.symlink(target, self._name(), dir_fd=self._levels[-1])
                    self._created = True
                    self._node_done()
                case End():
                    self._end()
                case _:
                    assert_never(event)

    def _name(self) -> bytes:
        """The name of the node that begins; the open directories and one name make its path."""
        if self.complete or self._file is not None or len(self._where) != len(self._levels):
            raise LocalProtocolError("no node can begin here")
        return self._where[-1]

    def _contents(self, data: bytes) -> None:
        if self._file is None:
            raise LocalProtocolError("no file is open that contents could go to")
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _end(self) -> None:
        if self._file is not None:
            opened, self._file = self._file, None
            os.close(opened)
        elif len(self._levels) > 1 and len(self._where) == len(self._levels) - 1:
            os.close(self._levels.pop())
        else:
            raise LocalProtocolError("nothing is open that could end here")
        self._node_done()

    def _node_done(self) -> None:
        if len(self._levels) == 1:
            self.complete = True
        else:
            self._where.pop()

    def _remove(self) -> None:
        parent, name = self._levels[0], self._where[0]
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        try:
            yield
        except FileExistsError as error:
            raise _refused(self.target, self._where, "exists already") from error
        except OSError as error:
            reason = f"cannot be written: {error.strerror}"
            raise _refused(self.target, self._where, reason) from error


class _Changed(Exception):
    """A file is not what it was a moment ago."""


def _file(name: bytes, directory: int) -> Iterator[Event]:
    opened = os.open(name, _READ, dir_fd=directory)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise _Changed
        left = found.st_size
        yield Regular(bool(found.st_mode & stat.S_IXUSR), left)
        while left:
            piece = os.read(opened, min(PIECE, left))
            if not piece:
                raise _Changed
            left -= len(piece)
            yield Data(piece)
    finally:
        os.close(opened)
    yield _END


def _sorted_names(directory: int) -> list[bytes]:
    with os.scandir(directory) as entries:
        return sorted(os.fsencode(entry.name) for entry in entries)


def _refused(root: Path, where: list[bytes], reason: str) -> FileTreeError:
    path = os.path.join(os.fsencode(root.parent), *where)  # noqa: PTH118  # names are bytes
    return FileTreeError(f"`{os.fsdecode(path)}` {reason}")
