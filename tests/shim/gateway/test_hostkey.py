import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest

from shim.config import Gateway
from shim.errors import ShimError
from shim.gateway import hostkey


def test_the_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    settings = Gateway(state_directory=tmp_path / "state")
    first = hostkey.find(settings)
    path = tmp_path / "state" / hostkey.NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert hostkey.find(settings).public_data == first.public_data
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.pub"]
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True
    ).stdout
    assert told.split()[:2] == hostkey.public_line(first).split()


def test_a_given_key_and_a_credential_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, credential = (asyncssh.generate_private_key("ssh-ed25519") for _ in "12")
    given.write_private_key(tmp_path / "given")
    credential.write_private_key(tmp_path / hostkey.CREDENTIAL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = Gateway(state_directory=tmp_path / "state")
    assert hostkey.find(settings).public_data == credential.public_data
    settings = Gateway(host_key=tmp_path / "given")
    assert hostkey.find(settings).public_data == given.public_data
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", [None, "junk"])
def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ShimError, match=str(path)):
        hostkey.find(Gateway(host_key=path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShimError, match="cannot keep a host key"):
        hostkey.find(Gateway(state_directory=tmp_path / "file" / "state"))


def test_boards_are_told_in_the_forms_they_want(tmp_path: Path) -> None:
    key = hostkey.find(Gateway(state_directory=tmp_path))
    line = hostkey.public_line(key)
    assert base64.b64decode(hostkey.public_host_key(key)).decode() == line
    assert line.startswith("ssh-ed25519 AAAA")
    assert hostkey.known_hosts(key, "fast", 22) == f"fast {line}"
    assert hostkey.known_hosts(key, "fast", 2222) == f"[fast]:2222 {line}"


def test_the_command_prints_them(tmp_path: Path) -> None:
    config = tmp_path / "shim.toml"
    config.write_text(
        f'[serving]\nroot = "/s"\n[gateway]\nstate-directory = "{tmp_path}/state"\nport = 2200\n'
    )
    done = subprocess.run(
        ["nix-shim", "gateway", "--config", config, "--show-host-key"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    key = hostkey.find(Gateway(state_directory=tmp_path / "state"))
    assert done.stdout.splitlines() == [
        f"publicHostKey: {hostkey.public_host_key(key)}",
        f"known_hosts: {hostkey.known_hosts(key, socket.gethostname(), 2200)}",
    ]
