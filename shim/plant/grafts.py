"""Grafts: wrappers, hooks and standard environments made again with native paths in their recipes.

A graft is an ordinary derivation: its output paths follow from its recipe, so equal choices of
native paths give equal grafts, which all packages then share.
"""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from protocol.store.derivation import Derivation, InputAddressed, InputOutputs
from protocol.store.modulo import HashModulo, derivation_path, with_outputs
from protocol.store.path import StorePath
from shim.plant.choices import Choice, apply, choose, missing
from shim.plant.counterparts import Chooser
from shim.plant.graph import CrossGraph, Fate, Refused, Use
from shim.plant.native_compiler import VARIABLE, NativeCompiler
from shim.plant.plan import Kind

DEEPEST: Final = 64
"""Grafts within grafts.  Real chains (hook, stdenv, compiler wrapper, linker wrapper) have four or
five.
"""


@dataclass(frozen=True, slots=True)
class Grafted:
    """A graft, the grafts it needs, and what its outputs are called now."""

    path: StorePath
    derivation: Derivation
    replaces: StorePath
    choices: tuple[Choice, ...]
    below: tuple["Grafted", ...]

    def output(self, name: str) -> StorePath:
        """The path of one output."""
        return self.derivation.output_paths()[name]


class Grafter:
    """Makes grafts, each once for each combination of native paths in it."""

    def __init__(self, graph: CrossGraph) -> None:
        self._graph = graph
        self._needs: dict[StorePath, tuple[tuple[StorePath, str, StorePath], ...]] = {}
        self._made: dict[
            tuple[StorePath, tuple[StorePath, ...], NativeCompiler | None], Grafted
        ] = {}
        self._grafts: dict[StorePath, Derivation] = {}
        self._modulo = HashModulo(self._read, graph.derivations.store_dir)

    def graft(self, path: StorePath, chooser: Chooser, depth: int = 0) -> Grafted:
        """The graft of the derivation at `path`.

        Args:
            path: a `.drv` of the cross graph that reaches cross host outputs.
            chooser: picks the native outputs.
            depth: how many grafts need this one.

        Raises:
            Refused: a cross host output in it has no native form, or its outputs follow from
            content.
        """
        if depth > DEEPEST:
            raise Refused(Kind.UNSUPPORTED, f"grafts nested deeper than {DEEPEST}: `{path}`")
        chosen = tuple(choose(chooser, *need)[0] for need in self._needed(path, depth))
        key = path, chosen, chooser.compiler
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(path, chooser, depth)
        return found

    def choices(self, path: StorePath, chooser: Chooser, depth: int = 0) -> tuple[Choice, ...]:
        """What takes the place of everything that the derivation at `path` uses."""
        uses = self._graph.shape(path).uses
        return tuple(self.choice(path, use, chooser, depth) for use in uses)

    def choice(self, at: StorePath, use: Use, chooser: Chooser, depth: int = 0) -> Choice:
        """What takes the place of one use, in the recipe at `at`."""
        match use.fate:
            case Fate.KEEP:
                return Choice(use, use.path, "stays")
            case Fate.REPLACE:
                return Choice(use, *choose(chooser, at, use.variable, use.path))
            case Fate.GRAFT:
                grafted = self.graft(use.derivation, chooser, depth + 1)
                return Choice(use, grafted.output(use.output), f"graft {grafted.path.name}")
            case Fate.MISSING:
                raise missing(at, use)
            case _:
                assert_never(use.fate)

    def _needed(self, path: StorePath, depth: int) -> tuple[tuple[StorePath, str, StorePath], ...]:
        """Every choice that the graft of `path` and the grafts below it ask for."""
        found = self._needs.get(path)
        if found is None:
            needs: dict[tuple[StorePath, str, StorePath], None] = {}
            for use in self._graph.shape(path).uses:
                if use.fate is Fate.MISSING:
                    raise missing(path, use)
                if use.fate is Fate.REPLACE:
                    needs[path, use.variable, use.path] = None
                elif use.fate is Fate.GRAFT and depth <= DEEPEST:
                    needs |= dict.fromkeys(self._needed(use.derivation, depth + 1))
            found = self._needs[path] = tuple(needs)
        return found

    def _make(self, path: StorePath, chooser: Chooser, depth: int) -> Grafted:
        original = self._graph.shape(path).derivation
        if not all(isinstance(output, InputAddressed) for output in original.outputs.values()):
            raise Refused(
                Kind.UNSUPPORTED, f"a content-addressed recipe cannot be grafted: `{path}`"
            )
        choices = self.choices(path, chooser, depth)
        below = {
            choice.use.derivation: self.graft(choice.use.derivation, chooser, depth + 1)
            for choice in choices
            if choice.use.fate is Fate.GRAFT
        }
        rewritten = apply(
            self._graph, path, choices, lambda use: self.choice(path, use, chooser, depth), own={}
        )
        if chooser.compiler and rewritten.variable("wrapperName") and rewritten.variable("cc"):
            script = chooser.compiler.script(self._graph.derivations.store_dir)
            rewritten = rewritten.setting(
                {VARIABLE: f"{rewritten.variable(VARIABLE) or ''}{script}"}
            )
        inputs: dict[StorePath, set[str]] = {}
        sources = set(original.input_sources)
        for choice in choices:
            match choice.use.fate:
                case Fate.KEEP:
                    inputs.setdefault(choice.use.derivation, set()).add(choice.use.output)
                case Fate.GRAFT:
                    grafted = below[choice.use.derivation].path
                    inputs.setdefault(grafted, set()).add(choice.use.output)
                case _:
                    sources.add(choice.path)
        draft = replace(
            original,
            input_sources=frozenset(sources),
            input_derivations={
                maker: InputOutputs(frozenset(outputs)) for maker, outputs in inputs.items()
            },
            builder=rewritten.builder,
            args=rewritten.args,
            env=rewritten.environment(),
        )
        derivation = with_outputs(draft, self._modulo)
        grafted = derivation_path(derivation, self._graph.derivations.store_dir)
        self._grafts[grafted] = derivation
        return Grafted(grafted, derivation, path, choices, tuple(below.values()))

    def _read(self, path: StorePath) -> Derivation:
        return self._grafts.get(path) or self._graph.recipe(path).derivation
