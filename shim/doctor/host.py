"""The fast machine's side: everything that `nix-shim serve` relies on, tried out where it can be.

Looks, asks and tries; changes nothing but a tiny file in the serving store.
"""

import os
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from protocol.worker.handshake import Trust
from shim import keys
from shim.config import DEFAULT_DOMAIN, Config, Domain, NixStore
from shim.daemon.checks import emulation_lack, plants_lack
from shim.daemon.nix import probe
from shim.daemon.nix.nixdaemon import plant_launch, serving_launch
from shim.doctor import foreign
from shim.doctor.report import Check, Finding, fail, ok, warn
from shim.equivalence import file as tablefile
from shim.errors import ShimError

OLDEST_NIX: Final = (2, 8)
TABLE_AGE: Final = 90
"""Days after which a table is called old: nixpkgs' channels have moved on by then."""
FILES: Final = 4096
"""Open files that 400 sessions with their connections to nix-daemons need, with room."""
SERVING: Final = "serving"
CLOCK: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""No earlier than this was the program written."""


def nix_version(config: Config) -> Iterator[Finding]:
    """The nix-daemons that we would start."""
    programs = {
        store.program
        for domain in config.all_domains().values()
        for store in _stores(domain)
        if store.start
    }
    for program in sorted(programs):
        if shutil.which(program) is None:
            yield fail(f"`{program}` is not on PATH", "install Nix, or name its nix-daemon")
            continue
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, timeout=30
        ).stdout.strip()
        found = re.search(r"(\d+)\.(\d+)", said)
        if found is None:
            yield warn(f"`{program} --version` says `{said}`", "is it a nix-daemon?")
        elif (int(found[1]), int(found[2])) < OLDEST_NIX:
            yield fail(f"`{program}` is {said}", "Nix 2.8 is the oldest that we know to work")
        else:
            yield ok(f"`{program}` is {said}")


def shim_daemon(config: Config) -> Iterator[Finding]:
    """Our own daemon."""
    try:
        answer = probe.greet(config.socket, config.store_dir, config.deadlines)
    except ShimError as error:
        yield fail(
            f"nix-shim serve does not answer at `{config.socket}`: {error.message}",
            "start it (nix-shim serve --config FILE); most checks below need its nix-daemons",
        )
        return
    yield ok(f"answers at `{config.socket}` (protocol {answer.protocol})")


def nix_daemons(config: Config) -> Iterator[Finding]:
    """The nix-daemons behind it: there, and trusting us."""
    for kind, where, store in _daemons(config):
        try:
            answer = probe.greet(where, config.store_dir, config.deadlines)
        except ShimError as error:
            if store.start:
                yield warn(f"{kind}: {error.message}", "nix-shim serve starts it")
            else:
                yield fail(f"{kind}: {error.message}", f"start the nix-daemon, or {kind}.start")
            continue
        if answer.trust is Trust.NOT_TRUSTED:
            yield fail(
                f"{kind}: Nix {answer.version} at `{where}` does not trust uid {os.geteuid()}",
                "add the user to its trusted-users",
            )
        else:
            said = (
                "trusts us" if answer.trust is Trust.TRUSTED else "too old to say if it trusts us"
            )
            yield ok(f"{kind}: Nix {answer.version or answer.protocol}, {said}")


def sandbox(config: Config) -> Iterator[Finding]:
    """Whether the serving stores' builds are separated from this machine."""
    marker = str(Path(__file__).resolve())
    for kind, where, _ in _serving(config):
        code = _try(config, foreign.sees(marker), "x86_64-linux", where)
        if code == foreign.EXIT_CODE:
            yield ok(f"{kind}: builds cannot see this machine's files")
        elif code == foreign.SEEN:
            yield fail(
                f"{kind}: a build can read `{marker}`: its sandbox is off",
                "sandbox = true and sandbox-fallback = false in the nix-daemon's settings",
            )
        elif code is None:
            yield _untried("sandbox", kind)
        else:
            yield fail(f"{kind}: a build does not run: {code}", "see the nix-daemon's settings")


def emulation(config: Config) -> Iterator[Finding]:
    """Whether foreign programs run, registered and in truth."""
    for name in config.systems:
        lack = emulation_lack(name, config.platforms)
        if lack is not None:
            found, _, fix = lack.partition(": ")
            yield (fail if not config.policy.cross else warn)(
                f"{name}: {found}", fix or "without it only what cross-compiles can be built"
            )
            continue
        program = foreign.smallest(config.platforms[name])
        if program is None:
            yield warn(f"{name}: registered; nothing to try it with", "build something small")
            continue
        for kind, where, _ in _serving(config):
            code = _try(config, program, name, where)
            if code == foreign.EXIT_CODE:
                yield ok(f"{name}: a foreign program ran inside the sandbox of {kind}")
            elif code is None:
                yield _untried(name, kind)
            else:
                yield fail(
                    f"{name}: a foreign program does not run in a build of {kind}: {code}",
                    f'extra-platforms = {name}, and an emulator registered with the flag "F"',
                )


def plants(config: Config) -> Iterator[Finding]:
    """Whether planted builds have their place without emulators."""
    if all(domain.plant is None for domain in config.all_domains().values()):
        yield ok("no plant store is configured: nothing is cross-compiled")
    elif (lack := plants_lack()) is None:
        yield ok(f"builds can run where no emulator is (Linux {os.uname().release})")
    else:
        yield fail(lack, "Linux 6.7 or newer, and root; or policy.cross = false")


