"""Which native tools realised native libraries name in `nix-support`: read from the files.

`setup.sh` of nixpkgs follows these files from every dependency on (`findInputs`); so does this, for
libraries only and as far as tools of the build machine are named.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError
from protocol.store.path import StorePath
from shim.plant.propagation import FILES, FURTHER

LARGEST: Final = 1 << 20
"""Bytes of such a file that are read: real ones hold a few paths."""


def brought_along(
    root: Path, libraries: Iterable[StorePath], store_dir: str
) -> dict[StorePath, str]:
    """Tools that `libraries`, and what these propagate, name for whoever builds with them.

    Args:
        root: physical root of a store in which they are valid.
        libraries: native outputs in slots of dependencies.
        store_dir: where store paths lie.

    Returns:
        Output of a tool -> slot that it takes at the user; in a fixed order.
    """
    found: dict[StorePath, str] = {}
    seen: set[StorePath] = set()
    waiting = sorted(libraries)
    while waiting:
        library = waiting.pop(0)
        if library in seen:
            continue
        seen.add(library)
        folder = root / library.lstrip("/") / "nix-support"
        for file, slot in FILES.items():
            for tool in _named(folder / file, store_dir):
                found.setdefault(tool, slot)
        for file in FURTHER:
            waiting += _named(folder / file, store_dir)
    for tool in [*found]:
        for further in _below(root, tool, store_dir):
            found.setdefault(further, found[tool])
    return found


def _below(root: Path, tool: StorePath, store_dir: str) -> Iterator[StorePath]:
    """What a tool brings along in turn: it takes the tool's own slot."""
    seen = {tool}
    waiting = [tool]
    while waiting:
        folder = root / waiting.pop(0).lstrip("/") / "nix-support"
        for file in FURTHER:
            for each in _named(folder / file, store_dir):
                if each not in seen:
                    seen.add(each)
                    waiting.append(each)
                    yield each


def _named(file: Path, store_dir: str) -> list[StorePath]:
    """The store paths that a file lists; none where it is not there."""
    try:
        with file.open(errors="replace") as opened:
            words = opened.read(LARGEST).split()
    except OSError:
        return []
    found = []
    for word in words:
        try:
            found.append(StorePath.parse(word, store_dir))
        except ProtocolError:
            continue  # a file below a path, or no path at all: nothing that a table knows
    return found
