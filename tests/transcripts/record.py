"""Make the recordings anew from real Nix programs: `python -m tests.transcripts.record OUT`.

Every scenario below is run in a store of its own under a temporary directory (no daemon, store or
configuration of this machine is touched), with `nix-shim record` between client and server.  Either
may be the Nix of a tree that `scripts/fetch-nix` made.  Runs as root: builds need user namespaces.
`README.md` says what each scenario is for.
"""

import argparse
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SCENARIOS: Final = ROOT / "tests" / "transcripts" / "scenarios"
PYTHON: Final = Path(sys.base_prefix)
"""What our own client needs in a tree, besides this repository."""

CONFIGURATION: Final = """\
build-users-group =
builders-use-substitutes = true
experimental-features = nix-command ca-derivations daemon-trust-override
filter-syscalls = false
require-sigs = false
sandbox = true
sandbox-paths = /bin /lib /lib64 /usr
substituters =
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, spoken at one version of a protocol."""

    scenario: str
    """Name of a shell script in `scenarios/`."""
    protocol: str
    offer: str
    """The protocol version both programs are told, or empty for their own."""
    untrusted: bool = False
    """Whether the server tells its client that it does not trust it."""

    @property
    def stem(self) -> str:
        """The beginning of the names of its recordings."""
        return "-".join(filter(None, (self.protocol, self.offer, self.scenario)))


EVERYWHERE: Final = tuple(
    Case(scenario, "worker", "")
    for scenario in ("info", "copies", "eval-store", "export", "log", "interrupted")
)
"""What every release does in its own way."""

OLD_CASES: Final = (
    *EVERYWHERE,
    Case("build", "worker", ""),
    *(Case("build", "worker", f"1.{minor}") for minor in (21, 22, 25, 27, 28, 29, 30, 33)),
    *(Case("asks", "worker", offer) for offer in ("", "1.21")),
    Case("queries", "worker", ""),
    Case("queries", "worker", "1.21"),
    Case("failures", "worker", ""),
    Case("failures", "worker", "1.25"),
    Case("failures", "worker", "1.29"),
    Case("upkeep", "worker", ""),
    Case("content-addressed", "worker", ""),
    Case("content-addressed", "worker", "1.28"),
    Case("hook", "worker", ""),
    Case("hook", "worker", "1.21"),
    *(Case("hook", "worker", f"1.{minor}") for minor in (27, 28, 29)),
    # Nix 2.4 to 2.8 send `builtOutputs` whatever was negotiated: below 2.6 they build for nobody.
    Case("hook", "serve", "2.6"),
    Case("hook", "serve", ""),
    *(Case("asks-over-ssh", "serve", offer) for offer in ("2.1", "2.2", "2.3", "")),
    Case("failures-over-ssh", "serve", ""),
    *(Case("copies-over-ssh", "serve", offer) for offer in ("2.4", "2.5", "")),
)
"""For Nix 2.8, which still speaks everything that boards speak."""

NEW_CASES: Final = (
    *EVERYWHERE,
    Case("hook-untrusted", "worker", "", untrusted=True),
    Case("build", "worker", ""),
    *(Case("hook", "worker", offer) for offer in ("", "1.35", "1.37")),
    Case("content-addressed", "worker", ""),
    Case("failures", "worker", ""),
    Case("queries", "worker", ""),
    Case("upkeep", "worker", ""),
    Case("hook", "serve", ""),
    Case("asks-over-ssh", "serve", "2.5"),
    Case("copies-over-ssh", "serve", ""),
)
"""For releases since 2.20: what is new in them."""

ACROSS_CASES: Final = (
    *EVERYWHERE,
    Case("queries", "worker", ""),
    Case("failures", "worker", ""),
    Case("content-addressed", "worker", ""),
    Case("hook", "worker", ""),
    Case("hook", "serve", ""),
)
"""For a client and a server of two releases."""


@dataclass(frozen=True, slots=True)
class Release:
    """The Nix programs of one end."""

    suite: str
    """Debian suite of the tree that they are in, or empty for those of this machine."""

    def enter(self, *folders: Path) -> list[str]:
        """The beginning of a command that is run among them, where it sees `folders`."""
        if not self.suite:
            return []
        binds = [str(word) for folder in folders for word in ("--bind", folder)]
        return [str(ROOT / "scripts" / "in-root"), *binds, self.suite]

    @property
    def version(self) -> str:
        """As the programs tell it."""
        told = subprocess.check_output([*self.enter(), "nix", "--version"], text=True)
        return told.split()[-1]


