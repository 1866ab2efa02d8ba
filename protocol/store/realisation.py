"""Realisations: which path an output of a derivation came out at.  Forwards signatures unchecked.

Two forms of identity exist.  Nix 2.4 to 2.34 name an output by the derivation's hash modulo and
send the realisation as JSON; peers that negotiated `realisation-with-path-not-hash` (2.35) name it
by the path of the `.drv` and send binary.  To an old peer, 2.35 sends JSON in which the hash is all
zeroes.

The JSON is compact, its keys ascend, its paths are base names:

    {"dependentRealisations":{"<id>":"<base>"},"id":"<id>","outPath":"<base>","signatures":["<name>:<base64>"]}

Checked against Nix's `Realisation::toJSON` and `DrvOutput::parse` of 2.8, 2.34 and 2.35.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from protocol.errors import LocalProtocolError, RemoteProtocolError, inside
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import STORE_DIR, StorePath

_NO_HASH: Final = Hash(HashAlgorithm.SHA256, bytes(32))


class BadRealisation(RemoteProtocolError):
    """A text that is no realisation or no name of an output."""


@dataclass(frozen=True, slots=True, order=True)
class DrvOutput:
    """An output named by its derivation's masked hash modulo: `sha256:<base 16>!<output>`."""

    digest: str
    """64 hex digits of a SHA-256; all zeroes from peers that no longer compute it."""
    output: str

    def __str__(self) -> str:
        return f"sha256:{self.digest}!{self.output}"

    @property
    def hash(self) -> Hash:
        """The hash modulo."""
        return Hash.parse(self.digest, HashAlgorithm.SHA256)

    @classmethod
    def of(cls, modulo: Hash, output: str) -> "DrvOutput":
        """Name an output of the derivation with that hash modulo."""
        return cls(modulo.base16(), output)

    @classmethod
    def unknown(cls, output: str) -> "DrvOutput":
        """Name an output as a peer does that does not compute the hash."""
        return cls.of(_NO_HASH, output)

    @classmethod
    def parse(cls, text: str) -> "DrvOutput":
        """Read `sha256:<base 16>!<output>`.

        Raises:
            RemoteProtocolError: there is no `!`, no output name, or no SHA-256 in base 16.
        """
        digest, separator, output = text.partition("!")
        if not separator or not output:
            raise BadRealisation(f"expected a hash, `!` and an output: `{text}`")
        parsed = cls.of(Hash.parse(digest, HashAlgorithm.SHA256), output)
        if str(parsed) != text:
            raise BadRealisation(f"expected `sha256:` and 64 lower-case hex digits: `{text}`")
        return parsed


@dataclass(frozen=True, slots=True, order=True)
class DrvOutputByPath:
    """An output named by its derivation's path (feature `realisation-with-path-not-hash`)."""

    path: StorePath
    output: str


@dataclass(frozen=True, slots=True)
class UnkeyedRealisation:
    """Where an output is, without saying of what."""

    out_path: StorePath
    signatures: tuple[str, ...] = ()
    """`<key name>:<base 64>` each."""


class Form(Enum):
    """How a realisation's JSON is spelled."""

    FULL = auto()
    """All keys, signatures as texts: Nix 2.4 to 2.34."""
    OBJECTS = auto()
    """All keys, signatures as objects with `keyName` and `sig`: read by 2.35, written by nobody."""
    MINIMAL = auto()
    """Only `id` and `outPath`: what 2.35 writes for older peers."""


@dataclass(frozen=True, slots=True)
class Realisation:
    """Where an output is, with its old name: the JSON form."""

    id: DrvOutput
    out_path: StorePath
    signatures: tuple[str, ...] = ()
    dependencies: Mapping[DrvOutput, StorePath] = field(default_factory=dict)
    """Realisations it was built with; always empty since 2.34."""
    form: Form = Form.FULL

    @classmethod
    def minimal(cls, output: str, out_path: StorePath) -> "Realisation":
        """What is told to a peer when the hash modulo is not known."""
        return cls(DrvOutput.unknown(output), out_path, form=Form.MINIMAL)

    def unkeyed(self) -> UnkeyedRealisation:
        """The same fact without the name of the output."""
        return UnkeyedRealisation(self.out_path, self.signatures)

    def as_json(self) -> dict[str, Any]:
        """The JSON value; paths as base names."""
        value: dict[str, Any] = {"id": str(self.id), "outPath": self.out_path.base}
        if self.form is Form.MINIMAL:
            if self.signatures or self.dependencies:
                raise LocalProtocolError("the minimal form has no signatures and no dependencies")
            return value
        value["dependentRealisations"] = {
            str(key): path.base for key, path in self.dependencies.items()
        }
        value["signatures"] = [
            _signature_object(text) if self.form is Form.OBJECTS else text
            for text in self.signatures
        ]
        return value

    def render(self) -> str:
        """The JSON text as it goes over the wire."""
        # Nix's JSON printer sorts keys by bytes and leaves characters beyond ASCII as they are.
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, store_dir: str = STORE_DIR) -> "Realisation":
        """Read the JSON text of a peer of any version.

        Raises:
            RemoteProtocolError: no JSON, or a key is missing or has the wrong type.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRealisation(f"not JSON: {error}") from None
        return cls.from_json(value, store_dir)

    @classmethod
    def from_json(cls, value: object, store_dir: str = STORE_DIR) -> "Realisation":
        """Read a JSON value.

        Raises:
            RemoteProtocolError: as `parse`.
        """
        if not isinstance(value, dict):
            raise BadRealisation(f"expected a JSON object, found {type(value).__name__}")
        with inside("id"):
            key = DrvOutput.parse(_text(value.get("id")))
        with inside("outPath"):
            out_path = StorePath.of(_text(value.get("outPath")), store_dir)
        with inside("dependentRealisations"):
            dependencies = value.get("dependentRealisations", {})
            if not isinstance(dependencies, dict):
                raise BadRealisation("expected a JSON object")
            parsed = {
                DrvOutput.parse(name): StorePath.of(_text(base), store_dir)
                for name, base in dependencies.items()
            }
        with inside("signatures"):
            signatures = value.get("signatures", [])
            if not isinstance(signatures, list):
                raise BadRealisation("expected a JSON array")
            texts = tuple(map(_signature_text, signatures))
        form = Form.FULL
        if "signatures" not in value and "dependentRealisations" not in value:
            form = Form.MINIMAL
        elif any(isinstance(signature, dict) for signature in signatures):
            form = Form.OBJECTS
        return cls(key, out_path, texts, parsed, form)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadRealisation("expected a text")
    return value


def _signature_text(value: object) -> str:
    if isinstance(value, dict):
        return f"{_text(value.get('keyName'))}:{_text(value.get('sig'))}"
    return _text(value)


def _signature_object(text: str) -> dict[str, str]:
    name, _, signature = text.partition(":")
    return {"keyName": name, "sig": signature}