def tables(config: Config) -> Iterator[Finding]:
    """Presence and age of the tables."""
    files = [*config.tables, *(config.table_of(source) for source in config.sources)]
    if not files:
        yield warn("none is named: nothing is cross-compiled", "nix-shim table scan --help")
    for path in files:
        try:
            table = tablefile.load(path)
        except ShimError as error:
            made_here = path not in config.tables and not path.exists()
            yield (warn if made_here else fail)(
                error.message,
                "it is made when a board first asks for what is not known"
                if made_here
                else error.hint or "make it anew",
            )
            continue
        date = table.provenance.date
        age = _days_since(date)
        if age is not None and age > TABLE_AGE:
            yield warn(f"`{path}` is {age} days old", "scan again what your boards run now")
        else:
            yield ok(f"`{path}`: {len(table)} entries, made {date or 'at an unknown date'}")


def signing_keys(config: Config) -> Iterator[Finding]:
    """The keys that sign what we make."""
    directory = config.key_directory or config.state_directory / "keys"
    if config.key_directory is None and not directory.exists():
        yield warn(f"`{directory}` does not exist", "nix-shim serve makes the keys when it starts")
        return
    ring = keys.KeyRing.load(directory)
    yield ok(f"`{directory}`: {', '.join(sorted(ring.public))}")


def disk(config: Config) -> Iterator[Finding]:
    """Room in the stores."""
    for kind, _, store in _daemons(config):
        place = store.root
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free >> 20
        if free < config.limits.disk:
            yield fail(
                f"{kind}: {free} MiB free below `{store.root}`; limits.disk asks for"
                f" {config.limits.disk}",
                "collect garbage, or give the store a larger disk",
            )
        else:
            yield ok(f"{kind}: {free} MiB free below `{store.root}`")


def limits(_: Config) -> Iterator[Finding]:
    """What the system lets a process have."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        yield warn(f"{soft} open files are allowed (this shell's limit)", f"LimitNOFILE={FILES}")
    else:
        yield ok(f"{soft} open files are allowed")
    spaces = int(Path("/proc/sys/user/max_user_namespaces").read_text(encoding="ascii"))
    if spaces == 0:
        yield fail("user namespaces are switched off", "sysctl user.max_user_namespaces=15000")
    else:
        yield ok(f"{spaces} user namespaces are allowed")


def clock(config: Config) -> Iterator[Finding]:
    """A clock that is behind makes signatures, tables and logs lie."""
    now = datetime.now(UTC)
    known = [CLOCK.timestamp()]
    state = config.state_directory / "state.sqlite"
    known += [path.stat().st_mtime for path in (state, *config.tables) if path.exists()]
    latest = datetime.fromtimestamp(max(known), UTC)
    if now.timestamp() < max(known) - 60:
        yield fail(f"it is {now:%F %T} here, but files are from {latest:%F %T}", "set the clock")
    else:
        yield ok(f"{now:%F %T} UTC")


def gateway(config: Config) -> Iterator[Finding]:
    """The SSH door, where peers with keys are configured."""
    with_keys = [name for name, peer in config.peers.items() if peer.keys or peer.key_files]
    if not with_keys:
        yield ok("no peer has a key: boards come through another SSH server, if any")
        return
    try:
        with socket.create_connection(("localhost", config.gateway.port), timeout=5) as connection:
            banner = connection.recv(64)
    except OSError as error:
        yield fail(
            f"port {config.gateway.port} does not answer: {error}", "nix-shim gateway --config FILE"
        )
        return
    if not banner.startswith(b"SSH-"):
        yield fail(f"port {config.gateway.port} speaks no SSH", "gateway.port: another one")
    else:
        yield ok(f"answers at port {config.gateway.port} for {', '.join(sorted(with_keys))}")


CHECKS: Final[Sequence[tuple[str, Check[Config]]]] = (
    ("nix", nix_version),
    ("clock", clock),
    ("limits", limits),
    ("disk", disk),
    ("plants", plants),
    ("tables", tables),
    ("keys", signing_keys),
    ("daemon", shim_daemon),
    ("nix-daemons", nix_daemons),
    ("sandbox", sandbox),
    ("emulation", emulation),
    ("gateway", gateway),
)
"""In the order in which they are shown: what stands by itself first."""


def _stores(domain: Domain) -> list[NixStore]:
    return [store for store in (domain.serving, domain.plant) if store is not None]


def _daemons(config: Config) -> Iterator[tuple[str, Path, NixStore]]:
    """Every nix-daemon: the key of its store, where it listens, the store."""
    for name, domain in config.all_domains().items():
        prefix = "" if name == DEFAULT_DOMAIN else f"domains.{name}."
        yield prefix + SERVING, serving_launch(config, name, domain).socket, domain.serving
        plant = plant_launch(config, name, domain)
        if domain.plant is not None and plant is not None:
            yield prefix + "plant", plant.socket, domain.plant


def _serving(config: Config) -> Iterator[tuple[str, Path, NixStore]]:
    return (each for each in _daemons(config) if each[0].endswith(SERVING))


def _try(config: Config, program: bytes, platform: str, where: Path) -> int | str | None:
    """What came of running `program` as a builder; None where no nix-daemon could be asked."""
    try:
        return probe.exit_code(program, platform, where, config.store_dir, config.deadlines)
    except ShimError:
        return None


def _untried(what: str, kind: str) -> Finding:
    return warn(f"{what}: not tried, the nix-daemon of {kind} does not answer", "start it first")


def _days_since(date: str) -> int | None:
    try:
        made = datetime.fromisoformat(date)
    except ValueError:
        return None
    return int((time.time() - made.timestamp()) // 86400)
