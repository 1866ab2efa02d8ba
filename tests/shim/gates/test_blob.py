import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.gates.blob import AHEAD, BEHIND, CHUNK, Blob

SIZE = 2 * CHUNK + 12345
CONTENT = os.urandom(SIZE)


@pytest.fixture(params=["memory", "file"])
def blob(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blob]:
    if request.param == "memory":
        yield Blob(CONTENT)
        return
    (tmp_path / "file").write_bytes(CONTENT)
    with (tmp_path / "file").open("rb") as file:
        yield Blob.of_file(file.fileno(), SIZE)


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 10),
        (CHUNK - 5, 10),
        (SIZE - 5, 10),
        (SIZE, 1),
        (SIZE + 7, 1),
        (-1, 5),
        (0, SIZE),
        (3, 0),
    ],
)
def test_ranges_are_cut_off_at_the_ends(blob: Blob, offset: int, size: int) -> None:
    expected = CONTENT[offset : offset + size] if offset >= 0 else b""
    assert blob.read(offset, size) == expected
    part = blob.part(100, SIZE - 200)
    inner = CONTENT[100 : SIZE - 100]
    assert part.read(offset, size) == (inner[offset : offset + size] if offset >= 0 else b"")


@pytest.mark.parametrize("place", [(0, SIZE), (5, CHUNK), (7, CHUNK + 1), (9, 100), (SIZE, 5)])
def test_chunks_cover_everything_once_with_surroundings(blob: Blob, place: tuple[int, int]) -> None:
    part = blob.part(*place)
    content = CONTENT[place[0] : place[0] + place[1]]
    assert part.size == len(content)
    windows = b""
    for chunk in part.chunks():
        assert content[chunk.base : chunk.base + len(chunk.data)] == chunk.data
        assert chunk.start >= min(BEHIND, chunk.base + chunk.start)
        left = len(content) - chunk.base - chunk.stop
        assert len(chunk.data) - chunk.stop >= min(AHEAD, left)
        windows += chunk.data[chunk.start : chunk.stop]
    assert windows == content


def test_parts_of_parts_add_up(blob: Blob) -> None:
    part = blob.part(1000, 1000).part(10, 5000).part(20, 30)
    assert part.read(0, 100) == CONTENT[1030:1060]
