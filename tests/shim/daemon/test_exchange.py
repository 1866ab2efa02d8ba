"""What is held of an import until its name comes."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from protocol.store.hash import Hash
from shim.config import Config, Limits, NixStore
from shim.daemon.clients.asking import Unanswered
from shim.daemon.translated.exchange import IN_MEMORY, _Held

PIECE = bytes(range(256)) * 1024


def config(folder: Path) -> Config:
    return replace(
        Config(serving=NixStore(root=folder)), state_directory=folder, limits=Limits(disk=0)
    )


@pytest.mark.parametrize("pieces", [0, 1, IN_MEMORY // len(PIECE), IN_MEMORY // len(PIECE) + 3])
def test_what_is_held_comes_back(pieces: int, tmp_path: Path) -> None:
    async def main() -> bytes:
        held = _Held(config(tmp_path))
        for _ in range(pieces):
            await held.add(PIECE)
        assert held.size == pieces * len(PIECE)
        assert held.hash == Hash.of(PIECE * pieces)
        back = b"".join([data async for data in held.pieces()])
        held.close()
        return back

    assert trio.run(main) == PIECE * pieces
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    async def main() -> None:
        full = replace(config(tmp_path), limits=Limits(disk=1 << 30))
        held = _Held(full)
        try:
            for _ in range(IN_MEMORY // len(PIECE) + 1):
                await held.add(PIECE)
        finally:
            held.close()

    with pytest.raises(Unanswered, match=r"limits\.disk"):
        trio.run(main)
