"""One plant: from a native derivation and its counterpart to a complete plan."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from protocol.store.addressing import make_store_path
from protocol.store.derivation import BasicDerivation, Derivation, InputAddressed, output_path_name
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from shim.equivalence.platforms import Machine
from shim.equivalence.recipe import Recipe
from shim.equivalence.table import Entry
from shim.plant.choices import Choice, apply, missing, replacements
from shim.plant.counterparts import Chooser, Neighbourhood
from shim.plant.exchange import SLOT, Exchange
from shim.plant.grafts import Grafted, Grafter
from shim.plant.graph import CrossGraph, Fate, Refused, Use
from shim.plant.plan import Graft, Kind, Plan, Refusal
from shim.plant.propagation import form_of, is_replaced, propagated_tools, use_in
from shim.plant.slots import BROUGHT, Rewritten, Slot, slot_of, texts, words
from shim.plant.toolchain import Admission

_SYNTHETIC: Final = "nix-shim-plant"
"""Type of the fingerprints of made-up paths: Nix has no such type, so none equals a real path."""


class Several(Exception):
    """More than one reason not to plant."""

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        super().__init__()
        self.refusals = refusals


@dataclass
class Planting:
    """The making of one plan."""

    graph: CrossGraph
    grafter: Grafter
    native: Recipe
    cross: Recipe
    entry: Entry
    neighbourhood: Neighbourhood
    admission: Admission
    brought: Mapping[StorePath, str]
    """Native tools that realised native libraries name -> the slot they take."""

    def plan(self) -> Plan:
        """Decide every use, rewrite the recipe, and list what must be there to build it.

        Raises:
            Refused: it cannot be planted.
            Several: for more than one reason.
        """
        uses = self.graph.shape(self.cross.path).uses
        lacking = [use for use in uses if use.fate is Fate.MISSING]
        if lacking:
            raise Several(tuple(missing(self.cross.path, use).refusal for use in lacking))
        rewritten = apply(
            self.graph,
            self.cross.path,
            self.choices,
            lambda use: self.grafter.choice(self.cross.path, use, self.chooser),
            own=self.own,
            native=self.native.derivation,
        )
        rewritten = self.with_tools(rewritten).setting({"name": self.native.derivation.name})
        derivation = BasicDerivation(
            outputs={
                name: InputAddressed(self.own[path]) for name, path in self.cross.outputs.items()
            },
            input_sources=frozenset(
                (
                    *self.cross.derivation.input_sources,
                    *(choice.path for choice in self.used),
                    *self.exchange.natives,
                    *self.texts,
                )
            ),
            platform=self.cross.derivation.platform,
            builder=rewritten.builder,
            args=rewritten.args,
            env=rewritten.environment(),
        )
        self.check_leaks(derivation)
        natives = {choice.path for choice in self.everything if choice.use.fate is Fate.REPLACE}
        natives |= self.exchange.natives
        return Plan(
            native=self.native.path,
            cross=self.cross.path,
            drv_path=self.synthetic("drv", f"{self.native.derivation.name}.drv"),
            derivation=derivation,
            outputs=self.native.outputs,
            dropped={
                name: self.own[path]
                for name, path in self.cross.outputs.items()
                if name not in self.native.outputs
            },
            grafts=tuple(self.grafts()),
            prerequisites=self.prerequisites(),
            native_inputs=frozenset(natives),
            outside=frozenset(natives - self.neighbourhood.outputs.keys()),
            sources=frozenset((*self.cross.derivation.input_sources, *self.texts)).union(
                *(
                    self.graph.recipe(each.replaces).derivation.input_sources
                    for each in self.grafted
                )
            ),
            forbidden=self.forbidden,
            opaque=dict(self.opaque()),
            headers=self.admission.headers,
            runtime=self.admission.runtime,
            replacements=replacements(self.used),
            libraries=frozenset(choice.path for choice in self.choices if is_replaced(choice.use)),
            exchange=self.exchange,
            texts=self.texts,
            notes=tuple(self.notes()),
        )

    # Decisions

    @cached_property
    def chooser(self) -> Chooser:
        """Picks native outputs near the native derivation."""
        return Chooser(
            self.graph.counterparts,
            self.neighbourhood,
            self.entry,
            self.admission.toolchain,
            self.admission.compiler,
        )

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """What takes the place of each thing that the cross recipe mentions."""
        return self.grafter.choices(self.cross.path, self.chooser)

    @cached_property
    def tools(self) -> tuple[Choice, ...]:
        """Build tools that native inputs would bring along in native form, and this machine's form.

        Each takes the slot that it would take there.
        """
        own = {(choice.use.variable, choice.use.path) for choice in self.choices}
        found: dict[tuple[str, StorePath], Choice] = {}
        uses = propagated_tools(self.graph, self.graph.shape(self.cross.path).uses)
        for use in (*uses, *self.brought_uses.values()):
            key = use.variable, use.path
            if key not in own and key not in found:
                found[key] = self.grafter.choice(self.cross.path, use, self.chooser)
        return tuple(found.values())

    @cached_property
    def brought_uses(self) -> dict[StorePath, Use]:
        """Native tools that native libraries bring along -> this machine's form of each."""
        wanted = frozenset(choice.use.path for choice in self.choices)
        found: dict[StorePath, Use] = {}
        for native, slot in self.brought.items():
            form = form_of(self.graph, native, wanted)
            if form is not None and form[2] != native:
                found[native] = use_in(self.graph, slot, *form)
        return found

    @cached_property
    def exchange(self) -> Exchange:
        """The tools that are named in one form and run in another."""
        recorded: dict[StorePath, StorePath] = {}
        for choice in self.choices:
            if choice.use.variable in BROUGHT:
                native = self.native_form(choice)
                if native is not None:
                    recorded[choice.path] = native
        return Exchange(tuple(self.brought_uses), recorded)

    def native_form(self, choice: Choice) -> StorePath | None:
        """What the native recipe propagates where the cross one propagates a tool."""
        variable = choice.use.variable
        named = words(self.native.variable(variable))
        return next(
            (
                pair.native
                for pair in self.entry.inputs
                if pair.slot == variable
                and pair.cross == choice.use.path
                and pair.native != choice.path
                and pair.native in named
            ),
            None,
        )

    @cached_property
    def texts(self) -> dict[StorePath, str]:
        """Plain files that the planted recipe needs."""
        if not self.exchange:
            return {}
        return {self.exchange.path(self.graph.derivations.store_dir): self.exchange.script()}

    @property
    def used(self) -> tuple[Choice, ...]:
        """Everything that the planted recipe mentions."""
        return (*self.choices, *self.tools)

    @cached_property
    def grafted(self) -> tuple[Grafted, ...]:
        """Every graft, those that others need first."""
        found: dict[StorePath, Grafted] = {}

        def add(each: Grafted) -> None:
            if each.path not in found:
                for below in each.below:
                    add(below)
                found[each.path] = each

        for choice in self.used:
            if choice.use.fate is Fate.GRAFT:
                add(self.grafter.graft(choice.use.derivation, self.chooser))
        return tuple(found.values())

    @cached_property
    def everything(self) -> tuple[Choice, ...]:
        """The choices of the plant and of all its grafts."""
        return (*self.used, *(choice for each in self.grafted for choice in each.choices))

    # Paths

    @cached_property
    def own(self) -> dict[StorePath, StorePath]:
        """New paths of the cross derivation's outputs: the native ones, or made-up ones."""
        name = self.native.derivation.name
        return {
            path: self.native.outputs.get(output)
            or self.synthetic(output, output_path_name(name, output))
            for output, path in self.cross.outputs.items()
        }

    def synthetic(self, purpose: str, name: str) -> StorePath:
        """A path of the native derivation's name at which Nix puts nothing.

        It depends on every choice, so that two different plants never share one.
        """
        parts: list[str] = [self.native.path, self.cross.path]
        parts += [f"{choice.use.path} {choice.path}" for choice in self.used]
        parts += self.texts
        digest = Hash.of("\n".join(parts).encode())
        store_dir = self.graph.derivations.store_dir
        return make_store_path(f"{_SYNTHETIC}:{purpose}", digest, name, store_dir)

    @cached_property
    def forbidden(self) -> frozenset[StorePath]:
        """The cross recipe's own outputs, what was replaced, and what compilers bring along."""
        found = set(self.cross.outputs.values())
        found |= {
            choice.use.path
            for choice in self.everything
            if choice.use.fate is Fate.REPLACE and choice.use.path != choice.path
        }
        for path, _ in self.opaque():
            found |= {
                use.path
                for use in self.graph.shape(path).uses
                if self.graph.machine(use.derivation) is Machine.HOST
            }
        return frozenset(found)

    def opaque(self) -> Iterator[tuple[StorePath, str]]:
        """Compilers that stay as they are, and what they reach."""
        kept = {c.use.derivation for c in self.everything if c.use.fate is Fate.KEEP}
        for path in sorted(frozenset[StorePath]().union(*map(self.graph.opaque, kept))):
            uses = self.graph.shape(path).uses
            reached = sorted({use.path.name for use in uses if use.fate is not Fate.KEEP})
            yield path, f"runs on the build machine, kept as built; reaches {', '.join(reached)}"

    # What must be there

    def grafts(self) -> Iterator[Graft]:
        """The grafts in build order, with the outputs that are used."""
        wanted: dict[StorePath, set[str]] = {}
        for choice in self.everything:
            if choice.use.fate is Fate.GRAFT:
                wanted.setdefault(choice.use.derivation, set()).add(choice.use.output)
        for each in self.grafted:
            reached = sorted(
                {
                    choice.use.path.name
                    for choice in each.choices
                    if choice.use.fate is not Fate.KEEP
                }
            )
            yield Graft(
                path=each.path,
                derivation=each.derivation,
                replaces=each.replaces,
                outputs=frozenset(wanted[each.replaces]),
                reason=f"mentions {', '.join(reached)}",
                replacements=replacements(each.choices),
            )

    def prerequisites(self) -> dict[StorePath, frozenset[str]]:
        """Derivations of the cross graph that the planted recipe uses as they are."""
        found: dict[StorePath, set[str]] = {}
        for choice in self.used:
            if choice.use.fate is Fate.KEEP:
                found.setdefault(choice.use.derivation, set()).add(choice.use.output)
        return {path: frozenset(found[path]) for path in sorted(found)}

    # Texts

    def with_tools(self, rewritten: Rewritten) -> Rewritten:
        """Put what native inputs bring along in front of what the recipe has in the same slot."""
        new: dict[str, list[str]] = {SLOT: [*self.texts]} if self.texts else {}
        for choice in self.tools:
            new.setdefault(choice.use.variable, []).append(choice.path)
        changes: dict[str, list[str] | str] = {}
        for slot, paths in new.items():
            old = rewritten.variable(slot)
            if rewritten.attributes is None:
                changes[slot] = " ".join([*paths, *words(old)])
            else:
                changes[slot] = [*paths, *words(old)]
        return rewritten.setting(changes)

    def check_leaks(self, derivation: BasicDerivation) -> None:
        """No part of a forbidden path may be left, such as a hash part standing alone."""
        recipes: list[tuple[str, BasicDerivation | Derivation]] = [
            ("the planted recipe", derivation)
        ]
        recipes += [(each.path.name, each.derivation) for each in self.grafted]
        for name, recipe in recipes:
            for variable, text in texts(recipe):
                if slot_of(variable) is Slot.CHECK:
                    continue
                for path in self.forbidden:
                    if path.digest in text:
                        raise Refused(Kind.LEAK, f"`{path}` is left in `{variable}` of {name}")

    def notes(self) -> Iterator[str]:
        """What a person should know about this plan."""
        for choice in self.tools:
            yield (
                f"{choice.path.name} is put into {choice.use.variable}:"
                f" a native input propagates its native form"
            )
        for native in self.brought.keys() - self.brought_uses.keys():
            yield f"{native.name} is brought along by a native input; no other form of it is known"
        for each in self.grafted:
            if self.graph.is_compiled(each.replaces):
                yield (
                    f"{each.replaces.name} is compiled again, with native libraries:"
                    f" a build slot asks for it"
                )
        yield from self.admission.notes
