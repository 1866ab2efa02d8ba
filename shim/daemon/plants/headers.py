"""Whether two C libraries install the same headers, asked of the files themselves.

An opaque cross compiler has the cross libc's header folder baked in, so what it compiles sees those
and not the native ones.  Only when both are equal in content is that harmless (DESIGN section 2).
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=64)
def digest(folder: Path) -> str:
    """A hash over names, symlink targets and contents below `folder` (base 16).

    Store paths never change once valid, so the answer is kept.
    """
    whole = hashlib.sha256()
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(where, name)
            inside = path.relative_to(folder).as_posix().encode()
            if path.is_symlink():
                # Where a link between store paths leads differs by construction; its name counts.
                whole.update(b"link\0%b\0" % inside)
            else:
                content = hashlib.sha256(path.read_bytes()).digest()
                whole.update(b"file\0%b\0%b" % (inside, content))
    return whole.hexdigest()


def difference(native: Path, cross: Path) -> str | None:
    """Why the headers below two libc outputs are not interchangeable; None when they are.

    Args:
        native: physical folder of the native libc's output.
        cross: physical folder of the cross libc's output.
    """
    folders = native / "include", cross / "include"
    for folder in folders:
        if not folder.is_dir():
            return f"`{folder}` is no folder"
    if digest(folders[0]) == digest(folders[1]):
        return None
    return f"the headers of `{native.name}` and `{cross.name}` differ in content"
