"""The equivalence tables in use, and the derivations they speak of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import structlog

from protocol.store.derivation import Derivation, Recipe
from protocol.store.path import StorePath
from shim.config import Config
from shim.equivalence import file
from shim.equivalence.grades import Role
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.equivalence.table import Entry, Table
from shim.plant.planner import Planner
from shim.plant.plan import Decline, Plan

log = structlog.get_logger()


class Tables:
    """Tables in order of preference, and one cache of derivations for all of them."""

    def __init__(self, tables: Sequence[Table], derivations: Derivations, version: str) -> None:
        self._tables = tables
        self._derivations = derivations
        self._plans: dict[tuple[StorePath, StorePath], Plan | Decline] = {}
        self.version = version

    @classmethod
    def load(cls, config: Config) -> "Tables":
        """Read every configured table.

        Raises:
            ShimError: one is missing, damaged, or of a newer format.
        """
        tables = []
        version = hashlib.sha256()
        for path in config.tables:
            table = file.load(path)
            version.update(_stamp(path))
            log.info("table-loaded", path=str(path), entries=len(table))
            tables.append(table)
        derivations = Derivations.open(config.evaluation.root, config.store_dir)
        return cls(tables, derivations, version.hexdigest()[:16])

    def entry(self, path: StorePath, derivation: Recipe) -> tuple[Entry | None, str]:
        """The entry for a wanted derivation, or None and why there is none.

        A derivation is known by its path, or by its outputs: sources fetched in another way give
        another `.drv` with the same outputs.
        """
        if not self._tables:
            return None, "no table is loaded"
        outputs = derivation.output_paths()
        why = f"no table knows `{path.base}`"
        for table in self._tables:
            found = table.host_entry(path) or table.host_entry(next(iter(outputs.values())))
            if found is not None and dict(found.native_outputs) != outputs:
                why = f"the outputs asked for are not those the table has for `{found.native.base}`"
            elif found is not None:
                return found, ""
            elif any(each.role is Role.HOST for each in table.by_native(path)):
                why = f"a table has several counterparts for `{path.base}`; see `table explain`"
        return None, why

    def recipe(self, native: StorePath) -> Derivation | None:
        """The native derivation as the evaluation made it, if its file is there."""
        try:
            return self._derivations[native]
        except UnreadableDerivation:
            return None

    def plan(self, entry: Entry) -> Plan | Decline:
        """How to plant an entry; computed once."""
        key = entry.native, entry.cross
        if key not in self._plans:
            table = next(each for each in self._tables if each.host_entry(entry.native) == entry)
            self._plans[key] = plan(entry.native, table, self._derivations)
        return self._plans[key]


def _stamp(path: Path) -> bytes:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
