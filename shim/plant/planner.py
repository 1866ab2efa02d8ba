"""Plans plants: the native recipe's outputs, made by its cross counterpart.

One `Planner` serves one table and one collection of derivations.  What it has learned about the
cross graph, and every graft, is kept for the next plan; nothing depends on the order in which
plans are asked.
"""

from collections.abc import Mapping
from types import MappingProxyType

from protocol.errors import ProtocolError
from protocol.store.derivation import FixedOutput, InputAddressed
from protocol.store.path import StorePath
from shim.equivalence.grades import Role
from shim.equivalence.recipe import Recipe
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Table
from shim.plant.counterparts import Neighbourhood
from shim.plant.grafts import Grafter
from shim.plant.graph import CrossGraph, Refused
from shim.plant.plan import Decline, Kind, Plan, Refusal
from shim.plant.planting import Planting, Several
from shim.plant.toolchain import admit
from shim.systems import SYSTEMS, Systems


def plan(native: StorePath, table: Table, derivations: Derivations) -> Plan | Decline:
    """Plan one plant; see `Planner.plan`."""
    return Planner(table, derivations).plan(native)


class Planner:
    """Plans for one table."""

    def __init__(
        self, table: Table, derivations: Derivations, *, systems: Systems = SYSTEMS
    ) -> None:
        """See the class.

        Args:
            table: pairs of native and cross derivations.
            derivations: of both sides, as far as they are known.
            systems: names of the platforms.
        """
        self._table = table
        self._derivations = derivations
        self.graph = CrossGraph(derivations, table, _triples(table, systems))
        self._grafter = Grafter(self.graph)
        self._toolchains = {
            (native, cross): toolchain
            for toolchain in table.toolchains
            for native in self._outputs(toolchain.native)
            for cross in self._outputs(toolchain.cross)
        }

    def plan(
        self, native: StorePath, brought: Mapping[StorePath, str] = MappingProxyType({})
    ) -> Plan | Decline:
        """What to build in order to make the outputs of `native` by a cross compiler.

        Args:
            native: a native `.drv`.
            brought: native tools that the plan's `libraries` turned out to name when they were
                realised -> the slot of dependencies that each takes.
        """
        try:
            return self._plan(native, brought)
        except Refused as refused:
            return Decline((refused.refusal,))
        except Several as several:
            return Decline(several.refusals)
        except ProtocolError as error:
            return Decline((Refusal(Kind.UNKNOWN, f"unusable derivation: {error}"),))

    def _plan(self, native: StorePath, brought: Mapping[StorePath, str]) -> Plan:
        wanted = self.graph.recipe(native)
        self._check_outputs(wanted)
        entry = self._entry(wanted)
        cross = self.graph.recipe(entry.cross)
        _check_pair(wanted, cross)
        stdenvs = wanted.variable("stdenv"), cross.variable("stdenv")
        return Planting(
            graph=self.graph,
            grafter=self._grafter,
            native=wanted,
            cross=cross,
            entry=entry,
            neighbourhood=Neighbourhood(self._derivations, native),
            admission=admit(self.graph, wanted, cross, self._toolchains.get(stdenvs), entry.inputs),
            brought=brought,
        ).plan()

    def _outputs(self, path: StorePath) -> list[str]:
        recipe = self.graph.recipes.get(path)
        return [] if recipe is None else list(recipe.outputs.values())

    def _check_outputs(self, wanted: Recipe) -> None:
        for name, output in wanted.derivation.outputs.items():
            match output:
                case InputAddressed():
                    pass
                case FixedOutput(path):
                    makers = sorted({each.cross.base for each in self._table.by_cross(path)})
                    raise Refused(
                        Kind.FIXED,
                        f"the content of `{wanted.path}` is fixed by its hash: "
                        + (f"`{makers[0]}` makes it" if makers else "nothing else makes it"),
                    )
                case _:
                    raise Refused(
                        Kind.FIXED,
                        f"output `{name}` of `{wanted.path}` has no path before it is built"
                        " (content-addressed, deferred or impure)",
                    )

    def _entry(self, wanted: Recipe) -> Entry:
        entry = self._table.host_entry(wanted.path)
        for output in wanted.outputs.values():
            entry = entry or self._table.host_entry(output)
        if entry is not None:
            return entry
        rivals = sorted(
            {
                each.cross.name
                for each in self._table.by_derivation(wanted.path)
                if each.role is Role.HOST
            }
        )
        if rivals:
            raise Refused(
                Kind.CONFLICT,
                f"the table has several counterparts of `{wanted.path}`: {', '.join(rivals)}",
            )
        raise Refused(
            Kind.NO_ENTRY,
            f"the table has no counterpart of `{wanted.path}`; scan a root that contains it",
        )


def _check_pair(wanted: Recipe, cross: Recipe) -> None:
    if cross.derivation.platform == wanted.derivation.platform:
        raise Refused(
            Kind.SAME_PLATFORM,
            f"`{cross.path}` is built on `{cross.derivation.platform}` like `{wanted.path}`",
        )
    if not all(isinstance(each, InputAddressed) for each in cross.derivation.outputs.values()):
        raise Refused(
            Kind.FIXED, f"the counterpart's outputs follow from its content: `{cross.path}`"
        )
    absent = sorted(wanted.outputs.keys() - cross.outputs.keys())
    if absent:
        raise Refused(
            Kind.OUTPUT_MISSING,
            f"`{cross.path}` does not make {', '.join(f'`{name}`' for name in absent)}",
        )
    if cross.variable("__noChroot") == "1":
        raise Refused(Kind.UNSUPPORTED, f"`{cross.path}` wants to be built outside the sandbox")


def _triples(table: Table, systems: Systems) -> frozenset[str]:
    """Every spelling of the host's GNU triple that the table or the systems know."""
    provenance = table.provenance
    found = {toolchain.triple for toolchain in table.toolchains} | {provenance.triple}
    if provenance.native_system in systems:
        found |= set(systems[provenance.native_system].triples)
    return frozenset(found - {""})
