"""What is missing is named at start-up, with its remedy, and nothing is left running."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.live import world

CONFIG = """
socket = "{base}/shim.sock"
state-directory = "{base}/state"
{top}
[serving]
root = "{base}/serve"
{serving}
[plant]
root = "{base}/plant"
{plant}
[policy]
cross = {cross}
"""


def serve(
    base: Path,
    *,
    top: str = "",
    serving: str = "",
    plant: str = "",
    cross: bool = False,
    within: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Start the daemon with a configuration that cannot work."""
    path = base / "shim.toml"
    path.write_text(
        CONFIG.format(base=base, top=top, serving=serving, plant=plant, cross=str(cross).lower())
    )
    return world.run(
        [*within, sys.executable, "-m", "shim", "serve", "--config", path], check=False, timeout=60
    )


def assert_names(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert done.returncode not in {0, 1}, done
    assert "Traceback" not in done.stderr
    for each in expected:
        assert each in done.stderr, done.stderr


def test_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    done = serve(tmp_path, serving='start = false\nsocket = "/nowhere/socket"')
    assert_names(done, "/nowhere/socket", "serving nix-daemon", "start = true")


def test_a_program_that_is_no_nix_daemon(tmp_path: Path) -> None:
    done = serve(tmp_path, plant='program = "false"')
    assert_names(done, "plant nix-daemon did not come up", "exited with code 1")


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    done = serve(tmp_path, serving='program = "no-nix-daemon"')
    assert_names(done, "serving.program", "`no-nix-daemon`", "install Nix")


def test_a_missing_table(tmp_path: Path) -> None:
    done = serve(tmp_path, top=f'tables = ["{tmp_path}/none.table"]', cross=True)
    assert_names(done, "none.table")


@pytest.mark.parametrize("content", [b"", b"no table at all", bytes(4096)])
def test_a_damaged_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.table").write_bytes(content)
    done = serve(tmp_path, top=f'tables = ["{tmp_path}/bad.table"]', cross=True)
    assert_names(done, "bad.table")


def test_no_emulator_registered_and_no_cross(tmp_path: Path) -> None:
    # A namespace with an empty binfmt_misc is a machine on which nothing is registered.
    done = serve(tmp_path, within=[sys.executable, "-m", "shim.emulatorless"])
    assert_names(done, "aarch64-linux can be built neither way", "no emulator is registered")
    assert_names(done, "qemu-user-static")


def test_a_kernel_that_cannot_keep_emulators_out(tmp_path: Path) -> None:
    # Where no further user namespace can be made, plants cannot be kept from emulators: as on
    # kernels before 6.7.
    table = world.pair(
        world.derivation("pkgs.words"), world.derivation(f"{world.CROSS}.words"), tmp_path / "t"
    )
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    done = serve(
        tmp_path,
        top=f'tables = ["{table}"]',
        cross=True,
        within=[sys.executable, "-m", "shim.emulatorless", "sh", "-c", forbid, "sh"],
    )
    assert_names(done, "without emulators", "Linux 6.7", "policy.cross = false")


def test_two_daemons_with_one_state(tmp_path: Path) -> None:
    with world.Shim(tmp_path, cross=False):
        done = serve(tmp_path)
    assert_names(done, "another nix-shim uses the state directory")
