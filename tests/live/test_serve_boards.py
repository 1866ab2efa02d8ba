"""Real boards over `ssh://`, the protocol of `nix.buildMachines` where nothing else is said."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import quick, world
from tests.live.conftest import Pair
from tests.live.world import Board, GatewayDoor, Shim, SshDoor

Package = Callable[[str], Pair]
MakeShim = Callable[..., Shim]
MakeBoard = Callable[..., Board]

UNSAID = ""
"""The scheme of a builder whose owner wrote none."""


@pytest.mark.parametrize(
    "suite", [None, *(pytest.param(each, marks=pytest.mark.long) for each in ("trixie", "sid"))]
)
def test_a_board_with_no_special_setting_is_served(
    suite: str | None,
    package: Package,
    make_shim: MakeShim,
    make_board: MakeBoard,
    tmp_path: Path,
) -> None:
    pigz = package("pigz")
    shim, board = make_shim(pigz), make_board(pigz, suite=suite)
    with SshDoor(tmp_path / "ssh", shim) as door:
        built = board.build(pigz.asked, door.builder(scheme=UNSAID), NIX_SSHOPTS=door.options)
    assert built.stdout.strip() == pigz.out
    assert "nix-shim: pigz-2.8: cross-compiled at its native path" in built.stderr
    assert "protocol=serve" in uncoloured(shim.log.read_text())
    # Nix checks the NAR's hash when it takes it in; here that the right thing was taken.
    assert "ARM aarch64" in world.run(["file", "-L", board.physical(pigz.out) / "bin/pigz"]).stdout
    log = board.nix("nix-store", "--store", board.store, "--read-log", pigz.native).stdout
    assert "nix-shim: cross" in log
    assert "cross-compiled at its native path" in log


def uncoloured(text: str) -> str:
    """A log without what makes it colourful on a terminal."""
    return text.replace("\x1b[35m", "").replace("\x1b[0m", "").replace("\x1b[36m", "")


def test_a_failure_tells_the_board_why(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    pigz = package("pigz")
    shim, board = make_shim(cross=False, emulate=False), make_board(pigz)
    built = board.build(pigz.asked, shim.builder(protocol="ssh"), check=False)
    assert built.returncode != 0
    assert "cannot be made here" in built.stderr
    assert "cross" in built.stderr


def test_a_board_that_gives_up_stops_its_build(
    package: Package, make_shim: MakeShim, make_board: MakeBoard
) -> None:
    lz4 = package("lz4")
    shim, board = make_shim(lz4, cross=False), make_board(lz4)
    with subprocess.Popen(
        [
            *("nix-build", world.MINIPKGS, "-A", lz4.asked, "--no-out-link"),
            *("--store", board.store, "--max-jobs", "0"),
            *("--builders", shim.builder(protocol="ssh")),
        ],
        env=world.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as asking:
        wait_for(lambda: "build-started" in shim.log.read_text(), 120)
        os.killpg(asking.pid, signal.SIGINT)
        asking.wait(60)
    wait_for(lambda: "client-gone" in shim.log.read_text(), 60)
    assert shim.stop() == 0
    assert not shim.serves(lz4.out)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> quick.Quick:
    return quick.make(tmp_path_factory.mktemp("quick"))


@dataclass(frozen=True)
class Way:
    """A way to a shim by SSH."""

    shim: Shim
    options: str
    """NIX_SSHOPTS."""
    folder: Path
    """Where the keys lie that these name."""


@pytest.fixture(scope="module", params=["sshd", "gateway"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Way]:
    base = tmp_path_factory.mktemp("way")
    with Shim(base / "shim", cross=False) as shim:
        if request.param == "sshd":
            with SshDoor(base / "ssh", shim) as sshd:
                yield Way(shim, sshd.options, base)
        else:
            with GatewayDoor(base / "ssh", shim.socket) as gateway:
                yield Way(shim, gateway.options(), base)


@pytest.fixture
def door(opened: Way) -> Way:
    """A way to a shim whose store has nothing."""
    store = f"local?root={opened.shim.serving_root}"
    world.run(["nix-store", "--store", store, "--gc"])
    assert not list((opened.shim.serving_root / "nix/store").glob("*-top*"))
    return opened


def hashes(store: str, paths: list[str]) -> str:
    """The hashes that a store has registered, after it compared them with its files."""
    world.run(["nix-store", "--store", store, "--verify", "--check-contents"])
    return world.run(["nix-store", "--store", store, "--query", "--hash", *paths]).stdout


@pytest.mark.parametrize("flags", [(), ("--gzip",), ("--use-substitutes",)])
def test_closures_are_copied_both_ways(
    flags: tuple[str, ...], made: quick.Quick, door: Way, tmp_path: Path
) -> None:
    closure = world.run(["nix-store", "-qR", made.outputs["top"]]).stdout.split()
    environ = world.environment(NIX_SSHOPTS=door.options)
    copy = ["nix-copy-closure", *flags]
    world.run([*copy, "--to", "root@127.0.0.1", made.outputs["top"]], environ=environ)
    serving = f"local?root={door.shim.serving_root}"
    assert hashes(serving, closure) == world.run(["nix-store", "-q", "--hash", *closure]).stdout
    back = {**environ, "NIX_REMOTE": f"local?root={tmp_path / 'back'}"}
    world.run([*copy, "--from", "root@127.0.0.1", made.outputs["top"]], environ=back)
    assert hashes(back["NIX_REMOTE"], closure) == hashes(serving, closure)


@pytest.mark.parametrize("suite", [None, "trixie", pytest.param("sid", marks=pytest.mark.long)])
def test_nix_copy_takes_either_direction(
    suite: str | None, made: quick.Quick, door: Way, tmp_path: Path
) -> None:
    board = Board(tmp_path / "board", suite=suite, shares=(tmp_path, door.folder))
    made.put(board.root)
    top, good = made.outputs["top"], made.drvs["good"]
    copy = ("nix", "copy", "--no-check-sigs", "--store", board.store)
    board.nix(*copy, "--to", "ssh://root@127.0.0.1", top, NIX_SSHOPTS=door.options)
    board.nix(*copy, "--derivation", "--to", "ssh://root@127.0.0.1", good, NIX_SSHOPTS=door.options)
    assert door.shim.serves(top)
    assert door.shim.serves(good)
    other = Board(tmp_path / "other", suite=suite, shares=(tmp_path, door.folder))
    other.root.mkdir()
    other.nix(
        *("nix", "copy", "--no-check-sigs", "--from", "ssh://root@127.0.0.1"),
        *("--to", other.store, top),
        NIX_SSHOPTS=door.options,
    )
    assert hashes(other.store, [top]) == hashes(board.store, [top])


def ssh(door: Way, *words: str) -> subprocess.CompletedProcess[str]:
    """Run something on the far side, as scripts do."""
    return world.run(["ssh", *door.options.split(), "root@127.0.0.1", "--", *words], check=False)


def test_a_configuration_is_built_as_nixos_rebuild_does_it(
    made: quick.Quick, door: Way, tmp_path: Path
) -> None:
    environ = world.environment(NIX_SSHOPTS=door.options)
    drv = made.drvs["top"]
    world.run(["nix-copy-closure", "--to", "root@127.0.0.1", drv], environ=environ)
    folder = ssh(door, "mktemp", "-d", "-t", "nixos-rebuild.XXXXX").stdout.strip()
    built = ssh(
        door,
        *("env", "-i", "'PATH=${PATH-}'", "nix-store", "--realise", drv),
        *("--add-root", f"{folder}/0123", "--keep-going", "--max-jobs", "4"),
    )
    assert built.returncode == 0, built.stderr
    assert "said\n" in built.stderr
    out = ssh(door, "readlink", "-f", built.stdout.strip()).stdout.strip()
    assert out == made.outputs["top"]
    back = {**environ, "NIX_REMOTE": f"local?root={tmp_path / 'back'}"}
    world.run(["nix-copy-closure", "--from", "root@127.0.0.1", out], environ=back)
    assert ssh(door, "rm", "-rf", folder).returncode == 0
    assert ssh(door, "readlink", "-f", f"{folder}/0123").returncode == 1
    refused = ssh(door, f"{out}/bin/switch-to-configuration", "test")
    assert refused.returncode == 127
    assert refused.stderr.count("\n") == 1


def test_a_foreign_configuration_is_planted_at_the_build_host(
    package: Package, make_shim: MakeShim, tmp_path: Path
) -> None:
    pigz = package("pigz")
    shim = make_shim(pigz)
    to = ["--no-check-sigs", "--to", f"local?root={shim.serving_root}"]
    world.run(["nix", "copy", *to, *pigz.inputs])
    with SshDoor(tmp_path / "ssh", shim) as sshd:
        door = Way(shim, sshd.options, tmp_path)
        environ = world.environment(NIX_SSHOPTS=door.options)
        world.run(["nix-copy-closure", "--to", "root@127.0.0.1", pigz.native], environ=environ)
        built = ssh(door, "nix-store", "-r", pigz.native, "--add-root", "/tmp/result")
        assert built.stdout == "/tmp/result\n", built.stderr
        assert "nix-shim: pigz-2.8: cross-compiled at its native path" in built.stderr
        assert ssh(door, "readlink", "-f", "/tmp/result").stdout == f"{pigz.out}\n"
        hashed = ssh(door, "nix-store", "-q", "--hash", pigz.native, "--use-output").stdout
    back = world.environment(NIX_REMOTE=f"local?root={shim.serving_root}")
    assert hashed == world.run(["nix-store", "-q", "--hash", pigz.out], environ=back).stdout
