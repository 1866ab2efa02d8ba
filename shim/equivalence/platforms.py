"""For which machine a derivation of the cross graph is made, read from its own flags.

A cross standard environment of nixpkgs adds `--build=... --host=TRIPLE` to `configureFlags`,
`CMAKE_SYSTEM_PROCESSOR` to `cmakeFlags` and `--cross-file` to `mesonFlags` of everything it makes,
text files included (`make-derivation.nix`).  Names are no guide: a quarter of the derivations for
the host carry no triple.  Triples come from the graphs themselves and from the table of systems.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final

from protocol.store.path import StorePath
from shim.equivalence.recipe import Recipe, Recipes

_CMAKE_TARGET: Final = re.compile(r"-DCMAKE_SYSTEM_PROCESSOR(?::\w+)?=(\S+)")
_CMAKE_BUILD: Final = re.compile(r"-DCMAKE_HOST_SYSTEM_PROCESSOR(?::\w+)?=(\S+)")
_MESON_CROSS: Final = re.compile(r"(?:^|\s)--cross-file\b")


class Machine(Enum):
    """Where the result of a derivation runs, or whose code it is."""

    HOST = "host"
    """The board."""
    BUILD = "build"
    """The fast machine."""
    ANY = "any"
    """Fixed by its content: sources and patches."""


class Platforms:
    """Tells machines apart, for one pair of native and build system."""

    def __init__(self, triples: Iterable[str], recipes: Recipes) -> None:
        """See the class.

        Args:
            triples: GNU triples of the host: those that the system table knows for the native
                system, and those that the cross graph's own flags name.
            recipes: the cross graph.
        """
        self.triples = frozenset(triples)
        self._recipes = recipes
        self._known: dict[StorePath, Machine] = {}
        names = "|".join(re.escape(triple) for triple in sorted(self.triples, key=_longest_first))
        self._prefix = re.compile(rf"(?:{names})-(?=.)") if names else None
        self._infix = re.compile(rf"-(?:{names})(?![A-Za-z0-9])") if names else None
        self._anywhere = re.compile(rf"(?:{names})-|-?(?:{names})") if names else None
        self._plain: dict[str, str] = {}

    def is_fixed(self, path: StorePath) -> bool:
        """Whether a derivation of either graph is a download, or the like."""
        recipe = self._recipes.get(path)
        return recipe is not None and recipe.is_fixed

    def machine(self, path: StorePath) -> Machine:
        """The machine that the derivation at `path` is for."""
        known = self._known.get(path)
        if known is None:
            # What a cycle sees of itself; only a forged graph has one.
            self._known[path] = Machine.BUILD
            known = self._known[path] = self._machine(self._recipes.get(path))
        return known

    def _machine(self, recipe: Recipe | None) -> Machine:
        if recipe is None:
            return Machine.BUILD
        if recipe.is_fixed:
            return Machine.ANY
        if recipe.foreign_triple is not None:
            return Machine.HOST if recipe.foreign_triple in self.triples else Machine.BUILD
        cmake = recipe.variable("cmakeFlags")
        target, build = _CMAKE_TARGET.findall(cmake), _CMAKE_BUILD.findall(cmake)
        if target:
            return Machine.HOST if not build or target[-1] != build[-1] else Machine.BUILD
        if _MESON_CROSS.search(recipe.variable("mesonFlags")):
            return Machine.HOST
        if "stdenv" in recipe.variables:
            return Machine.BUILD
        return self._by_inputs(recipe)

    def _by_inputs(self, recipe: Recipe) -> Machine:
        """A derivation made without a standard environment says nothing: its inputs do."""
        if self.is_tool_name(recipe.derivation.name):
            return Machine.BUILD
        mentioned = {
            mention.derivation
            for name, mentions in recipe.mentions.items()
            if name != "builder"
            for mention in mentions
            if mention.derivation is not None
        }
        if any(self.machine(path) is Machine.HOST for path in sorted(mentioned)):
            return Machine.HOST
        return Machine.BUILD

    def is_tool_name(self, name: str) -> bool:
        """Whether `name` starts with a host triple: a tool that makes code for the host."""
        return self._prefix is not None and self._prefix.match(name) is not None

    def plain(self, name: str) -> str:
        """`name` as it would be natively: without the host's triple, wherever it stands."""
        plain = self._plain.get(name)
        if plain is None:
            plain = self._plain[name] = self._without_triple(name)
        return plain

    def neutral(self, text: str) -> str:
        """Script or flag text without host triples, neither as prefix of tools nor by itself."""
        if self._anywhere is None or not any(triple in text for triple in self.triples):
            return text
        return self._anywhere.sub("", text)

    def _without_triple(self, name: str) -> str:
        if self._prefix is None or self._infix is None:
            return name
        head = self._prefix.match(name)
        return self._infix.sub("", name[head.end() :] if head else name)


def _longest_first(triple: str) -> tuple[int, str]:
    """Alternatives of a regular expression are tried in order: `gnueabihf` before `gnu`."""
    return -len(triple), triple
