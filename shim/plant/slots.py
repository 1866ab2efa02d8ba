"""Where a recipe mentions store paths, and how to put others in their place.

A recipe is its builder, arguments and environment; structured attributes are walked value by value.
Nothing here knows which path belongs where: `rewrite` asks for each occurrence.  The variable that
holds an occurrence is its slot, and the slot tells which machine the path is for (nixpkgs manual,
"Specifying dependencies"; `make-derivation.nix`).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    **dict.fromkeys(
        (
            "allowedReferences",
            "allowedRequisites",
            "disallowedReferences",
            "disallowedRequisites",
            "outputChecks",
        ),
        Slot.CHECK,
    ),
}


def slot_of(variable: str) -> Slot:
    """The slot of a variable or structured attribute."""
    return _BY_VARIABLE.get(variable, Slot.TEXT)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One mention of a known path."""

    variable: str
    slot: Slot
    path: StorePath


Replace: TypeAlias = Callable[[Occurrence], str]
"""Gives the text to put in place of an occurrence's path."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The parts of a recipe that can mention paths."""

    builder: str
    args: tuple[str, ...]
    env: Mapping[str, str]


def occurrences(recipe: Recipe, known: Mapping[str, StorePath], store_dir: str) -> list[Occurrence]:
    """Every mention of a known path, in a fixed order; a repeated one is listed once.

    Args:
        recipe: builder, args and env of it are looked through.
        known: the paths to look for, by digest.
        store_dir: the directory in front of them.
    """
    found: dict[Occurrence, None] = {}
    for variable, text in texts(recipe):
        if store_dir in text:
            slot = slot_of(variable)
            for path in _paths(text, known, store_dir):
                found[Occurrence(variable, slot, path)] = None
    return list(found)


def rewrite(
    recipe: Recipe, known: Mapping[str, StorePath], store_dir: str, replace: Replace
) -> Rewritten:
    """The recipe with every mention of a known path replaced.

    Args:
        recipe: builder, args and env of it are rewritten.
        known: the paths to look for, by digest.
        store_dir: the directory in front of them.
        replace: called for each mention.
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
                parts += (text[done:start], replace(Occurrence(variable, slot, path)))
                done = start + len(path)
        return "".join((*parts, text[done:])) if parts else text

    env = {variable: put(variable, text) for variable, text in _plain(recipe.env)}
    attributes = recipe.structured()
    if attributes is not None:
        env[STRUCTURED] = dump(_map_structured(attributes, put))
    return Rewritten(
        put("builder", recipe.builder), tuple(put("args", text) for text in recipe.args), env
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

        _map_structured(attributes, keep)
        yield from found


def variables(recipe: Recipe) -> Mapping[str, Any]:
    """The variables of a recipe: the structured attributes if it has them, else the environment.

    Attributes of the nested `env` set stand beside the others: the builder sees both as variables.
    """
    attributes = recipe.structured()
    if attributes is None:
        return recipe.env
    nested = attributes.get("env")
    return {**attributes, **nested} if isinstance(nested, dict) else attributes


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


def dump(attributes: Mapping[str, Any]) -> str:
    """Structured attributes as Nix writes them: compact, not escaping what need not be escaped."""
    return json.dumps(attributes, separators=(",", ":"), ensure_ascii=False)


def _plain(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((variable, text) for variable, text in env.items() if variable != STRUCTURED)


def _map_structured(
    attributes: Mapping[str, Any], put: Callable[[str, str], str]
) -> dict[str, Any]:
    nested = attributes.get("env")
    mapped = {key: _map(value, key, put) for key, value in attributes.items()}
    if isinstance(nested, dict):
        mapped["env"] = {key: _map(value, key, put) for key, value in nested.items()}
    return mapped


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


def _paths(text: str, known: Mapping[str, StorePath], store_dir: str) -> Iterator[StorePath]:
    for match in _pattern(store_dir).finditer(text):
        path = known.get(match[1])
        if path is not None and text.startswith(path, match.start()):
            yield path


@lru_cache(maxsize=16)
def _pattern(store_dir: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(store_dir)}/([{ALPHABET}]{{{DIGEST_LENGTH}}})-")
