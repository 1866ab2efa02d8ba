"""The equivalence tables in use, and the derivations they speak of."""

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from protocol.store.derivation import Derivation, Recipe
from protocol.store.modulo import HashModulo
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, Realisation
from shim.config import Config
from shim.equivalence import file
from shim.equivalence.grades import Role
from shim.equivalence.source import Derivations
from shim.equivalence.table import Entry, Table
from shim.plant.plan import Decline, Kind, Plan, Refusal
from shim.plant.planner import Planner
from shim.systems import Systems

log = structlog.get_logger()

UNKNOWN: Final = "no table knows it"
OTHER_OUTPUTS: Final = "the outputs asked for are not those that a table has for it"
SEVERAL: Final = "a table has several counterparts for it; see `table explain`"
"""Why there is no entry: a closed list, so that `table status` can count them."""


class Tables:
    """Tables in order of preference, and one cache of derivations for all of them."""

    def __init__(
        self, tables: Sequence[Table], derivations: Derivations, version: str, systems: Systems
    ) -> None:
        self._tables = tables
        self._planners = [Planner(table, derivations, systems=systems) for table in tables]
        self._derivations = derivations
        self._modulo = HashModulo(derivations.__getitem__, derivations.store_dir)
        self._planning = threading.Lock()
        self._plans: dict[
            tuple[StorePath, StorePath, tuple[tuple[StorePath, str], ...]], Plan | Decline
        ] = {}
        self.version = version

    @classmethod
    def load(cls, config: Config) -> "Tables":
        """Read every configured table.

        Raises:
            ShimError: one of `tables` is missing, damaged, or of a newer format.  One that we made
                ourselves is left out then: the next scan replaces it.
        """
        tables = []
        version = hashlib.sha256()
        made = [path for path in map(config.table_of, config.sources) if path.exists()]
        for path in (*config.tables, *made):
            try:
                table = file.load(path)
            except file.UnusableTable as error:
                if path not in made:
                    raise
                log.warning("table-unusable", path=str(path), why=str(error))
                continue
            version.update(_stamp(path))
            log.info("table-loaded", path=str(path), entries=len(table))
            tables.append(table)
        derivations = Derivations.open(config.evaluation.root, config.store_dir)
        return cls(tables, derivations, version.hexdigest()[:16], config.platforms)

    def entry(self, path: StorePath, derivation: Recipe) -> tuple[Entry | None, str]:
        """The entry for a wanted derivation, or None and why there is none.

        A derivation is known by its path, or by its outputs: sources fetched in another way give
        another `.drv` with the same outputs.
        """
        if not self._tables:
            return None, UNKNOWN
        outputs = derivation.output_paths()
        why = UNKNOWN
        for table in self._tables:
            found = table.host_entry(path) or table.host_entry(next(iter(outputs.values())))
            if found is not None and dict(found.native_outputs) != outputs:
                why = OTHER_OUTPUTS
            elif found is not None:
                return found, ""
            elif any(each.role is Role.HOST for each in table.by_native(path)):
                why = SEVERAL
        return None, why

    def natives(self, paths: Iterable[StorePath]) -> dict[StorePath, Derivation]:
        """The native derivations that are known by one of these `.drv` or output paths.

        Those whose `.drv` file is gone are left out.  Called from worker threads.
        """
        known = {
            entry.native
            for path in paths
            for table in self._tables
            for entry in table.by_native(path)
        }
        with self._planning:
            return {drv: self._derivations[drv] for drv in known if drv in self._derivations}

    def makers(self, output: StorePath) -> dict[StorePath, Derivation]:
        """The derivations that stand on the tables' other side and make `output` itself.

        That is so for outputs that their hash fixes.  Those whose `.drv` file is gone are left out.
        Called from worker threads.
        """
        known = dict.fromkeys(
            entry.cross
            for table in self._tables
            for entry in table.by_cross(output)
            if output in entry.cross_outputs.values()
        )
        with self._planning:
            return {drv: self._derivations[drv] for drv in known if drv in self._derivations}

    def realisations(self, plan: Plan) -> dict[str, Realisation]:
        """What a plant made, named as outputs of the native derivation, not of the planted one."""
        with self._planning:
            ids = self._modulo.masked(self._derivations[plan.native]).hashes
        return {
            name: Realisation(DrvOutput.of(ids[name], name), path)
            for name, path in plan.outputs.items()
        }

    def counterparts(self, natives: Iterable[StorePath]) -> dict[StorePath, StorePath]:
        """Build tools' outputs -> the outputs among `natives` of the same tools for the target."""
        return {
            tool: native
            for native in natives
            for table in self._tables
            if (tool := table.tool_for(native)) is not None and tool != native
        }

    def plan(
        self, entry: Entry, brought: Mapping[StorePath, str] = MappingProxyType({})
    ) -> Plan | Decline:
        """How to plant an entry; computed once.  Called from worker threads.

        Args:
            entry: the pair.
            brought: native tools that its native libraries name, as `Planner.plan` takes them.
        """
        key = entry.native, entry.cross, tuple(brought.items())
        with self._planning:
            if key not in self._plans:
                planners = (
                    each
                    for table, each in zip(self._tables, self._planners, strict=True)
                    if (found := table.host_entry(entry.native)) is not None
                    and found.cross == entry.cross
                )
                planner = next(planners, None)
                if planner is None:
                    why = f"the table that knew `{entry.native.base}` was just replaced; ask again"
                    return Decline((Refusal(Kind.UNKNOWN, why),))
                self._plans[key] = planner.plan(entry.native, brought)
            return self._plans[key]

    def become(self, other: "Tables") -> None:
        """Take over what `other` loaded; what was planned with the old tables is forgotten."""
        with self._planning:
            self._tables, self._planners = other._tables, other._planners  # noqa: SLF001 - same class
            self._plans = {}
            self.version = other.version


def _stamp(path: Path) -> bytes:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
