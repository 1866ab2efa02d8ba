"""Ed25519 keys in Nix's spelling, and the signatures of path infos.  Trusts no key by itself.

| what | text |
|---|---|
| secret key | `<name>:<base 64 of 32 bytes of seed and 32 of public key>` |
| public key | `<name>:<base 64 of 32 bytes>` |
| signature | `<name>:<base 64 of 64 bytes>` |

Names are not empty and hold no colon.  A path is signed by signing its fingerprint
(`PathInfo.fingerprint`).  Checked against Nix's `SecretKey`, `PublicKey`, `verifyDetached`; and
live against `nix key` and `nix store sign`.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import RemoteProtocolError
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo

_SEED_SIZE: Final = 32
_PUBLIC_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 64


class BadKey(RemoteProtocolError):
    """A text that is no key."""


class BadSignature(RemoteProtocolError):
    """A text that is no signature."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What signatures of one name are checked with."""

    name: str
    key: bytes

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read `<name>:<base 64>`.

        Raises:
            BadKey: no name, or not 32 bytes.
        """
        name, key = _parse(text, _PUBLIC_SIZE, "public key", BadKey)
        return cls(name, key)

    def render(self) -> str:
        """The text that `trusted-public-keys` lists."""
        return _render(self.name, self.key)

    def verify(self, text: str, signature: str) -> bool:
        """Whether the signature is this key's and that of the text.

        Raises:
            BadSignature: it is not `<name>:<base 64 of 64 bytes>`.
        """
        name, value = parse_signature(signature)
        if name != self.name:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(value, _bytes(text))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SecretKey:
    """What signs in one name; shown without its secret."""

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> "SecretKey":
        """A new key, from the operating system's randomness.

        Raises:
            BadKey: the name is empty or holds a colon.
        """
        if not _is_name(name):
            raise BadKey(f"the name of a key is not empty and holds no colon: `{name}`")
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "SecretKey":
        """Read `<name>:<base 64>`.

        Raises:
            BadKey: no name, not 64 bytes, or two halves that are no pair.  The message does not
                show the text.
        """
        name, both = _parse(text, _SEED_SIZE + _PUBLIC_SIZE, "secret key", BadKey, hide=True)
        key = cls(name, both[:_SEED_SIZE])
        if key.public().key != both[_SEED_SIZE:]:
            raise BadKey(f"the two halves of secret key `{name}` do not belong together")
        return key

    def render(self) -> str:
        """The text of a key file."""
        return _render(self.name, self.seed + self.public().key)

    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.name, private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signature of a text, `<name>:<base 64>`."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return _render(self.name, private.sign(_bytes(text)))


def parse_signature(text: str) -> tuple[str, bytes]:
    """The key's name and the 64 bytes of a signature.

    Raises:
        BadSignature: no name, or not 64 bytes in base 64.
    """
    return _parse(text, _SIGNATURE_SIZE, "signature", BadSignature)


def signers(path: StorePath, info: PathInfo, keys: Iterable[PublicKey]) -> frozenset[str]:
    """The names of those keys that signed what is said of a path.

    Signatures that are none, or of other keys, count for nothing: old peers pass any text.
    """
    by_name: dict[str, list[PublicKey]] = {}
    for key in keys:
        by_name.setdefault(key.name, []).append(key)
    fingerprint = info.fingerprint(path)
    found: set[str] = set()
    for signature in info.signatures:
        name = signature.partition(":")[0]
        try:
            if any(key.verify(fingerprint, signature) for key in by_name.get(name, ())):
                found.add(name)
        except BadSignature:
            continue
    return frozenset(found)


def _is_name(name: str) -> bool:
    return bool(name) and ":" not in name


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _render(name: str, value: bytes) -> str:
    return f"{name}:{base64.b64encode(value).decode('ascii')}"


def _parse(
    text: str,
    size: int,
    what: str,
    error: type[RemoteProtocolError],
    *,
    hide: bool = False,
) -> tuple[str, bytes]:
    name, _, encoded = text.partition(":")
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not name or len(value) != size:
        shown = f"`{name}`" if hide else f"`{text}`"
        raise error(f"a {what} is a name, a colon and {size} bytes in base 64: {shown}")
    return name, value
