"""The recordings of real Nix programs that tests run through."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[1] / "transcripts"

RECORDINGS: Final = sorted(FOLDER.glob("*/*.nixrec"))


def name_of(file: Path) -> str:
    """A test's id."""
    return f"{file.parent.name}/{file.stem}"
