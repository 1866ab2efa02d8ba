"""How what is in a store came about, and whether that suits whoever asks for it.

A store has one thing at a path, however many policies its peers have.  So a path that was made in a
way that one of them does not admit is refused to it, with the remedy: a domain of its own.
"""

from collections.abc import Callable

from protocol.store.path import StorePath
from shim.config import Policy
from shim.daemon.building.flight import Wanted
from shim.daemon.state import State
from shim.daemon.tables import Tables
from shim.equivalence.grades import DifferenceClass
from shim.keys import Made
from shim.session.policy import Provenance, objection

REMEDY = "give this peer a domain of its own, or change its rules"


class Provenances:
    """See the module."""

    def __init__(self, state: State, tables: Tables) -> None:
        self._state = state
        self._tables = tables

    def refusal(self, wanted: Wanted, policy: Policy) -> str:
        """Why valid outputs are not for somebody with that policy; empty if they are."""
        made = self._made(wanted.path) or next(
            filter(None, map(self._by_output, wanted.outputs.values())), None
        )
        if made is None:
            return ""
        entry, _ = self._tables.entry(wanted.path, wanted.derivation)
        difference = None if entry is None else entry.difference_class
        return self._told(wanted.name, policy, made, difference)

    def path_refusal(self, path: StorePath, policies: Callable[[str], list[Policy]]) -> str:
        """The same of one path that is asked for as it is.

        Args:
            path: the path.
            policies: name of a derivation -> the policies that may hold for it; one that admits
                the path is enough, since nothing tells the derivation's system here.
        """
        for drv in self._state.derivations(path):
            made = self._made(drv)
            if made is None:
                continue
            name = drv.name.removesuffix(".drv")
            refusals = [self._told(name, policy, made, None) for policy in policies(name)]
            if all(refusals):
                return refusals[0]
        return ""

    def _told(
        self, name: str, policy: Policy, made: Made, difference: DifferenceClass | None
    ) -> str:
        why = objection(policy, Provenance(made, difference))
        return f"`{name}` is in the store, but {why}; {REMEDY}" if why else ""

    def _by_output(self, path: StorePath) -> Made | None:
        return next(filter(None, map(self._made, self._state.derivations(path))), None)

    def _made(self, derivation: StorePath) -> Made | None:
        """How the last attempt that succeeded made it; None where we signed nothing."""
        for build in reversed(self._state.builds(derivation)):
            if build.outcome == "ok":
                return Made(build.grade) if build.grade else None
        return None
