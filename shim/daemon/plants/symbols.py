"""Whether a toolchain's native run-time libraries offer what its cross ones do, asked of the files.

What an opaque cross compiler brings along (`crt*.o`, `libgcc.a`, headers of the C++ library) was
made for the cross set's libraries, and planted programs load the native ones.  Symbol versions tell
which interface a library offers (LSB core specification, "Symbol Versioning").
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from shim.gates.blob import Blob
from shim.gates.elffile import Elf, ElfError


@lru_cache(maxsize=64)
def offered(output: Path) -> Mapping[str, frozenset[str]]:
    """Library name (`soname`) -> symbol versions it defines, for all libraries of an output.

    Store paths never change once valid, so the answer is kept.
    """
    found: dict[str, frozenset[str]] = {}
    for where, _, names in os.walk(output):
        for name in sorted(names):
            path = Path(where, name)
            if ".so" in name and path.is_file() and not path.is_symlink():
                found.update(_defined(path))
    return found


def _defined(path: Path) -> Mapping[str, frozenset[str]]:
    with path.open("rb") as opened:
        blob = Blob.of_file(opened.fileno(), path.stat().st_size)
        try:
            dynamic = Elf(blob).dynamic
        except ElfError:
            return {}  # a linker script, or debug information
        if dynamic is None or dynamic.soname is None:
            return {}
        return {dynamic.soname: dynamic.defines}


def lacking(native: Path, cross: Path) -> str | None:
    """Which symbol versions the native libraries lack; None when they lack none.

    A library that only one side has is nothing to compare.

    Args:
        native: physical folder of the native output.
        cross: physical folder of the cross one.
    """
    ours = offered(native)
    missing = {
        soname: sorted(wanted - ours.get(soname, wanted))
        for soname, wanted in sorted(offered(cross).items())
    }
    told = [f"{soname} {', '.join(versions)}" for soname, versions in missing.items() if versions]
    if not told:
        return None
    return f"`{native.name}` lacks symbol versions that `{cross.name}` has: {'; '.join(told)}"
