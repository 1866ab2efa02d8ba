"""Walking the files of a result: every directory entry once, in a fixed order, nothing followed."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Kind(StrEnum):
    """What a directory entry is."""

    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry of an output.

    Attributes:
        output: name of the output it is in.
        inside: path within the output; empty for the output itself.
        kind: what it is.
        mode: permission bits, with set-user-id and the like.
        size: bytes of a file; number of entries of a directory.
        target: what a link points to, as it is written; empty for others.
        physical: where it lies.
    """

    output: str
    inside: str
    kind: Kind
    mode: int
    size: int
    target: str
    physical: str

    @property
    def path(self) -> str:
        """`<output>/<path in it>`, as findings name it."""
        return f"{self.output}/{self.inside}" if self.inside else self.output

    @property
    def name(self) -> str:
        """The last component of the path; empty for the output itself."""
        return self.inside[self.inside.rfind("/") + 1 :]

    @property
    def executable(self) -> bool:
        """Whether it is a file with the executable bit."""
        return self.kind is Kind.FILE and self.mode & 0o111 != 0


def walk(output: str, top: Path) -> Iterator[Entry]:
    """Every entry of an output, each directory before what is in it.

    Raises:
        OSError: `top` does not exist, or something cannot be read.
    """
    pending = [("", os.fspath(top), os.lstat(top))]
    while pending:
        inside, physical, status = pending.pop()
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
        size, target = status.st_size, ""
        if kind is Kind.LINK:
            target = os.readlink(physical)  # noqa: PTH115 - Path would normalise it
        elif kind is Kind.DIRECTORY:
            with os.scandir(physical) as scanned:
                found = sorted(
                    ((entry.name, entry.stat(follow_symlinks=False)) for entry in scanned),
                    key=lambda pair: pair[0],
                    reverse=True,
                )
            size = len(found)
            lead = f"{inside}/" if inside else ""
            pending.extend((f"{lead}{name}", f"{physical}/{name}", below) for name, below in found)
        yield Entry(output, inside, kind, stat.S_IMODE(status.st_mode), size, target, physical)


_KINDS: Final = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.LINK,
}
