"""The gateway's host key: found, or made at the first start, and shown in the forms boards want.

Refuses nothing about clients; `peers` does.
"""

import base64
import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

import asyncssh

from shim.config import Gateway
from shim.errors import ExitCode, ShimError

NAME: Final = "ssh_host_ed25519_key"
CREDENTIAL: Final = "host-key"
"""Name of the systemd credential that may hold the key (`LoadCredential=host-key:FILE`)."""


def find(settings: Gateway) -> asyncssh.SSHKey:
    """The host key: `gateway.host-key`, a credential, or the one in the state directory.

    Raises:
        ShimError: it cannot be read, or cannot be made.
    """
    path = settings.host_key
    if path is None and (credentials := os.environ.get("CREDENTIALS_DIRECTORY")):
        candidate = Path(credentials) / CREDENTIAL
        path = candidate if candidate.exists() else None
    if path is None:
        path = settings.state_directory / NAME
        if not path.exists():
            _make(path)
    try:
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise ShimError(
            f"cannot read the gateway's host key `{path}`: {error}",
            hint="it is an OpenSSH private key without a passphrase, readable by our user only",
            code=ExitCode.CONFIG,
        ) from error


def _make(path: Path) -> None:
    """Make an Ed25519 key.  Two that do so at the same time end up with the same one."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="nix-shim")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        with partial.open("wb") as file:
            file.write(key.export_private_key())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
            path.with_name(f"{path.name}.pub").write_bytes(key.export_public_key())
    except OSError as error:
        raise ShimError(
            f"cannot keep a host key in `{path.parent}`: {error.strerror}",
            hint="set gateway.state-directory to a folder of its user, or gateway.host-key",
            code=ExitCode.CONFIG,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def public_line(key: asyncssh.SSHKey) -> str:
    """`ssh-ed25519 AAAA...`, without a comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def public_host_key(key: asyncssh.SSHKey) -> str:
    """What `nix.buildMachines.*.publicHostKey`, and the last field of a machine, hold."""
    return base64.b64encode(public_line(key).encode()).decode()


def known_hosts(key: asyncssh.SSHKey, host: str, port: int) -> str:
    """A line of `known_hosts` for a client that calls us `host`."""
    return f"{host if port == 22 else f'[{host}]:{port}'} {public_line(key)}"
