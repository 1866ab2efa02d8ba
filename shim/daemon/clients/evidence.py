"""Whether a peer may have built what it asks for, as far as the request itself tells.

* With its graph, a derivation is refused whose stated output paths do not follow from it.
* A flat one is refused that contradicts its own name or fixed hash, or that has another recipe than
  a table or the store knows for its path or its outputs; where the domain makes uploads anew, also
  one of which nobody knows anything.
* Any is refused for a foreign system that its peer may not ask for (`peers.NAME.systems`).

Operators are asked for no evidence but the first.  Functions here read files: call them from worker
threads.
"""

from collections.abc import Sequence

from protocol.store.derivation import BasicDerivation, InputAddressed, Recipe
from protocol.store.derived_path import Built, DerivedPath
from protocol.store.path import StorePath
from protocol.worker.messages import BuildDerivation
from shim.config import Uploads
from shim.daemon.clients.who import Who
from shim.daemon.services import Services
from shim.equivalence.source import Derivations
from shim.session.claims import contradiction, flat_objection
from shim.session.routes import Standing

SHOWN = 5
"""Paths that a message lists."""


class Evidence:
    """See the module."""

    def __init__(self, services: Services, who: Who) -> None:
        self._services = services
        self._who = who

    @property
    def _is_peer(self) -> bool:
        return self._who.standing is Standing.PEER

    def graph_refusal(self, path: DerivedPath, graph: Derivations, *, ours: bool) -> str:
        """Why what `path` names is not built for this client; empty if it is.

        Args:
            path: what it asks for.
            graph: the derivations of the store.
            ours: whether it is ours to make; the rest the nix-daemon has looked at as well.
        """
        if not isinstance(path, Built) or not isinstance(path.derivation, StorePath):
            return ""
        drv = path.derivation
        if drv not in graph or not (ours or self._is_peer):
            return ""
        if self._is_peer and (why := self._system(drv, graph[drv])):
            return why
        if why := self._services.claims.objection(drv, graph):
            return f"`{drv.base}` is refused: its outputs do not follow from it: {why}"
        return ""

    def flat_refusal(
        self, request: BuildDerivation, graph: Derivations, dropped: frozenset[StorePath]
    ) -> str:
        """Why a flat derivation is not built for this client; empty if it is.

        Args:
            request: what it asks.
            graph: the derivations of the store.
            dropped: what it uploaded and we did not take.
        """
        if not self._is_peer:
            return ""
        drv, derivation = request.path, request.derivation
        if why := self._system(drv, derivation):
            return why
        if why := flat_objection(drv, derivation, self._services.config.store_dir):
            return f"`{drv.base}` is refused: {why}"
        if not any(isinstance(each, InputAddressed) for each in derivation.outputs.values()):
            return ""  # what has a content address proves itself
        known = self._services.tables.natives((drv, *derivation.output_paths().values()))
        if drv in graph and not self._services.claims.objection(drv, graph):
            known[drv] = graph[drv]
        for path, other in known.items():
            if why := contradiction(derivation, other):
                return (
                    f"`{drv.base}` is refused: it claims outputs of `{path.base}`, which is known"
                    f" here, but {why}"
                )
        return "" if known else self._unproven(drv, derivation, dropped)

    def _system(self, drv: StorePath, derivation: Recipe) -> str:
        name = self._who.name
        allowed = self._services.config.peer(name).systems
        foreign = set(self._services.config.systems)
        if not allowed or derivation.platform not in foreign - set(allowed):
            return ""
        return (
            f"`{drv.base}` is refused: `{name}` may ask for {', '.join(allowed)}"
            f" (peers.{name}.systems), not for {derivation.platform}"
        )

    def _unproven(
        self, drv: StorePath, derivation: BasicDerivation, dropped: frozenset[StorePath]
    ) -> str:
        """Why a flat derivation that nobody knows is not built where uploads are made anew."""
        if self._services.domain.uploads is Uploads.ACCEPT:
            return ""
        why = (
            f"`{drv.base}` is refused: it came without its graph, so nothing proves that"
            f" `{min(derivation.output_paths().values())}` is its output; ask by `ssh-ng://` with"
            ' Nix 2.16 or later, make a table that knows it, or set uploads = "accept" for the'
            f" domain `{self._services.name}`"
        )
        lacking = sorted(derivation.input_sources & dropped)
        return f"{why}\n{self.remedy(lacking)}" if lacking else why

    def remedy(self, lacking: Sequence[StorePath]) -> str:
        """What to do about inputs that were uploaded and dropped."""
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        names = ", ".join(f"`{path}`" for path in lacking[:SHOWN])
        return (
            f"inputs were uploaded without a signature that is trusted here, and were dropped"
            f' (uploads = "rederive"): {names}{more}; sign them with a key of trusted-public-keys,'
            " or ask by `ssh-ng://` with Nix 2.16 or later, which brings the derivations to make"
            " them from"
        )
