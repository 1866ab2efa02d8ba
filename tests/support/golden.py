"""Nix's own golden bytes, read from `../shared/golden` (they are not ours to commit)."""

import json
from typing import Any

from tests.support.shared import shared


def golden(name: str) -> bytes:
    """The wire bytes of `../shared/golden/<name>.bin`; skips the test where they are absent."""
    return shared(f"golden/{name}.bin").read_bytes()


def documented(name: str) -> Any:
    """The value beside them, in the JSON form of Nix's tests."""
    return json.loads(shared(f"golden/{name}.json").read_text())
