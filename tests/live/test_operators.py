"""What operators ask of a running daemon: status, explain, history."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest

from shim.asking import asking
from shim.errors import ShimError
from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim


def said(*arguments: str | Path) -> str:
    return world.run([world.SHIM, *arguments]).stdout


def answer(*arguments: str | Path) -> Any:
    return json.loads(said(*arguments, "--json"))


@pytest.fixture
def pair(package: Callable[[str], Pair]) -> Pair:
    return package("lz4")


def test_a_derivation_is_explained_before_and_after_it_is_made(
    pair: Pair, make_shim: Callable[..., Shim], make_board: Callable[..., Board]
) -> None:
    port = world.free_port()
    shim = make_shim(pair, more=f"[metrics]\nenable = true\nport = {port}\n")
    config = shim.base / "shim.toml"
    before = answer("explain", pair.native, "--config", config)
    assert [step["strategy"] for step in before["steps"]] == ["cross", "emulate"]
    assert before["steps"][0]["cross"] == pair.cross
    assert {row["strategy"] for row in before["skipped"]} == {"valid", "substitute"}
    text = said("explain", pair.out, "--config", config)
    assert text.splitlines()[0] == pair.native
    assert "1. cross: planting" in text

    make_board(pair).build(pair.asked, shim.builder())
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as counted:
        page = counted.read().decode()
    labels = 'outcome="ok",strategy="cross",system="aarch64-linux"'
    assert f"nix_shim_builds_total{{{labels}}} 1.0" in page
    assert "nix_shim_builds_running 0.0" in page
    after = answer("explain", pair.native, "--config", config)
    assert [step["strategy"] for step in after["steps"]] == ["valid"]
    (row,) = [
        json.loads(line) for line in said("history", "--config", config, "--json").splitlines()
    ]
    assert (row["strategy"], row["outcome"], row["grade"]) == ("cross", "ok", "checked")

    heard = said("log", pair.out, "--config", config)
    assert "not valid: the store lacks it" in heard
    assert "cross-compiled at its native path" in heard

    shim.stop()
    done = world.run([world.SHIM, "explain", pair.native, "--config", config, "--json"])
    assert "no daemon runs" in done.stderr
    assert json.loads(done.stdout)["steps"][0]["strategy"] == "cross"


def test_a_running_build_is_shown_with_who_waits_for_it(
    pair: Pair, make_shim: Callable[..., Shim], make_board: Callable[..., Board]
) -> None:
    shim = make_shim(pair)
    config = shim.base / "shim.toml"
    board = make_board(pair)
    build = threading.Thread(target=board.build, args=(pair.asked, shim.builder()))
    build.start()
    shown: list[dict[str, Any]] = []
    strategies = set()
    while build.is_alive():
        found = answer("status", "--config", config, "--once")
        shown += found["builds"]
        strategies |= {each["strategy"] for each in found["builds"]}
    build.join()
    assert "cross" in strategies
    assert {each["derivation"] for each in shown} == {pair.native}
    assert {peer for each in shown for peer in each["peers"]} == {"board"}
    text = said("status", "--config", config)
    assert "0 builds running" in text
    assert "lz4" in text
    assert "\x1b" not in text


def test_questions_are_for_operators() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with Shim(Path(folder), cross=False) as shim:
            os.seteuid(65534)  # what the daemon sees of whoever connects
            try:
                with asking(shim.socket) as ask, pytest.raises(ShimError, match="operators only"):
                    ask(ask="status")
            finally:
                os.seteuid(0)


def test_a_daemon_that_does_not_run_is_named(tmp_path: Path) -> None:
    done = world.run([world.SHIM, "status", "--socket", tmp_path / "none"], check=False)
    assert done.returncode == 69
    assert f"no daemon answers at `{tmp_path}/none`" in done.stderr