class Machine:
    """A throw-away board, a throw-away builder, and the way between them."""

    def __init__(self, folder: Path, out: Path, case: Case, ends: tuple[Release, Release]) -> None:
        self._folder = folder
        self._case = case
        self._client, self._server = ends
        self._out = out
        self.environment = {
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "NIX_CONF_DIR": str(folder / "conf"),
            "NIX_CONFIG": CONFIGURATION,
            "NIX_USER_CONF_FILES": "",
            "NIX_PATH": "",
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SERVER_STORE": f"local?root={folder}/server",
            "CLIENT_STORE": f"local?root={folder}/client",
            # Two releases copy no larger files than each with itself, which is recorded already.
            "LARGE": "40000" if len(set(ends)) == 1 else "4000",
            "MANY": "40" if len(set(ends)) == 1 else "4",
            "SOCKET_STORE": f"unix://{folder}/socket?root={folder}/server",
            "SERVED": str(folder / "served"),
            "TMPDIR": str(folder / "tmp"),
            "WORK": str(folder),
        }
        for name in ("home", "conf", "server", "client", "tmp"):
            (folder / name).mkdir()
        self._write_served()

    def _write_served(self) -> None:
        """The program that stands in for the served one: `nix-daemon` or `nix-store`."""
        case = self._case
        program = ["nix-store", "--serve", "--write"]
        if case.protocol == "worker":
            program = ["nix-daemon", "--stdio", *(["--force-untrusted"] if case.untrusted else [])]
        releases = " to ".join(dict.fromkeys((self._client.version, self._server.version)))
        command = [
            # The client's tree does not have this machine's files: the server is started outside.
            *(("nsenter", f"--mount=/proc/{os.getpid()}/ns/mnt") if self._client.suite else ()),
            *(sys.executable, "-m", "shim", "record", "--output", str(self._out)),
            *("--stem", case.stem, "--protocol", case.protocol, "--offer", case.offer),
            *("--about", f"Nix {releases}, scenario {case.scenario}", "--"),
            *self._server.enter(self._folder),
            *program,
        ]
        served = self._folder / "served"
        served.write_text(
            f'#!/bin/sh\nexport NIX_REMOTE="$SERVER_STORE"\nexec {shlex.join(command)}\n'
        )
        served.chmod(0o755)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Serve each connection to the Unix socket by a `served` of its own."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._folder / "socket"))
            listener.listen()
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                subprocess.Popen(
                    [self.environment["SERVED"]],
                    stdin=connection.fileno(),
                    stdout=connection.fileno(),
                    env=self.environment,
                )

    def play(self) -> None:
        """Run the scenario."""
        script = SCENARIOS / f"{self._case.scenario}.sh"
        words = ("env", f"HOME={self.environment['HOME']}", "bash", "-eu", str(script))
        with self.listening():
            subprocess.run(
                [*self._client.enter(self._folder, ROOT, PYTHON), *words],
                env=self.environment,
                check=True,
                timeout=300,
            )


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder of always the same name: it appears in what is recorded."""
    folder = Path("/tmp/nix-shim-golden")
    folder.mkdir()
    try:
        yield folder
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        # An interrupted daemon may be cleaning up as well: `rm` does not mind.
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def cases(client: str, server: str) -> tuple[Case, ...]:
    """What is recorded of a client and a server of these versions."""
    if client != server:
        return ACROSS_CASES
    return NEW_CASES if tuple(map(int, client.split(".")[:2])) >= (2, 20) else OLD_CASES


def main() -> None:
    """Play every case, or the named ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--client", default="", help="Debian suite of the client's Nix")
    parser.add_argument("--server", default="", help="Debian suite of the server's Nix")
    parser.add_argument("--only", default="", help="beginning of the recordings' names")
    asked = parser.parse_args()
    ends = Release(asked.client), Release(asked.server)
    versions = tuple(end.version for end in ends)
    out: Path = asked.out.resolve() / "-to-".join(dict.fromkeys(versions))
    for case in cases(*versions):
        if not case.stem.startswith(asked.only):
            continue
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob(f"{case.stem}-[0-9]*.nixrec"):
            old.unlink()
        with scratch() as folder:
            sys.stderr.write(f"-- {out.name} {case.stem}\n")
            Machine(folder, out, case, ends).play()


if __name__ == "__main__":
    main()
