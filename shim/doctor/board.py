"""The board's side: what its Nix is set to, and whether the builders it names can be reached.

Asks the board's own programs (`nix`, `ssh-keygen`); changes nothing.
"""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shim.doctor.report import Check, Finding, fail, ok, warn
from shim.errors import ExitCode, ShimError

NIX: Final = ("nix", "--extra-experimental-features", "nix-command")
FIELDS: Final = 8
"""Of a line of machines: store, systems, key, jobs, speed, features, mandatory ones, host key."""
PATIENCE: Final = 60
"""Seconds that a builder may take to answer."""
WANTED_FEATURES: Final = ("big-parallel",)
"""Features that ordinary packages of nixpkgs ask for."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A line of `nix.buildMachines` (Nix manual, "Remote Builds")."""

    store: str
    systems: tuple[str, ...]
    key: str
    jobs: int
    features: tuple[str, ...]
    host_key: str
    """base64 of the host's public key line; empty where known_hosts is asked."""

    @classmethod
    def parse(cls, line: str) -> "Machine":
        """Read one line.

        Raises:
            ShimError: a number is none.
        """
        words = ["" if word == "-" else word for word in line.split()]
        words += [""] * (FIELDS - len(words))
        store, systems, key, jobs, _speed, features, _mandatory, host_key = words[:FIELDS]
        if jobs and not jobs.isdigit():
            raise ShimError(
                f"`{jobs}` is no number of jobs in the line `{line}`",
                hint="store systems key jobs speed features mandatory-features host-key",
                code=ExitCode.CONFIG,
            )
        return cls(
            store if "://" in store else f"ssh://{store}",
            tuple(filter(None, systems.split(","))),
            key,
            int(jobs or 1),
            tuple(filter(None, features.split(","))),
            host_key,
        )

    @property
    def host(self) -> str:
        """Name or address of the host."""
        return urlsplit(self.store).hostname or ""

    @property
    def known_as(self) -> str:
        """The host as known_hosts has it."""
        port = urlsplit(self.store).port
        return f"[{self.host}]:{port}" if port else self.host

    def uri(self) -> str:
        """The store URI with key and host key, as the build hook opens it."""
        parameters = [f"ssh-key={self.key}"] if self.key else []
        parameters += [f"base64-ssh-public-host-key={self.host_key}"] if self.host_key else []
        if not parameters:
            return self.store
        return self.store + ("&" if "?" in self.store else "?") + "&".join(parameters)


@dataclass(frozen=True, slots=True)
class Board:
    """What the board's Nix is set to."""

    settings: Mapping[str, Any]
    machines: tuple[Machine, ...]

    @classmethod
    def here(cls, machines: Path | None = None) -> "Board":
        """Ask this machine's Nix.

        Args:
            machines: a file of machines to use instead of the setting `builders`.

        Raises:
            ShimError: there is no Nix here, or a line of machines is bad.
        """
        settings = _settings()
        text = f"@{machines}" if machines else str(settings.get("builders", ""))
        return cls(settings, tuple(Machine.parse(line) for line in _lines(text)))

    @property
    def system(self) -> str:
        """Nix system of the board."""
        return str(self.settings.get("system", ""))


