import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from shim import config
from shim.cli.install import EXAMPLE, command, files, units
from shim.config import Config
from shim.errors import ShimError

PROGRAM = "/bin/true"


def installed(prefix: Path) -> dict[str, str]:
    return {path.name: text for path, text in files(prefix, Path("/etc/nix-shim.toml"), PROGRAM)}


def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: make setup")
    done = CliRunner().invoke(
        command,
        ["--prefix", str(tmp_path), "--config", str(tmp_path / "c.toml"), "--command", PROGRAM],
    )
    assert done.exit_code == 0, done.output
    names = sorted((tmp_path / "lib/systemd/system").iterdir())
    assert len(names) == len(units())
    said = subprocess.run(
        ["systemd-analyze", "verify", *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_no_word_is_left_to_fill_in(tmp_path: Path) -> None:
    for name, text in installed(tmp_path).items():
        for word in ("@command@", "@config@", "@unit@", "@store", "@domain@", "@kill@"):
            assert word not in text, name


def test_the_example_is_a_configuration_for_these_units(tmp_path: Path) -> None:
    example = config.parse(EXAMPLE)
    texts = installed(tmp_path)
    assert example.plant is not None
    for name, store in (("serving", example.serving), ("plant", example.plant)):
        assert f"ListenStream={store.socket}\n" in texts[f"nix-shim-{name}.socket"]
        assert not store.start
    assert f"ListenStream={example.socket}\n" in texts["nix-shim.socket"]
    assert str(Config(example.serving).gateway.state_directory) in texts["nix-shim.conf"]


def test_a_configuration_that_exists_is_left(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("mine")
    CliRunner().invoke(
        command, ["--prefix", str(tmp_path), "--config", str(file), "--command", PROGRAM]
    )
    assert file.read_text() == "mine"


def test_listing_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command,
        ["--prefix", str(tmp_path / "p"), "--config", "/none", "--command", PROGRAM, "--list"],
    )
    assert "nix-shim.service" in done.output
    assert not (tmp_path / "p").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    done = CliRunner().invoke(command, ["--prefix", str(blocked / "p"), "--command", PROGRAM])
    assert isinstance(done.exception, ShimError | SystemExit)
    assert "file" in done.output + str(done.exception)
