"""Gathering the facts about a wanted derivation, for the planner to decide on.

Only questions are asked here: nothing is fetched, built or remembered but the question itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog
import trio

from protocol.store.derivation import Derivation
from protocol.store.path import StorePath
from protocol.worker.messages import QuerySubstitutablePaths, QueryValidDerivers, QueryValidPaths
from shim import __version__
from shim.config import Domain, Policy, Uploads
from shim.daemon.building.flight import Wanted
from shim.daemon.checks import this_system
from shim.daemon.nix.nixstore import Nix
from shim.daemon.scans import Scans
from shim.daemon.state import State
from shim.daemon.tables import UNKNOWN, Tables
from shim.equivalence.source import Derivations
from shim.plan.decision import Decision, Strategy
from shim.plan.fixed import counterparts
from shim.plan.planner import Facts, decide

log = structlog.get_logger()

_NEED_NO_TABLE: Final = (Strategy.VALID, Strategy.FIXED_OUTPUT)

NO_COUNTERPART: Final = "no table knows a derivation that makes it on this machine"
NOR_STORE: Final = f"{NO_COUNTERPART}, and the store has none"


class Decider:
    """See the module."""

    def __init__(
        self,
        domain: Domain,
        serving: Nix,
        tables: Tables,
        state: State,
        scans: Scans,
        lacks: Mapping[str, str | None],
    ) -> None:
        self._domain = domain
        self._serving = serving
        self._tables = tables
        self._state = state
        self._scans = scans
        self._lacks = lacks

    def knowledge(self) -> str:
        """What a failure is remembered under: the versions of program and tables."""
        return f"{__version__}/{self._tables.version}"

    async def decide(self, wanted: Wanted, policy: Policy, graph: Derivations) -> Decision:
        """What would be done for `wanted` now, with reasons.

        Args:
            wanted: what is asked for.
            policy: what its peer allows.
            graph: the derivations of the serving store.

        Raises:
            DaemonRefused, DaemonLost, ShimError: the serving nix-daemon did not answer.
        """
        paths = frozenset(wanted.outputs.values())
        every = frozenset(wanted.derivation.output_paths().values())
        async with self._serving.connection() as serving:
            valid = await serving.ask(QueryValidPaths(every, substitute=False))
            missing = paths - valid
            offered = (
                await serving.ask(QuerySubstitutablePaths(missing)) if missing else frozenset()
            )
        entry, no_entry = self._tables.entry(wanted.path, wanted.derivation)
        failed = None if entry is None else self._state.failure(entry.native, self.knowledge())
        facts = Facts(
            path=wanted.path,
            derivation=wanted.derivation,
            wanted=wanted.outputs,
            valid=valid,
            substitutable=offered,
            entry=entry,
            no_entry=no_entry,
            failed_before=failed,
            emulator=self._lacks.get(wanted.derivation.platform),
        )
        if wanted.derivation.is_fixed and not paths <= valid:
            facts = await self._with_counterparts(facts, graph)
        return await trio.to_thread.run_sync(decide, facts, policy, self._tables.plan)

    async def _with_counterparts(self, facts: Facts, graph: Derivations) -> Facts:
        """The facts with whoever else makes what a hash fixes: as tables, else the store, know.

        The store's derivations came from boards, so they are not asked where boards are not
        believed: they could not forge the result, but take their time to fail.
        """
        paths, system = facts.wanted.values(), this_system()
        path = min(paths)
        makers = await trio.to_thread.run_sync(self._tables.makers, path)
        if found := counterparts(makers, paths, system, tabled=True):
            return replace(facts, counterparts=found)
        if self._domain.uploads is not Uploads.ACCEPT:
            return replace(facts, no_counterpart=NO_COUNTERPART)
        async with self._serving.connection() as serving:
            derivers = await serving.ask(QueryValidDerivers(path))

        def stored() -> dict[StorePath, Derivation]:
            return {drv: graph[drv] for drv in sorted(derivers) if drv in graph}

        makers = await trio.to_thread.run_sync(stored)
        found = counterparts(makers, paths, system, tabled=False)
        return replace(facts, counterparts=found, no_counterpart="" if found else NOR_STORE)

    def note(self, wanted: Wanted, decision: Decision, peer: str) -> None:
        """Keep how the tables answered; see to the peer's sources when none of them knew it."""
        if any(step.strategy in _NEED_NO_TABLE for step in decision.steps):
            return
        _, no_entry = self._tables.entry(wanted.path, wanted.derivation)
        self._state.record_lookup(wanted.path, peer, no_entry)
        log.info("table-asked", derivation=wanted.path, peer=peer, known=not no_entry, why=no_entry)
        if no_entry == UNKNOWN:
            self._scans.unknown(peer)
