"""`nix-shim doctor` on a real host: it is content with a good one, and sees what is wrong."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import world
from tests.live.world import Shim


def doctor(*arguments: str | Path, **environ: str) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run(
        [world.SHIM, "doctor", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=world.environment(**environ),
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def found(lines: list[dict[str, str]], check: str) -> list[tuple[str, str]]:
    return [(line["level"], line["found"]) for line in lines if line["check"] == check]


def test_a_host_that_works_has_no_failure(make_shim: Callable[..., Shim]) -> None:
    shim = make_shim(cross=False)
    _, lines = doctor("--config", shim.base / "shim.toml")
    assert not [line for line in lines if line["level"] == "fail"]
    assert found(lines, "sandbox") == [("ok", "serving: builds cannot see this machine's files")]
    ((level, said),) = found(lines, "emulation")
    assert level == "ok"
    assert "a foreign program ran inside the sandbox" in said


@pytest.fixture
def loose_daemon(tmp_path: Path) -> Iterator[Path]:
    """Socket of a nix-daemon on the host's own store with neither sandbox nor other systems.

    A store below another root is built in with a sandbox whatever is said.
    """
    where = tmp_path / "daemon.sock"
    settings = "sandbox = false\nextra-platforms =\nbuild-users-group =\nsubstituters =\n"
    process = subprocess.Popen(
        ["nix-daemon"],
        env=world.environment(NIX_DAEMON_SOCKET_PATH=str(where), NIX_CONFIG=settings),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not world.accepts(where):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield where
    process.terminate()
    process.wait(20)


def test_what_is_wrong_is_seen_by_trying(loose_daemon: Path, tmp_path: Path) -> None:
    config = tmp_path / "shim.toml"
    config.write_text(
        f'socket = "{tmp_path}/s"\nstate-directory = "{tmp_path}/state"\n'
        f'[serving]\nroot = "/"\nstart = false\nsocket = "{loose_daemon}"\n'
    )
    code, lines = doctor("--config", config)
    assert code == 2
    ((level, said),) = found(lines, "sandbox")
    assert level == "fail"
    assert "its sandbox is off" in said
    ((level, said),) = found(lines, "emulation")
    assert level == "fail"
    assert "aarch64-linux" in said


def test_a_host_that_is_not_started_is_told_to_start(tmp_path: Path) -> None:
    config = tmp_path / "shim.toml"
    config.write_text(
        f'socket = "{tmp_path}/s"\nstate-directory = "{tmp_path}/state"\n'
        f'[serving]\nroot = "{tmp_path}/serve"\n'
    )
    code, lines = doctor("--config", config)
    assert code == 2
    ((level, said),) = found(lines, "daemon")
    assert level == "fail"
    assert "does not answer" in said
    assert all("not tried" in said for _, said in found(lines, "emulation"))


def test_a_board_reaches_its_builder(make_shim: Callable[..., Shim]) -> None:
    shim = make_shim(cross=False)
    _, lines = doctor("--board", NIX_CONFIG=f"builders = {shim.builder()}\n")
    ((level, said),) = found(lines, "reach")
    assert level == "ok", said
    shim.kill()
    code, lines = doctor("--board", NIX_CONFIG=f"builders = {shim.builder()}\n")
    assert code == 2
    ((level, said),) = found(lines, "reach")
    assert level == "fail"
