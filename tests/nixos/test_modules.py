"""Both modules, evaluated: what they render is what the daemon, systemd and Nix understand.

With `NIX_SHIM_NIXPKGS` naming a checkout of nixpkgs its own `lib` evaluates them as well.
"""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shim import config
from shim.cli.install import units

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

EVALUATE = ("nix-instantiate", "--store", "dummy://")
"""Needs no store, so that users without root can run it too."""

BOARD = '{ host = "fast-machine"; publicHostKey = "c3No"; }'
HOST = """{
  peers.attic.keys = [ "ssh-ed25519 AAAA root@attic" ];
  tables = [ "/var/lib/nix-shim/system.table" ];
  settings.policy.cross = true;
}"""

WORD = re.compile("@[a-z]+@")
"""What is filled in for a unit."""

LIBS = [None, *filter(None, [os.environ.get("NIX_SHIM_NIXPKGS")])]


@cache
def evaluate(
    nixpkgs: str | None, host: str = HOST, board: str = BOARD
) -> subprocess.CompletedProcess[str]:
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed: make setup")
    real = ["--arg", "nixpkgs", nixpkgs] if nixpkgs else []
    return subprocess.run(
        [
            *(*EVALUATE, "--eval", "--strict", "--json", HERE / "render.nix"),
            *("--arg", "host", host, "--arg", "board", board, *real),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Rendered:
    """What the modules set, for some options of ours."""

    def __init__(self, nixpkgs: str | None) -> None:
        self._nixpkgs = nixpkgs

    def refused(self, **options: str) -> str:
        """What Nix says of options that cannot be."""
        done = evaluate(self._nixpkgs, **options)
        assert done.returncode != 0
        return done.stderr

    def _evaluated(self, **options: str) -> Any:
        done = evaluate(self._nixpkgs, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def host(self, options: str = HOST) -> Any:
        return self._evaluated(host=options)["host"]

    def board(self, options: str = BOARD) -> Any:
        return self._evaluated(board=options)["board"]

    def settings(self, options: str = HOST) -> config.Config:
        """The configuration, as the daemon reads it."""
        return config.build(self.host(options)["services"]["nix-shim"]["settings"])


@pytest.fixture(params=LIBS, ids=lambda lib: "nixpkgs" if lib else "stand-in")
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return Rendered(request.param)


def test_the_daemon_understands_the_settings(rendered: Rendered) -> None:
    loaded = rendered.settings()
    assert loaded.policy.cross
    assert loaded.plant is not None
    assert loaded.serving.root != loaded.plant.root
    assert loaded.socket == Path("/run/nix-shim/socket")
    assert loaded.peers["attic"].keys == ("ssh-ed25519 AAAA root@attic",)


def test_the_file_is_checked_when_the_system_is_built() -> None:
    text = (ROOT / "nixos-module" / "host.nix").read_text()
    assert "check-config ${toml.generate" in text


def test_each_store_has_a_daemon_unit_at_the_socket_that_the_settings_name(
    rendered: Rendered,
) -> None:
    options = HOST.replace("{", '{ domains.guests.uploads = "rederive";', 1)
    host, loaded = rendered.host(options), rendered.settings(options)
    for name, domain in loaded.all_domains().items():
        for kind in ("serving", "plant"):
            store = getattr(domain, kind)
            assert not store.start
            unit = f"nix-shim-{store.socket.name}"
            listens = host["systemd"]["sockets"][unit]["socketConfig"]["ListenStream"]
            assert listens == str(store.socket)
            service = host["systemd"]["services"][unit]
            assert f"nix-daemon {kind} " in service["serviceConfig"]["ExecStart"]
            assert service["serviceConfig"]["ExecStart"].endswith(f"--domain {name}")
            assert service["unitConfig"]["Requires"] == [f"{unit}.socket"]


def test_the_hosts_own_store_needs_no_daemon_of_ours(rendered: Rendered) -> None:
    options = HOST.replace("{", '{ store = "host";', 1)
    host = rendered.host(options)
    assert "nix-shim-serving" not in host["systemd"]["services"]
    assert rendered.settings(options).serving.root == Path("/")
    assert host["nix"]["settings"]["extra-platforms"] == ["aarch64-linux"]
    assert (
        "nix-shim-serving.socket"
        not in host["systemd"]["services"]["nix-shim"]["unitConfig"]["After"]
    )


def test_units_are_those_that_install_writes(rendered: Rendered) -> None:
    services = rendered.host()["systemd"]["services"]
    for name, unit in units().items():
        stem, _, kind = name.rpartition(".")
        if kind == "service":
            for setting, value in unit["Service"].items():
                found = services[stem]["serviceConfig"][setting]
                if WORD.search(str(value)):
                    assert not WORD.search(str(found)), (name, setting)
                else:
                    assert found == value, (name, setting)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nix-shim", {"PrivateNetwork": True, "Type": "notify", "ProtectSystem": "strict"}),
        ("nix-shim-gateway", {"User": "nix-shim-gateway", "CapabilityBoundingSet": ""}),
    ],
)
def test_each_unit_has_its_sandbox(
    rendered: Rendered, unit: str, expected: dict[str, object]
) -> None:
    found = rendered.host()["systemd"]["services"][unit]["serviceConfig"]
    assert expected.items() <= found.items()


def test_what_an_operator_sets_wins_over_the_sandbox(rendered: Rendered) -> None:
    options = HOST.replace("{", "{ settings.metrics.enable = true;", 1)
    found = rendered.host(options)["systemd"]["services"]["nix-shim"]["serviceConfig"]
    assert found["PrivateNetwork"] is False


def test_keys_come_as_credentials(rendered: Rendered) -> None:
    options = HOST.replace(
        "{",
        '{ hostKeyFile = "/run/secrets/host"; signingKeyFiles = [ "/run/secrets/box-checked-1" ];',
        1,
    )
    services, loaded = rendered.host(options)["systemd"]["services"], rendered.settings(options)
    gateway = services["nix-shim-gateway"]["serviceConfig"]["LoadCredential"]
    assert gateway == ["host-key:/run/secrets/host"]
    assert loaded.gateway.host_key == Path("/run/credentials/nix-shim-gateway.service/host-key")
    daemon = services["nix-shim"]["serviceConfig"]["LoadCredential"]
    assert daemon == ["box-checked-1:/run/secrets/box-checked-1"]
    assert loaded.key_directory == Path("/run/credentials/nix-shim.service")


def test_the_gateway_may_say_for_whom_it_speaks(rendered: Rendered) -> None:
    host = rendered.host()
    uid = host["users"]["users"]["nix-shim-gateway"]["uid"]
    assert uid in rendered.settings().preamble_users


def test_emulators_are_registered_for_every_judged_system(rendered: Rendered) -> None:
    options = HOST.replace("{", '{ systems = [ "aarch64-linux" "riscv64-linux" ];', 1)
    host = rendered.host(options)
    assert host["boot"]["binfmt"]["emulatedSystems"] == list(rendered.settings(options).systems)
    assert (
        rendered.host(HOST.replace("{", "{ emulation = false;", 1))["boot"]["binfmt"][
            "emulatedSystems"
        ]
        == []
    )


def test_the_firewall_opens_when_asked(rendered: Rendered) -> None:
    assert rendered.host()["networking"]["firewall"]["allowedTCPPorts"] == []
    options = HOST.replace("{", "{ openFirewall = true; port = 2022;", 1)
    assert rendered.host(options)["networking"]["firewall"]["allowedTCPPorts"] == [2022]
    assert rendered.settings(options).gateway.port == 2022


def test_garbage_is_collected_when_asked(rendered: Rendered) -> None:
    name = "nix-shim-collect-garbage"
    assert rendered.host()["systemd"]["services"][name]["startAt"] == "weekly"
    options = HOST.replace("{", "{ gc.automatic = false;", 1)
    assert name not in rendered.host(options)["systemd"]["services"]


def test_the_board_gets_one_machine(rendered: Rendered) -> None:
    board = rendered.board()
    (machine,) = board["nix"]["buildMachines"]
    assert machine["protocol"] == "ssh-ng"
    assert machine["hostName"] == "fast-machine"
    assert machine["publicHostKey"] == "c3No"
    assert machine["systems"] == ["aarch64-linux"]
    assert machine["maxJobs"] > 1
    assert board["nix"]["distributedBuilds"]
    assert board["nix"]["settings"]["builders-use-substitutes"]


def test_ssh_finds_the_port_and_the_key_by_the_name_that_nix_uses(
    rendered: Rendered, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(rendered.board()["programs"]["ssh"]["extraConfig"])
    done = subprocess.run(
        ["ssh", "-G", "-F", file, "fast-machine"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert said["port"] == "2222"
    assert said["hostkeyalias"] == "fast-machine"
    assert said["serveraliveinterval"] == "30"
    assert said["controlmaster"] == "auto"


def test_a_board_cannot_name_localhost(rendered: Rendered) -> None:
    (assertion,) = rendered.board('{ host = "localhost"; }')["assertions"]
    assert not assertion["assertion"]


@pytest.mark.parametrize(
    ("host", "board"),
    [
        ("{ setings.policy.cross = true; }", BOARD),
        ("{ gc.automatik = true; }", BOARD),
        ('{ store = "hots"; }', BOARD),
        (HOST, '{ host = "x"; hostkey = "y"; }'),
        (HOST, '{ host = "x"; maxJobs = 0; }'),
    ],
)
def test_a_mistake_in_an_option_cannot_land(rendered: Rendered, host: str, board: str) -> None:
    said = rendered.refused(host=host, board=board)
    assert "nix-shim" in said


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "nixos-module").glob("*.nix"), ROOT / "flake.nix"]),
    ids=lambda path: path.name,
)
def test_every_file_is_nix(path: Path) -> None:
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed: make setup")
    subprocess.run([*EVALUATE, "--parse", path], capture_output=True, check=True, timeout=60)
