from pathlib import Path

import pytest

from tests.support.planted import GOOD_PROGRAM, Planted


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """A good result: one program that finds its library."""
    result = Planted(tmp_path)
    result.add("bin/demo", GOOD_PROGRAM)
    return result
