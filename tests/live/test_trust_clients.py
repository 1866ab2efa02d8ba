"""Trust domains as Nix's own clients meet them: inputs of which nothing is believed, and copies."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.preamble import Preamble
from tests.live import talking, world
from tests.live.talking import Sayings
from tests.live.world import Board, Shim, SshDoor

STRICT = """
[domains.strict]
uploads = "rederive"
[domains.strict.serving]
root = "{base}/strict"
[peers.stranger]
domain = "strict"
"""


SPEAK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect(sys.argv[1])
    there.sendall(bytes.fromhex(sys.argv[2]))
    there.recv(1)
"""


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    base = tmp_path / "shim"
    with Shim(base, cross=False, more=STRICT.format(base=base)) as running:
        yield running


@pytest.fixture
def open_shim() -> Iterator[Shim]:
    """A shim that every user of the machine can reach."""
    with tempfile.TemporaryDirectory(prefix="nix-shim-") as folder:
        base = Path(folder)
        base.chmod(0o755)
        (base / "home").mkdir(mode=0o777)
        (base / "home").chmod(0o777)
        with Shim(base, cross=False) as running:
            yield running


@pytest.fixture
def board(sayings: Sayings, tmp_path: Path) -> Board:
    """A board that has built an input itself, so that nobody signed it."""
    board = Board(tmp_path / "board", shares=(tmp_path,))
    world.realise(sayings.drvs["plain"])
    board.receive([sayings.out("plain"), *sayings.derivation("upper").input_sources])
    world.run(["nix", "copy", "--derivation", "--to", board.store, sayings.drvs["upper"]])
    return board


def ask(board: Board, sayings: Sayings, builder: str, ssh: str = "") -> tuple[int, str]:
    """The exit code, and what the user saw."""
    done = board.nix(
        *("nix-build", sayings.drvs["upper"], "--no-out-link", "--store", board.store),
        *("--max-jobs", "0", "--builders", builder),
        check=False,
        NIX_SSHOPTS=ssh,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_newer_client_has_its_inputs_made_anew(
    shim: Shim, board: Board, sayings: Sayings, tmp_path: Path
) -> None:
    board.suite = "trixie"
    with SshDoor(tmp_path / "ssh", shim, peer="stranger") as door:
        code, said = ask(board, sayings, door.builder(), door.options)
    assert code == 0, said
    assert "upper: built under emulation" in said
    assert "plain: built under emulation" in said
    assert f"path={sayings.out('plain')}" in shim.log.read_text()
    made = shim.base / "strict" / sayings.out("plain").lstrip("/")
    assert made.read_text() == "plain\n"


def test_an_older_client_is_told_what_to_do(shim: Shim, board: Board, sayings: Sayings) -> None:
    code, said = ask(board, sayings, shim.builder().replace("stdio", "stdio%20--peer%20stranger"))
    assert code != 0
    assert "it came without its graph" in said
    assert sayings.out("plain") in said
    assert "sign them with a key of trusted-public-keys" in said


def test_copies_go_both_ways_and_stay_in_their_domain(
    shim: Shim, board: Board, sayings: Sayings, tmp_path: Path
) -> None:
    out, here = sayings.out("plain"), shim.uri()
    there = here.replace("stdio", "stdio%20--peer%20stranger")
    board.nix("nix", "copy", "--no-check-sigs", "--from", board.store, "--to", here, out)
    assert board.nix("nix", "path-info", "--store", here, out).stdout.strip() == out
    assert board.nix("nix", "path-info", "--store", there, out, check=False).returncode != 0
    back = f"local?root={tmp_path}/back"
    world.run(["nix", "copy", "--no-check-sigs", "--from", here, "--to", back, out])
    assert (tmp_path / "back" / out.lstrip("/")).read_text() == "plain\n"


def test_a_whole_graph_is_built_in_store_mode(shim: Shim, sayings: Sayings) -> None:
    store = shim.uri()
    world.run(["nix", "copy", "--derivation", "--to", store, sayings.drvs["image"]])
    done = world.run(["nix-store", "--store", store, "--realise", sayings.drvs["image"]])
    assert done.stdout.strip() == sayings.out("image")
    shown = world.run(["nix", "store", "cat", "--store", store, sayings.out("image")])
    assert shown.stdout.startswith("image /nix/store/")


def test_a_local_user_is_a_peer(open_shim: Shim, sayings: Sayings) -> None:
    sayings.put(open_shim.serving_root, ["plain"])
    store = f"unix://{open_shim.socket}?root={open_shim.serving_root}"

    def as_nobody(*words: str) -> tuple[int, str]:
        done = world.run(
            [*("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"), *words],
            check=False,
            environ=world.environment(HOME=str(open_shim.base / "home")),
        )
        return done.returncode, done.stdout + done.stderr

    code, said = as_nobody("nix-store", "--store", store, "--realise", sayings.drvs["plain"])
    assert code == 0, said
    assert "plain: built under emulation" in said
    # Its Nix sends what is in its nix.conf.
    assert "settings that boards may not change are ignored" in said
    code, said = as_nobody("nix-store", "--store", store, "--gc")
    assert code != 0
    assert "CollectGarbage is not for boards" in said
    as_nobody(
        "/usr/bin/python3", "-c", SPEAK, str(open_shim.socket), Preamble("attic").render().hex()
    )
    assert "uid 65534 may not speak for others" in open_shim.log.read_text()
