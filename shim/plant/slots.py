"""Where a recipe mentions store paths, and how to put others in their place.

A recipe is its builder, arguments and environment; structured attributes are walked value by value.
Nothing here knows which path belongs where: `rewrite` asks for each occurrence.  The variable that
holds an occurrence is its slot, and the slot tells which machine the path is for (nixpkgs manual,
"Specifying dependencies"; `make-derivation.nix`).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, TypeAlias

from protocol.store.base32 import ALPHABET
from protocol.store.derivation import STRUCTURED, Recipe
from protocol.store.path import DIGEST_LENGTH, StorePath


class Slot(Enum):
    """What a variable's store paths are for."""

    BUILD = auto()
    """Runs on the build machine, or is looked through there for tools."""
    HOST = auto()
    """Linked to, or found beside the result, on the machine the result is for."""
    TEXT = auto()
    """Anything else: flags, scripts, settings.  The path itself says which machine it is for."""
    CHECK = auto()
    """A list of what the result may or may not refer to; makes nothing available to the build."""


CHECKS: Final = (
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "outputChecks",
)
"""Variables that guard the result (Nix: `DerivationOptions::OutputChecks`)."""

_BY_VARIABLE: Final[Mapping[str, Slot]] = {
    **dict.fromkeys(
        (
            "builder",
            "stdenv",
            "depsBuildBuild",
            "depsBuildBuildPropagated",
            "nativeBuildInputs",
            "propagatedNativeBuildInputs",
            "depsBuildTarget",
            "depsBuildTargetPropagated",
            "nativeCheckInputs",
            "nativeInstallCheckInputs",
            "initialPath",
            "defaultNativeBuildInputs",
            "extraNativeBuildInputs",
        ),
        Slot.BUILD,
    ),
    **dict.fromkeys(
        (
            "depsHostHost",
            "depsHostHostPropagated",
            "buildInputs",
            "propagatedBuildInputs",
            "depsTargetTarget",
            "depsTargetTargetPropagated",
            "checkInputs",
            "installCheckInputs",
            "defaultBuildInputs",
            "extraBuildInputs",
        ),
        Slot.HOST,
    ),
    **dict.fromkeys(CHECKS, Slot.CHECK),
}


BROUGHT: Final[Mapping[str, str]] = {
    "propagatedNativeBuildInputs": "nativeBuildInputs",
    "depsBuildBuildPropagated": "depsBuildBuild",
    "depsBuildTargetPropagated": "depsBuildTarget",
}
"""Variable that propagates build tools -> the slot that they take at a library's user."""


def slot_of(variable: str) -> Slot:
    """The slot of a variable or structured attribute."""
    return _BY_VARIABLE.get(variable, Slot.TEXT)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One mention of a known path."""

    variable: str
    slot: Slot
    path: StorePath


Replace: TypeAlias = Callable[[Occurrence], tuple[str, str]]
"""Gives the text to put in place of an occurrence's path, and one to drop where it follows it."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The parts of a recipe that can mention paths."""

    builder: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    """Without the structured attributes."""
    attributes: Mapping[str, Any] | None

    def setting(self, changes: Mapping[str, Any]) -> "Rewritten":
        """The same with some variables set, wherever this recipe keeps them."""
        if self.attributes is None:
            return replace(self, env={**self.env, **changes})
        return replace(self, attributes={**self.attributes, **changes})

    def without(self, name: str) -> "Rewritten":
        """The same without a variable of the environment."""
        return replace(self, env={key: text for key, text in self.env.items() if key != name})

    def variable(self, name: str) -> Any:
        """The value of a variable; None where there is none."""
        return (self.env if self.attributes is None else self.attributes).get(name)

    def environment(self) -> dict[str, str]:
        """The complete environment, structured attributes as Nix writes them: compact."""
        if self.attributes is None:
            return {**self.env}
        text = json.dumps(self.attributes, separators=(",", ":"), ensure_ascii=False)
        return {**self.env, STRUCTURED: text}


def rewrite(
    recipe: Recipe, known: Mapping[str, StorePath], store_dir: str, put_in_place: Replace
) -> Rewritten:
    """The recipe with every mention of a known path replaced.

    Args:
        recipe: builder, args and env of it are rewritten.
        known: the paths to look for, by digest.
        store_dir: the directory in front of them.
        put_in_place: called for each mention.

    Raises:
        BadDerivation: its structured attributes are no JSON object.
    """
    pattern = _pattern(store_dir)

    def put(variable: str, text: str) -> str:
        if store_dir not in text:
            return text
        slot = slot_of(variable)
        parts: list[str] = []
        done = 0
        for match in pattern.finditer(text):
            path = known.get(match[1])
            start = match.start()
            if path is not None and start >= done and text.startswith(path, start):
                new, dropped = put_in_place(Occurrence(variable, slot, path))
                parts += (text[done:start], new)
                done = start + len(path)
                if dropped and text.startswith(f"{dropped}/", done):
                    done += len(dropped)
        return "".join((*parts, text[done:])) if parts else text

    attributes = recipe.structured()
    return Rewritten(
        put("builder", recipe.builder),
        tuple(put("args", text) for text in recipe.args),
        {variable: put(variable, text) for variable, text in _plain(recipe.env)},
        None
        if attributes is None
        else {name: _map(value, name, put) for name, value in attributes.items()},
    )


def texts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Variable and text of everything in a recipe that can mention a path."""
    yield "builder", recipe.builder
    for text in recipe.args:
        yield "args", text
    yield from _plain(recipe.env)
    attributes = recipe.structured()
    if attributes is not None:
        found: list[tuple[str, str]] = []

        def keep(variable: str, text: str) -> str:
            found.append((variable, text))
            return text

        for name, value in attributes.items():
            _map(value, name, keep)
        yield from found


def words(value: object) -> list[str]:
    """A list variable's elements, in either form: words of a string, or a list of strings."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return [word for each in value for word in words(each)]
    return []


def by_digest(paths: Iterable[StorePath]) -> dict[str, StorePath]:
    """Index for `occurrences` and `rewrite`."""
    return {path.digest: path for path in paths}


def _plain(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((variable, text) for variable, text in env.items() if variable != STRUCTURED)


def _map(value: Any, variable: str, put: Callable[[str, str], str]) -> Any:
    match value:
        case str():
            return put(variable, value)
        case list():
            return [_map(each, variable, put) for each in value]
        case dict():
            return {put(variable, key): _map(each, variable, put) for key, each in value.items()}
        case _:
            return value


@lru_cache(maxsize=16)
def _pattern(store_dir: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(store_dir)}/([{ALPHABET}]{{{DIGEST_LENGTH}}})-")
