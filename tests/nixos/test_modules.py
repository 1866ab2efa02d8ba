"""Both modules, evaluated: what they render is what the daemon and Nix understand."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shim.config import Config
from shim.config.reading import CONVERTER

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

EVALUATE = ("nix-instantiate", "--store", "dummy://")
"""Needs no store, so that users without root can run it too."""

BOARD = '{ host = "fast-machine"; publicHostKey = "c3No"; }'
HOST = """{
  boards.attic = [ "ssh-ed25519 AAAA root@attic" ];
  settings = { policy.cross = true; tables = [ "/var/lib/nix-shim/system.table" ]; };
}"""


@cache
def evaluate(host: str = HOST, board: str = BOARD) -> subprocess.CompletedProcess[str]:
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed: make setup")
    return subprocess.run(
        [
            *(*EVALUATE, "--eval", "--strict", "--json", HERE / "render.nix"),
            *("--arg", "host", host, "--arg", "board", board),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rendered() -> Any:
    done = evaluate()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_daemon_understands_the_settings() -> None:
    loaded = CONVERTER.structure(rendered()["host"]["services"]["nix-shim"]["settings"], Config)
    assert loaded.policy.cross
    assert loaded.plant is not None
    assert loaded.serving.root != loaded.plant.root
    assert loaded.socket == Path("/run/nix-shim/socket")


def test_a_boards_key_may_run_the_relay_under_its_name_and_nothing_else() -> None:
    (line,) = rendered()["host"]["users"]["users"]["nix-shim"]["openssh"]["authorizedKeys"]["keys"]
    assert line.endswith(
        '/bin/nix-shim stdio --socket /run/nix-shim/socket --peer attic",'
        "restrict ssh-ed25519 AAAA root@attic"
    )
    assert line.startswith('command="')


def test_the_login_user_may_say_for_whom_it_speaks() -> None:
    host = rendered()["host"]
    uid = host["users"]["users"]["nix-shim"]["uid"]
    assert uid in host["services"]["nix-shim"]["settings"]["preamble-users"]


def test_emulators_are_registered_for_every_judged_system() -> None:
    host = rendered()["host"]
    judged = host["services"]["nix-shim"]["settings"]["systems"]
    assert host["boot"]["binfmt"]["emulatedSystems"] == judged


def test_the_board_gets_one_machine() -> None:
    (machine,) = rendered()["board"]["nix"]["buildMachines"]
    assert machine["protocol"] == "ssh-ng"
    assert machine["hostName"] == "fast-machine"
    assert machine["publicHostKey"] == "c3No"
    assert machine["systems"] == ["aarch64-linux"]


def test_a_misspelt_option_cannot_land() -> None:
    done = evaluate("{ setings.policy.cross = true; }")
    assert done.returncode != 0
    assert "no such option: services.nix-shim.setings" in done.stderr


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "nixos-module").glob("*.nix"))
)
def test_every_file_is_nix(name: str) -> None:
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed: make setup")
    subprocess.run(
        [*EVALUATE, "--parse", ROOT / "nixos-module" / name],
        capture_output=True,
        check=True,
        timeout=60,
    )
