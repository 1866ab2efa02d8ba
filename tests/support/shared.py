"""Material that is not ours to commit, read from beside the repository when it is there."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def shared(relative: str) -> Path:
    """The path of `../shared/<relative>`, or skip the test (fail it where CI must have it)."""
    path = SHARED / relative
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have ../shared/{relative}")
        pytest.skip(f"../shared/{relative} is absent: it is not shipped with the source")
    return path
