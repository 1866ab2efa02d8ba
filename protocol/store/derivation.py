"""Derivations as values, their kinds of output, and the rules their fields obey.  Builds nothing.

An output is written as three texts, in `.drv` files as on the wire:

| kind | path | hash algorithm | hash |
|---|---|---|---|
| `InputAddressed` | full path | empty | empty |
| `FixedOutput` | full path | `r:sha256` and the like | base-16 digest |
| `Floating` | empty | `r:sha256` and the like | empty |
| `Deferred` | empty | empty | empty |
| `Impure` | empty | `r:sha256` and the like | `impure` |

Texts are `str`, decoded as UTF-8 with `surrogateescape`: any bytes survive both ways.
Checked against Nix's `parseDerivationOutput`, `DerivationType`, `BasicDerivation`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from protocol.errors import RemoteProtocolError
from protocol.store.content_address import ContentAddress, Method, parse_output_method
from protocol.store.hash import BadHash, Hash, HashAlgorithm
from protocol.store.path import STORE_DIR, StorePath, check_name

STRUCTURED: Final = "__json"
"""The variable that carries structured attributes."""

_IMPURE: Final = "impure"


class BadDerivation(RemoteProtocolError):
    """A derivation that breaks a rule; `.path` names the field."""


@dataclass(frozen=True, slots=True)
class InputAddressed:
    """The path follows from the derivation (`protocol.store.modulo`)."""

    path: StorePath


@dataclass(frozen=True, slots=True)
class FixedOutput:
    """The path follows from the content, which is known beforehand."""

    path: StorePath
    content: ContentAddress


@dataclass(frozen=True, slots=True)
class Floating:
    """The path follows from the content, which is known after the build (experimental)."""

    method: Method
    algorithm: HashAlgorithm


@dataclass(frozen=True, slots=True)
class Deferred:
    """Input-addressed, but an input's path is not known yet (experimental)."""


@dataclass(frozen=True, slots=True)
class Impure:
    """Floating, and never the same twice (experimental)."""

    method: Method
    algorithm: HashAlgorithm


Output: TypeAlias = InputAddressed | FixedOutput | Floating | Deferred | Impure
"""All that an output can be."""

_DEFERRED: Final = Deferred()


def read_output(path: str, algorithm: str, digest: str, store_dir: str = STORE_DIR) -> Output:
    """Tell the kind of output from its three texts.

    The stated path of a fixed output is kept as it is; whether it follows from name and hash is
    asked by `protocol.store.modulo.check_fixed`.

    Raises:
        BadDerivation: a combination that is none of the five kinds.
        RemoteProtocolError: a bad store path, algorithm or digest.
    """
    if not algorithm:
        if digest:
            raise BadDerivation(f"a hash without an algorithm: `{digest}`")
        return InputAddressed(StorePath.parse(path, store_dir)) if path else _DEFERRED
    method, named = parse_output_method(algorithm)
    if digest and digest != _IMPURE:
        content = ContentAddress(method, _base16(digest, named))
        return FixedOutput(StorePath.parse(path, store_dir), content)
    if path:
        raise BadDerivation(f"a path where none can be known yet: `{path}`")
    return Impure(method, named) if digest else Floating(method, named)


def output_texts(output: Output) -> tuple[str, str, str]:
    """Path, hash algorithm and hash as they are written; the inverse of `read_output`."""
    match output:
        case InputAddressed(path):
            return path, "", ""
        case FixedOutput(path, ContentAddress(method, content)):
            return path, f"{method.prefix}{content.algorithm}", content.base16()
        case Floating(method, algorithm):
            return "", f"{method.prefix}{algorithm}", ""
        case Impure(method, algorithm):
            return "", f"{method.prefix}{algorithm}", _IMPURE
        case Deferred():
            return "", "", ""


def output_path_name(derivation_name: str, output: str) -> str:
    """The name part of an output's path: `<name>` for `out`, else `<name>-<output>`."""
    return derivation_name if output == "out" else f"{derivation_name}-{output}"


@dataclass(frozen=True, slots=True)
class InputOutputs:
    """Which outputs of an input derivation are wanted."""

    outputs: frozenset[str]
    children: Mapping[str, "InputOutputs"] = field(default_factory=dict)
    """Outputs that are derivations themselves, and what is wanted of those (dynamic derivations,
    experimental): empty in nearly every graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What both forms of a derivation share."""

    outputs: Mapping[str, Output]
    input_sources: frozenset[StorePath]
    platform: str
    builder: str
    args: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def is_fixed(self) -> bool:
        """Whether the content is known beforehand."""
        return any(isinstance(output, FixedOutput) for output in self.outputs.values())

    def output_paths(self) -> dict[str, StorePath]:
        """The paths of the outputs whose path is known before the build, by output name."""
        return {
            name: output.path
            for name, output in self.outputs.items()
            if isinstance(output, InputAddressed | FixedOutput)
        }

    def structured(self) -> dict[str, Any] | None:
        """The structured attributes, or None where the derivation has none.

        Raises:
            BadDerivation: `__json` holds no JSON object.
        """
        text = self.env.get(STRUCTURED)
        if text is None:
            return None
        try:
            attributes = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _bad_structured(str(error)) from None
        if not isinstance(attributes, dict):
            raise _bad_structured(f"a JSON object is expected, not {type(attributes).__name__}")
        return attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicDerivation(Recipe):
    """A derivation whose inputs are all paths: what a builder is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation(Recipe):
    """A derivation as its `.drv` file holds it."""

    name: str
    """The name of the file without `.drv`."""
    input_derivations: Mapping[StorePath, InputOutputs]

    def as_basic(self, input_sources: frozenset[StorePath]) -> BasicDerivation:
        """The form for a builder, with `input_sources` for all inputs."""
        return BasicDerivation(
            outputs=self.outputs,
            input_sources=input_sources,
            platform=self.platform,
            builder=self.builder,
            args=self.args,
            env=self.env,
        )


def check_outputs(outputs: Mapping[str, Output]) -> None:
    """Refuse sets of outputs that no derivation can have.

    Raises:
        BadDerivation: a fixed one with others or not named `out`, or kinds mixed.
        BadStorePath: a name that cannot be part of a path.
    """
    for name in outputs:
        check_name(name)
    kinds = {type(output) for output in outputs.values()}
    if FixedOutput in kinds and (len(outputs) > 1 or "out" not in outputs):
        raise BadDerivation("a fixed output is the only one and named `out`")
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise BadDerivation(f"kinds of output that cannot stand side by side: {names}")


def _base16(digest: str, algorithm: HashAlgorithm) -> Hash:
    parsed = Hash.parse(digest, algorithm)
    if parsed.base16() != digest:
        raise BadHash(f"a derivation's hash is written in lower-case base 16: `{digest}`")
    return parsed


def _bad_structured(message: str) -> BadDerivation:
    error = BadDerivation(f"structured attributes: {message}")
    error.path = ("env", STRUCTURED)
    return error