def _settings() -> dict[str, Any]:
    if shutil.which("nix") is None:
        raise ShimError("`nix` is not on PATH", hint="run this on the board, with its Nix")
    for command in (("config", "show"), ("show-config",)):
        done = subprocess.run(
            [*NIX, *command, "--json"], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode == 0:
            return {name: each["value"] for name, each in json.loads(done.stdout).items()}
    raise ShimError(f"`nix config show` failed: {done.stderr.strip()}", hint="mend nix.conf first")


def _lines(text: str) -> Iterator[str]:
    """The machines of a `builders` setting: separated by newline or `;`, `@FILE` included."""
    for line in re.split(r"[\n;]", text):
        line = line.split("#")[0].strip()  # noqa: PLW2901 - the line, cleaned
        if line.startswith("@"):
            path = Path(line[1:])
            if path.exists():  # Nix ignores a missing file too
                yield from _lines(path.read_text(encoding="utf-8"))
        elif line:
            yield line


def settings(board: Board) -> Iterator[Finding]:
    """Whether builds are distributed at all."""
    if not board.machines:
        yield fail("no builder is configured", "nix.distributedBuilds = true and nix.buildMachines")
    else:
        yield ok(f"{len(board.machines)} builders, system {board.system}")
    if board.settings.get("builders-use-substitutes"):
        yield ok("builders fetch from binary caches themselves")
    else:
        yield warn(
            "what a builder could fetch from a cache is uploaded from here",
            "nix.settings.builders-use-substitutes = true",
        )
    if os.geteuid() != 0:
        yield warn("not run as root, but builds are distributed by root", "sudo nix-shim doctor")


def machine_lines(board: Board) -> Iterator[Finding]:
    """What each line says."""
    for machine in board.machines:
        if board.system and board.system not in machine.systems:
            yield warn(
                f"{machine.store} is not asked for {board.system}, only for"
                f" {', '.join(machine.systems) or 'nothing'}",
                f'systems = [ "{board.system}" ] in its entry',
            )
        if machine.jobs == 1:
            yield warn(
                f"{machine.store} has one job slot: Nix looks every five seconds if it is free",
                "maxJobs = 8 or so; the builder keeps its own limits",
            )
        lacking = [each for each in WANTED_FEATURES if each not in machine.features]
        if lacking:
            yield warn(
                f"{machine.store} lacks {', '.join(lacking)}: large packages are not sent to it",
                f"supportedFeatures = {json.dumps(lacking)}".replace(",", ""),
            )
        yield ok(f"{machine.store}: {', '.join(machine.systems)}, {machine.jobs} jobs")


def ssh(board: Board) -> Iterator[Finding]:
    """Keys, and whether the host is known."""
    for machine in board.machines:
        if machine.key:
            key = Path(machine.key)
            if not key.exists():
                yield fail(f"the key `{key}` does not exist", f"ssh-keygen -t ed25519 -f {key}")
            elif key.stat().st_mode & 0o077:
                yield fail(f"others may read the key `{key}`: ssh refuses it", f"chmod 600 {key}")
            else:
                yield ok(f"key `{key}`")
        yield _known(machine)


def _known(machine: Machine) -> Finding:
    if machine.host_key:
        try:
            line = base64.b64decode(machine.host_key, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            line = ""
        if line.startswith(("ssh-", "ecdsa-")):
            return ok(f"{machine.host}: its host key is in the machines line")
        return fail(
            f"{machine.host}: publicHostKey is not the base64 of a key line",
            "on the host: nix-shim gateway --config FILE --show-host-key",
        )
    done = subprocess.run(
        ["ssh-keygen", "-F", machine.known_as], capture_output=True, check=False, timeout=30
    )
    system_wide = Path("/etc/ssh/ssh_known_hosts")
    if done.returncode == 0 or (
        system_wide.exists() and machine.host in system_wide.read_text(encoding="utf-8")
    ):
        return ok(f"{machine.host}: its host key is known")
    return fail(
        f"{machine.known_as} is in no known_hosts file of this user",
        "publicHostKey in nix.buildMachines, or programs.ssh.knownHosts",
    )


def reach(board: Board) -> Iterator[Finding]:
    """Whether each builder answers, asked by the board's own Nix."""
    for machine in board.machines:
        try:
            done = subprocess.run(
                [*NIX, "store", "ping", "--store", machine.uri()],
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
                env={**os.environ, "NIX_SSHOPTS": os.environ.get("NIX_SSHOPTS", "")},
            )
        except subprocess.TimeoutExpired:
            yield fail(f"{machine.store} did not answer in {PATIENCE} s", "is the host up?")
            continue
        if done.returncode == 0:
            yield ok(f"{machine.store} answers")
        else:
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            yield fail(f"{machine.store}: {said[0]}", "try: ssh HOST; on the host: nix-shim doctor")


CHECKS: Final[Sequence[tuple[str, Check[Board]]]] = (
    ("settings", settings),
    ("machines", machine_lines),
    ("ssh", ssh),
    ("reach", reach),
)
"""In the order in which they are shown."""
