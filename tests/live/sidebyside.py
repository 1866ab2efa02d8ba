"""A nix-daemon with the shim before it, and one without: the same commands are given to both."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.live import world

NIX_CONFIG: Final = """\
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin /lib /lib64 /usr
filter-syscalls = false
build-users-group =
substituters =
max-jobs = 1
cores = 1
experimental-features = nix-command ca-derivations
warn-dirty = false
"""

THINGS: Final = """\
let
  sh = extra: script: derivation ({
    system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; PATH = "/usr/bin:/bin";
  } // extra);
in rec {
  input = sh { name = "input"; } "echo input > $out";
  tree = sh { name = "tree"; inherit input; outputs = [ "out" "dev" ]; }
    "echo built with $input; mkdir $out; ln -s $input $out/link; echo x > $out/x; echo $out > $dev";
  failing = sh { name = "failing"; } "echo this does not go well; exit 3";
  above = sh { name = "above"; inherit failing; } "echo never > $out";
  slow = sh { name = "slow"; } "echo slowly; sleep 61.25; echo done > $out";
  fixed = sh {
    name = "fixed"; outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "fixed\\n";
  } "echo fixed > $out";
  ca = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
  floating = sh ({ name = "floating"; outputs = [ "out" "doc" ]; } // ca)
    "echo floating > $out; echo $out > $doc";
  resting = sh ({ name = "resting"; inherit floating; } // ca) "echo on $floating > $out";
  mismatch = sh {
    name = "mismatch"; outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "else";
  } "echo fixed > $out";
}
"""

CONFIG: Final = """\
{more}
socket = "{base}/front"
state-directory = "{base}/state"
[serving]
root = "{root}"
socket = "{base}/real"
start = false
[deadlines]
shutdown = 2
drain = 5
"""


SOCKET: Final = "unix://$BASE/front"
SSH: Final = "ssh-ng://localhost?remote-program=$BASE/program"
"""Ways to the store, for commands; the second goes past SSH, but for that name only."""

NOBODY: Final = 65534
"""Number of a user whom no nix-daemon trusts."""


def become(user: int) -> list[str]:
    """The beginning of a command that another user runs."""
    if not user:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


@dataclass
class Side:
    """A store of its own, its nix-daemon, and whatever stands before it at `BASE/front`."""

    base: Path
    daemon: str | None
    """Debian suite of the nix-daemon; None: the installed one."""
    client: str | None
    """Debian suite of the Nix that is asked to do things."""
    shim: bool
    more: str = ""
    """Further keys of the shim's configuration; `{base}` is replaced."""
    own: bool = False
    """Whether its store directory is another than `/nix/store`, and state and log with it."""
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def _enter(self, suite: str | None) -> list[str | Path]:
        if suite is None:
            return []
        return [world.ROOT / "scripts" / "in-root", "--bind", self.base.parent, suite]

    @property
    def root(self) -> str:
        """Where the store's files lie, up to their store path."""
        return "" if self.own else f"{self.base}/store"

    def _uri(self, scheme: str) -> str:
        return scheme if self.own else f"{scheme}?root={self.root}"

    @property
    def _environ(self) -> dict[str, str]:
        own = {
            "NIX_STORE_DIR": f"{self.base}/own/store",
            "NIX_STATE_DIR": f"{self.base}/own/var/nix",
            "NIX_LOG_DIR": f"{self.base}/own/log",
        }
        return {
            **os.environ,
            **(own if self.own else {}),
            "NIX_CONFIG": NIX_CONFIG,
            "NIX_CONF_DIR": str(self.base / "etc"),
            "NIX_SHIM_CACHE": str(world.CACHE),
            "LANG": "C.UTF-8",
        }

    def _start(self, arguments: Sequence[str | Path], socket: Path, **environ: str) -> None:
        with (self.base / "log").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdout=log,
                stderr=log,
                env={**self._environ, **environ},
                start_new_session=True,
            )
        self.running.append(process)
        deadline = time.monotonic() + 60
        while not world.accepts(socket):
            assert process.poll() is None, (self.base / "log").read_text()
            assert time.monotonic() < deadline, (self.base / "log").read_text()
            time.sleep(0.05)

    def start(self) -> None:
        """Make the folder; start the daemon, and the shim if there is one."""
        self.base.mkdir(parents=True)
        self.base.chmod(0o777)
        self.base.parent.chmod(0o755)
        (self.base / "things.nix").write_text(THINGS)
        self.restart()

    def restart(self) -> None:
        """Start what was stopped, or without the shim what ran with it."""
        socket = self.base / ("real" if self.shim else "front")
        self._start(
            [*self._enter(self.daemon), "nix-daemon"],
            socket,
            NIX_REMOTE=self._uri("local"),
            NIX_DAEMON_SOCKET_PATH=str(socket),
        )
        if self.shim:
            config = self.base / "shim.toml"
            more = self.more.replace("{base}", str(self.base))
            if self.own:
                more += f'store-dir = "{self.base}/own/store"\n'
            config.write_text(CONFIG.format(base=self.base, root=self.root or "/", more=more))
            self._start([world.SHIM, "serve", "--config", config], self.base / "front")

    def stop(self) -> None:
        """End everything that was started."""
        for process in reversed(self.running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)

    def run(self, script: str, *, user: int = 0, remote: str = SOCKET) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a script, without what cannot agree.

        Args:
            script: for bash.
            user: number of the user on whose account the daemon is spoken to.
            remote: the store that commands speak to.
        """
        client = become(user if remote == SOCKET else 0)
        if remote == SOCKET:
            remote = self._uri(f"unix://{self.base}/front")
        done = subprocess.run(
            [
                *self._enter(self.client),
                *("env", f"HOME={self.base}/home", *client, "bash", "-c", script),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
            cwd=self.base,
            env={
                **self._environ,
                "NIX_REMOTE": remote.replace("$BASE", str(self.base)),
                "BASE": str(self.base),
                "ROOT": self.root,
                "THINGS": str(self.base / "things.nix"),
                "PROGRAM": self._program(user),
            },
        )
        return done.returncode, self.plain(done.stdout), self.plain(done.stderr)

    def _program(self, user: int) -> str:
        """What a builder's line names as `remote-program`: it runs where the daemon does."""
        program = self.base / "program"
        outside = ["nsenter", f"--mount=/proc/{os.getpid()}/ns/mnt"] if self.client else []
        if self.shim:
            environ = f"PYTHONPATH={world.ROOT}"
            command = [str(world.SHIM), "stdio", "--socket", f"{self.base}/front"]
        else:
            environ = f"NIX_REMOTE={self._uri(f'unix://{self.base}/front')}"
            command = [*become(user), "nix-daemon"]
        inside = [] if self.shim else map(str, self._enter(self.daemon))
        home = f"HOME={self.base}/home"
        words = shlex.join([*outside, *inside, "env", environ, home, *command])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        return str(program)

    def plain(self, text: str) -> str:
        """What was said, without what differs between any two runs; see `EXEMPT`."""
        text = text.replace(str(self.base), "BASE")
        for pattern, instead, _ in EXEMPT:
            text = re.sub(pattern, instead, text)
        return text

    def contents(self) -> dict[str, object]:
        """The store: what is valid, with everything known of it but times."""
        shown = subprocess.run(
            ["nix", "path-info", "--all", "--json", "--store", self._uri("local")],
            capture_output=True,
            text=True,
            check=True,
            env=self._environ,
        )
        infos = json.loads(shown.stdout)
        for info in infos:
            info.pop("registrationTime", None)
        store = self.base / ("own/store" if self.own else "store/nix/store")
        files = sorted(path.name for path in store.iterdir())
        return {"valid": sorted(infos, key=lambda info: str(info["path"])), "files": files}


EXEMPT: Final = (
    (r'"registrationTime": ?\d+', '"registrationTime":0', "two runs happen at two times"),
    (r"\d+(\.\d+)? (KiB|MiB|GiB)( freed)", "SIZE freed", "file systems round differently"),
    (r"(/proc|temproots)/\d+", r"\1/PID", "processes have numbers"),
    (r"accepted connection from pid \d+", "accepted", "processes have numbers"),
    (r"nix-build-\S+?-\d+", "BUILD", "build directories are numbered as they are free"),
    (r"gcroots/auto/\w{32}", "gcroots/auto/HASH", "roots are named after temporary names"),
    (r"/tmp/\S+", "TMP", "temporary names are random"),
)
"""What may differ: pattern, what stands instead, and why."""


@contextmanager
def both(
    folder: Path, client: str | None, daemon: str | None, more: str = ""
) -> Iterator[tuple[Side, Side]]:
    """A side without the shim and one with it, from the same beginning.

    Args:
        folder: where they are made.
        client: as in `Side`.
        daemon: the same.
        more: further keys of the shim's configuration.
    """
    sides = (
        Side(folder / "direct", daemon, client, shim=False),
        Side(folder / "relayed", daemon, client, shim=True, more=more),
    )
    try:
        for side in sides:
            side.start()
        yield sides
    finally:
        for side in sides:
            side.stop()
