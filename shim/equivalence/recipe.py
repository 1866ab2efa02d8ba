"""A derivation as the walk sees it: its variables as text, and the store paths they mention.

Structured attributes are flattened to the same form, so that nothing behind this module cares how
a derivation was written.  Which machine a recipe is for is asked of `platforms`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from protocol.store.base32 import ALPHABET
from protocol.store.derivation import STRUCTURED, BadDerivation, Derivation
from protocol.store.path import DIGEST_LENGTH, StorePath
from shim.equivalence.source import Derivations, UnreadableDerivation

UNREFERENCED: Final = re.compile(r"(dis)?allowed(References|Requisites)|outputChecks")
"""Variables that mention paths without using them: lists that guard the result."""

_HOST_FLAG: Final = re.compile(r"(?:^|\s)--host=([A-Za-z0-9_.-]+)")
_BUILD_FLAG: Final = re.compile(r"(?:^|\s)--build=([A-Za-z0-9_.-]+)")


@dataclass(frozen=True, slots=True)
class Mention:
    """One occurrence of an input's store path in a variable's text."""

    path: StorePath
    derivation: StorePath | None
    """The `.drv` that makes it; None for a plain source."""
    output: str
    """Which output of it; empty for a plain source."""
    before: str
    """The text between the mention before this one (or the start) and this one."""
    after: str
    """The text from here to the following mention (or the end)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One derivation, opened up."""

    path: StorePath
    derivation: Derivation
    outputs: Mapping[str, StorePath]
    variables: Mapping[str, str]
    mentions: Mapping[str, Sequence[Mention]]
    """Variable -> its mentions in order; variables without any are left out."""
    foreign_triple: str | None
    """The GNU triple that it is cross-compiled for; None if it is not, or does not say."""
    is_fixed: bool
    """Whether the output follows from its content."""

    def variable(self, name: str) -> str:
        """The text of a variable; empty when there is none."""
        return self.variables.get(name, "")


def foreign_triple(configure_flags: str, system: str) -> str | None:
    """The host of a cross build, by its flags: where `--host` is not what `--build` is.

    Without `--build` a `--host` of the processor of `system`, the one it is built on, is none:
    Mozilla's `configure` calls the build machine so, and the host `--target`.
    """
    host, build = _HOST_FLAG.findall(configure_flags), _BUILD_FLAG.findall(configure_flags)
    if not host or (build and build[-1] == host[-1]):
        return None
    if not build and host[-1].partition("-")[0] == system.partition("-")[0]:
        return None
    return str(host[-1])


def variables(derivation: Derivation) -> dict[str, str]:
    """Every variable of the recipe as text, `builder` and `args` included.

    A structured list of scalars reads like the list of an ordinary derivation: joined by spaces.
    Malformed structured attributes stay one opaque variable.
    """
    env = dict(derivation.env)
    if STRUCTURED in env:
        try:
            structured = derivation.structured()
        except BadDerivation:
            structured = None
        if structured is not None:
            del env[STRUCTURED]
            env |= {name: _plain(value) for name, value in structured.items()}
    env["builder"] = derivation.builder
    env["args"] = " ".join(derivation.args)
    return env


def _plain(value: Any) -> str:
    match value:
        case str():
            return value
        case True:
            return "1"
        case False | None:
            return ""
        case list() if not any(isinstance(item, list | dict) for item in value):
            return " ".join(map(_plain, value))
        case dict() | list():
            return json.dumps(value, sort_keys=True, ensure_ascii=False)
        case _:
            return str(value)


Target: TypeAlias = tuple[StorePath, StorePath | None, str]
"""A path that can be mentioned, the `.drv` that makes it, and which output it is."""


class Recipes:
    """Opens derivations up, once each.  What cannot be read is kept in `broken`, by path."""

    def __init__(self, derivations: Derivations) -> None:
        self.broken: dict[StorePath, UnreadableDerivation] = {}
        self.derivations = derivations
        self._opened: dict[StorePath, Recipe] = {}
        self._find = re.compile(
            f"{re.escape(derivations.store_dir)}/([{ALPHABET}]{{{DIGEST_LENGTH}}})-"
        ).finditer

    def get(self, path: StorePath) -> Recipe | None:
        """The recipe at `path`; None if it cannot be read."""
        recipe = self._opened.get(path)
        if recipe is None and path not in self.broken:
            try:
                recipe = self._opened[path] = self._open(path, self.derivation(path))
            except UnreadableDerivation as error:
                self.broken[path] = error
        return recipe

    def derivation(self, path: StorePath) -> Derivation:
        """The derivation at `path`.

        Raises:
            UnreadableDerivation: it cannot be read, or was rejected.
        """
        if path in self.broken:
            raise self.broken[path]
        return self.derivations[path]

    def reject(self, path: StorePath, why: str) -> None:
        """Treat the derivation at `path` as one that cannot be read."""
        self._opened.pop(path, None)
        self.broken[path] = UnreadableDerivation(path, why)

    def _open(self, path: StorePath, derivation: Derivation) -> Recipe:
        texts = variables(derivation)
        known = self._known(derivation)
        prefix = f"{self.derivations.store_dir}/"
        skipped = {*derivation.outputs, *filter(UNREFERENCED.fullmatch, texts)}
        mentions = {
            name: found
            for name, text in texts.items()
            if name not in skipped and prefix in text and (found := self._mentions(text, known))
        }
        triple = foreign_triple(texts.get("configureFlags", ""), derivation.platform)
        outputs = derivation.output_paths()
        return Recipe(path, derivation, outputs, texts, mentions, triple, derivation.is_fixed)

    def _known(self, derivation: Derivation) -> dict[str, Target]:
        """Digest -> everything this derivation may mention."""
        known: dict[str, Target] = {
            source.digest: (source, None, "") for source in derivation.input_sources
        }
        for maker, wanted in derivation.input_derivations.items():
            try:
                paths = self.derivation(maker).output_paths()
            except UnreadableDerivation as error:
                self.broken[maker] = error
                continue
            for output in wanted.outputs & paths.keys():
                known[paths[output].digest] = (paths[output], maker, output)
        return known

    def _mentions(self, text: str, known: Mapping[str, Target]) -> list[Mention]:
        spans = list(self._spans(text, known))
        starts = [*(start for start, _, _ in spans), len(text)]
        ends = [0, *(end for _, end, _ in spans)]
        return [
            Mention(path, maker, output, text[ends[i] : starts[i]], text[end : starts[i + 1]])
            for i, (_, end, (path, maker, output)) in enumerate(spans)
        ]

    def _spans(self, text: str, known: Mapping[str, Target]) -> Iterator[tuple[int, int, Target]]:
        for found in self._find(text):
            target = known.get(found[1])
            if target is not None and text.startswith(target[0], found.start()):
                yield found.start(), found.start() + len(target[0]), target
