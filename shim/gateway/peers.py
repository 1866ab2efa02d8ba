"""Which key is which peer's.  Nobody is a peer by default, and no key is two peers'.

Keys come from the configuration (`peers.NAME.keys`) and from files like authorized_keys
(`key-files`).  Options in front of a key are taken only where they ask for less than we give
anyway; what would narrow a key further (`from=`, `expiry-time=`) is refused rather than ignored.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from shim.config import Config
from shim.errors import ExitCode, ShimError

TYPES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
"""Types of keys that are taken; RSA signs with SHA-2 only (`connection.SIGNATURES`)."""

RSA_BITS: Final = 2048
"""Shorter RSA keys are refused, as OpenSSH's `RequiredRSASize` does by about the same measure."""

_OPTIONS: Final = re.compile(r'((?:[^\s"]|"(?:\\.|[^"\\])*")+)\s+(.*)')
_OPTION: Final = re.compile(r'([A-Za-z0-9-]+)(?:="(?:\\.|[^"\\])*")?(?:,|$)')

WITHOUT_EFFECT: Final = frozenset(
    {
        *("restrict", "command", "no-pty", "no-user-rc"),
        *("no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding"),
    }
)
"""Options that hold for every peer: there is one command, and nothing of the rest."""


def read(config: Config) -> Mapping[bytes, str]:
    """Every peer's keys: the key as SSH sends it -> the peer's name.

    Raises:
        ShimError: with one line for every key that cannot be taken.
    """
    owners: dict[bytes, str] = {}
    mistakes = []
    for name, peer in config.peers.items():
        lines = [(f"peers.{name}.keys", line) for line in peer.keys]
        for path in peer.key_files:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                mistakes.append(f"peers.{name}.key-files: cannot read `{path}`: {error}")
                continue
            lines += [(f"{path}:{number}", line) for number, line in _entries(text.splitlines())]
        for where, line in lines:
            try:
                data = public_data(line)
            except ValueError as error:
                mistakes.append(f"{where}: {error}")
                continue
            if (other := owners.setdefault(data, name)) != name:
                mistakes.append(f"{where}: this key is peers.{other}'s already; whose is it?")
    if mistakes:
        raise ShimError("\n  ".join(["keys of peers:", *mistakes]), code=ExitCode.CONFIG)
    return owners


def _entries(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def public_data(line: str) -> bytes:
    """The key of an authorized_keys line, as SSH sends it.

    Raises:
        ValueError: it is none, or not one that we take; says why.
    """
    text = line.strip()
    if text.partition(" ")[0] not in TYPES and (found := _OPTIONS.fullmatch(text)):
        options, rest = found.groups()
        if rest.partition(" ")[0] in TYPES:
            _check_options(options)
            text = rest
    kind = text.partition(" ")[0]
    if kind not in TYPES:
        raise ValueError(f"`{kind}` is no type of key that is taken: {', '.join(TYPES)}")
    try:
        key = asyncssh.import_public_key(text)
    except asyncssh.KeyImportError as error:
        raise ValueError(f"not a public key: {error}") from error
    if kind == "ssh-rsa":
        rsa = load_ssh_public_key(" ".join(text.split()[:2]).encode())
        assert isinstance(rsa, RSAPublicKey)
        if rsa.key_size < RSA_BITS:
            raise ValueError(f"an RSA key of {rsa.key_size} bits; at least {RSA_BITS} are asked")
    return key.public_data


def _check_options(options: str) -> None:
    position = 0
    while position < len(options):
        found = _OPTION.match(options, position)
        if found is None or found[1].lower() not in WITHOUT_EFFECT:
            name = found[1] if found else options[position:]
            raise ValueError(f"the option `{name}` is not supported by the gateway; remove it")
        position = found.end()
