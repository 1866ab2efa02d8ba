"""What the sessions of one domain share."""

from dataclasses import dataclass, field
from pathlib import Path

from protocol.store.signing import PublicKey
from shim.config import DEFAULT_DOMAIN, Config, Domain
from shim.daemon.building.builds import Builds
from shim.daemon.clients.provenance import Provenances
from shim.daemon.clients.sessions import Sessions
from shim.daemon.tables import Tables
from shim.equivalence.source import Derivations
from shim.session.claims import Claims


@dataclass(slots=True)
class Services:
    """See the module.  Only `config` is ever replaced: when the daemon is told to reload."""

    config: Config
    """The whole configuration."""
    serving: Path
    """Socket of the nix-daemon of the domain's serving store."""
    builds: Builds
    tables: Tables
    provenances: Provenances
    keys: tuple[PublicKey, ...]
    """Whose signatures the domain trusts."""
    sessions: Sessions
    """Those of all domains."""
    claims: Claims
    name: str = DEFAULT_DOMAIN
    """The domain's."""
    domain: Domain = field(init=False)

    def __post_init__(self) -> None:
        self.domain = self.config.all_domains()[self.name]

    def graph(self) -> Derivations:
        """The derivations of the serving store."""
        return Derivations.open(self.domain.serving.root, self.config.store_dir)
