"""What no table knows is evaluated in the background, and planted at the next request."""

import time
from collections.abc import Callable

from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim

SOURCE = """
[sources.mini]
peers = ["board"]
scan = ["--nixpkgs", "{minipkgs}", "--attrs", "zlib"]
"""


def status(shim: Shim) -> str:
    return world.run([world.SHIM, "table", "status", "--config", shim.base / "shim.toml"]).stdout


def test_the_request_after_a_scan_is_planted(
    package: Callable[[str], Pair],
    make_shim: Callable[..., Shim],
    make_board: Callable[..., Board],
) -> None:
    zlib = package("zlib")
    shim = make_shim(more=SOURCE.format(minipkgs=world.MINIPKGS), emulate=False)
    first = make_board(zlib).build(zlib.asked, shim.builder(), check=False)
    assert first.returncode != 0
    assert "no table knows it" in first.stderr
    deadline = time.monotonic() + 60
    while "source mini: " not in status(shim):
        assert time.monotonic() < deadline, shim.log.read_text()
        time.sleep(0.2)
    second = make_board(zlib, name="second").build(zlib.asked, shim.builder())
    assert "zlib-1.3.1: cross-compiled at its native path" in second.stderr
    told = status(shim)
    assert "1 of the last 2 requests found" in told
    assert "board: 1 no table knows it" in told
