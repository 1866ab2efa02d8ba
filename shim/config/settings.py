"""What can be configured: frozen values, each with its default and its meaning.

No file is read here, and nothing is checked that concerns more than one value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from shim.equivalence.grades import DifferenceClass, Grade
from shim.gates.settings import Settings
from shim.systems import SYSTEMS, Systems

DEFAULT_DOMAIN: Final = "default"
"""The domain that the top-level keys `serving`, `plant` and `uploads` describe."""


class Uploads(StrEnum):
    """What becomes of a peer's unsigned input-addressed store paths."""

    ACCEPT = "accept"
    """They enter the domain's store: its peers trust each other."""
    REDERIVE = "rederive"
    """They are taken off the wire and dropped; we make them ourselves from their derivations."""


@dataclass(frozen=True, slots=True)
class NixStore:
    """A store and the nix-daemon that owns it: one that runs already, or one that we start."""

    root: Path
    """Physical root: the files of `/nix/store/x` lie at `ROOT/nix/store/x`; `/` for the host's."""
    socket: Path | None = None
    """Socket of the nix-daemon; required when `start` is false."""
    start: bool = True
    """Start and supervise a nix-daemon for this root ourselves."""
    program: str = "nix-daemon"
    """The nix-daemon to start."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further nix.conf settings for the nix-daemon that we start; they win over ours."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Peers that share a store, and so trust what the others put there."""

    serving: NixStore
    """The store that its peers see."""
    plant: NixStore | None = None
    """The store in which its planted builds happen; nobody else may use it.  Needed where a
    policy allows cross."""
    uploads: Uploads = Uploads.ACCEPT
    """What becomes of unsigned input-addressed uploads: accept or rederive."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Where cross derivations, and the x86_64 tools they name, come from."""

    root: Path = Path("/")
    """Physical root of the store that holds the .drv closures named by the tables."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may stand in for a native build."""

    cross: bool = False
    """Allow cross-compiled outputs at native paths.  The opt-in: off unless said."""
    emulate: bool = True
    """Allow running the native derivation under an emulator."""
    least_grade: Grade = Grade.CHECKED
    """Least grade of a table entry that is used: declared, checked, verified or identical."""
    worst_difference: DifferenceClass = DifferenceClass.NOTABLE
    """Worst class of difference between two recipes that is accepted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A change of the policy for some requests.  Rules apply in order; the last that fits wins."""

    peers: tuple[str, ...] = ()
    """Patterns (`*`, `?`, `[...]`) of names of peers; none: all."""
    systems: tuple[str, ...] = ()
    """Patterns of Nix systems; none: all."""
    packages: tuple[str, ...] = ()
    """Patterns of names of derivations, such as `linux-*`; none: all."""
    cross: bool | None = None
    """As `policy.cross`; unset: as before this rule."""
    emulate: bool | None = None
    """As `policy.emulate`; unset: as before this rule."""
    least_grade: Grade | None = None
    """As `policy.least-grade`; unset: as before this rule."""
    worst_difference: DifferenceClass | None = None
    """As `policy.worst-difference`; unset: as before this rule."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A board: who it is, and what it may use.  What applies to it is said by `rules`."""

    keys: tuple[str, ...] = ()
    """Public SSH keys, each as in an authorized_keys line (`ssh-ed25519 AAAA... comment`)."""
    key_files: tuple[Path, ...] = ()
    """Files of such lines, read when the gateway starts and when it is told to reload."""
    domain: str = DEFAULT_DOMAIN
    """The domain whose store it sees."""
    systems: tuple[str, ...] = ()
    """Systems for which it may ask us to build; none: all of `systems`."""
    sessions: int = 100
    """Connections it may hold at the same time."""
    builds: int = 100
    """Builds of ours that may run for it at the same time, within `limits`."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The SSH server (`nix-shim gateway`)."""

    addresses: tuple[str, ...] = ("::", "0.0.0.0")  # noqa: S104 - boards are on the network
    """Addresses to listen on."""
    port: int = 2222
    """TCP port."""
    state_directory: Path = Path("/var/lib/nix-shim-gateway")
    """Where the host key lies that is made at the first start."""
    host_key: Path | None = None
    """Private host key to use instead."""
    users: tuple[str, ...] = ()
    """Names under which peers may log in; none: any, since it is the key that says who it is."""
    login_timeout: float = 20
    """Seconds from a connection to the end of its authentication."""
    logins: int = 32
    """Connections that may be busy authenticating at the same time, half of them from one
    address; further ones wait, up to eight times as many, and are closed after that."""
    keepalive: float = 30
    """Seconds of silence after which a client is asked whether it lives; three unanswered
    questions end the connection."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The Prometheus endpoint."""

    enable: bool = False
    """Serve `http://ADDRESS:PORT/metrics`."""
    address: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 9477
    """TCP port."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for which we wait for a peer; one that stays silent longer is given up."""

    handshake: float = 30
    """From a client's connection to the end of its handshake."""
    connect: float = 30
    """For a nix-daemon of ours to accept and answer the handshake."""
    transfer: float = 900
    """Without a byte of progress, while a request, a body or a reply is under way."""
    reply: float = 7200
    """For a nix-daemon's answer to an operation that builds nothing (verifying takes long)."""
    build_silence: float = 14400
    """For the next line of a build's log, or its end."""
    idle: float = 604800
    """Between two requests of one client; a client that builds locally holds its connection."""
    heartbeat: float = 30
    """Of silence towards a client that waits for a build, before it is told that we live."""
    grace: float = 600
    """For which a build goes on after its client vanished, so that it can be asked for again."""
    protect: float = 86400
    """For which what was delivered is kept from the garbage collector."""
    drain: float = 120
    """For running builds to end after SIGTERM; new sessions are turned away meanwhile."""
    shutdown: float = 20
    """For sessions to end after that, and for our nix-daemons to exit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done, and held, at once."""

    builds: int = 4
    """Foreign builds that run at the same time."""
    by_system: Mapping[str, int] = field(default_factory=dict)
    """Of these, at most so many for a Nix system."""
    by_strategy: Mapping[str, int] = field(default_factory=dict)
    """Of these, at most so many by a strategy: fixed-output, cross, emulate; and of substitute,
    which `builds` does not count, so many, or 16."""
    cores: int | None = None
    """Cores that one build is told to use; by default those of this machine."""
    memory: int = 1024
    """MiB of memory that must be free for a further build to start while others run."""
    disk: int = 2048
    """MiB that must be free in a store for a build to start there."""
    pressure: float = 60
    """Percent of the last ten seconds that tasks stood still for want of memory (PSI), above
    which no further build starts while others run."""
    sessions: int = 400
    """Connections of peers; further ones are turned away.  Those of operators are not limited."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table that is made anew when one of its peers asks for what it does not know."""

    scan: tuple[str, ...]
    """Arguments of `nix-shim table scan`, without `--output`."""
    peers: tuple[str, ...] = ()
    """Peers whose unknown derivations cause a scan; none: all peers."""
    interval: float = 900
    """Least seconds from the start of one scan to the start of the next."""
    timeout: float = 3600
    """Seconds that a scan may take."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    serving: NixStore
    """The store that boards see."""
    plant: NixStore | None = None
    """The store in which planted builds happen; nobody else may use it.  Needed where a policy
    allows cross."""
    uploads: Uploads = Uploads.ACCEPT
    """What becomes of a board's unsigned input-addressed uploads: accept or rederive."""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    """Further domains by name; `serving`, `plant` and `uploads` above are those of `default`."""
    peers: Mapping[str, Peer] = field(default_factory=dict)
    """Boards by name.  A peer that is not listed (by `nix-shim stdio`, or a local user) is one of
    the default domain."""
    rules: tuple[Rule, ...] = ()
    """Changes of `policy` per peer, system and package."""
    socket: Path = Path("/run/nix-shim/socket")
    """Where the daemon listens."""
    socket_mode: int = 0o666
    """Permissions of the socket; who may do what is decided by credentials and policy."""
    state_directory: Path = Path("/var/lib/nix-shim")
    """What the daemon remembers between runs."""
    store_dir: str = "/nix/store"
    """The logical store directory; boards, serving store and plant store must agree on it."""
    systems: tuple[str, ...] = ("aarch64-linux",)
    """Systems whose builds we judge; builds for other systems are relayed untouched."""
    tables: tuple[Path, ...] = ()
    """Equivalence tables, the first that knows a derivation wins."""
    sources: Mapping[str, TableSource] = field(default_factory=dict)
    """Tables that we make ourselves, by name; they come after `tables`.  They and what keeps their
    derivations from the garbage collector are below `tables` in the state directory."""
    platforms: Systems = field(default_factory=lambda: SYSTEMS)
    """Further systems, or other facts about known ones: Nix system -> fields of
    `shim.systems.System`, and under `elf` those of `ElfIdentity`; laid over those we know."""
    key_directory: Path | None = None
    """Keys that sign planted outputs, one per grade (`nix-shim keys`); by default `keys` in the
    state directory, made at the first start."""
    key_name: str = "nix-shim"
    """How keys made at the first start are called; name the host, so that boards can tell."""
    trust_boards: bool = False
    """Answer the handshake with `trusted`: clients then send flat derivations, without graphs."""
    operators: tuple[int, ...] = (0,)
    """User ids whose direct connections are relayed as a trusted user's."""
    judge_operators: bool = True
    """Judge the foreign builds of operators too; off: they see the nix-daemon and nothing else."""
    preamble_users: tuple[int, ...] = (0,)
    """User ids that may say on whose behalf they connect (`nix-shim stdio`, the gateway)."""
    record_directory: Path | None = None
    """Record every session into a file here, for `nix-shim replay`; off unless named."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    policy: Policy = field(default_factory=Policy)
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    gates: Settings = field(default_factory=Settings)
    """How strict and how patient the gates are: `overrides`, `limits`, `scratch`; docs/gates.md."""
    gateway: Gateway = field(default_factory=Gateway)
    metrics: Metrics = field(default_factory=Metrics)

    def all_domains(self) -> dict[str, Domain]:
        """Every domain by name, the default one first."""
        return {DEFAULT_DOMAIN: Domain(self.serving, self.plant, self.uploads), **self.domains}

    def peer(self, name: str) -> Peer:
        """What is configured for a peer; the defaults for one that is not listed."""
        return self.peers.get(name, Peer())

    def table_of(self, source: str) -> Path:
        """Where the table of one of `sources` lies; before its first scan it does not exist."""
        return self.state_directory / "tables" / f"{source}.table"
