"""Real parts for live tests and the demo: Nix programs, stores, a board, and a running shim.

Nothing here pretends: builds run in Nix's sandbox, boards are chroot stores of their own, and the
shim is a separate process.  What the machine lacks is said by `lacks()`, never installed from here
(`make setup` does that, visibly).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("NIX_SHIM_CACHE", ROOT / ".cache"))
MINIPKGS: Final = ROOT / "tests" / "minipkgs"
BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
SHIM: Final = Path(sys.executable).parent / "nix-shim"

NIX_CONFIG: Final = """\
sandbox = true
sandbox-fallback = false
build-users-group =
substituters =
extra-platforms = aarch64-linux armv7l-linux riscv64-linux
experimental-features = nix-command
"""
"""How every Nix program of the tests is configured; /etc/nix stays as it is."""

CROSS: Final = "pkgsCross.aarch64-multiplatform"
CROSS_SETS: Final = {
    "aarch64-linux": CROSS,
    "armv7l-linux": "pkgsCross.armv7l-hf-multiplatform",
    "riscv64-linux": "pkgsCross.riscv64",
}
"""System -> the set of minipkgs that is cross-compiled for it."""


def lacks() -> str | None:
    """Why live tests cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "live tests need root (nix-daemon's sandbox, user namespaces)"
    for program in ("nix", "nix-daemon", "nix-store", "setpriv", "unshare"):
        if shutil.which(program) is None:
            return f"`{program}` is not installed: make setup"
    if not (BINFMT / "qemu-aarch64").exists():
        return "no aarch64 emulator is registered: make setup"
    if not (CACHE / "minipkgs" / "index.json").exists():
        return "minipkgs' packages are not downloaded: scripts/fetch-minipkgs"
    return None


def environment(**extra: str) -> dict[str, str]:
    """The environment of a Nix program: ours, with the tests' own settings."""
    return {**os.environ, "NIX_CONFIG": NIX_CONFIG, **extra}


def lacks_native(architecture: str) -> str | None:
    """Why the native set of a Debian architecture cannot be built here; None when it can."""
    if any((CACHE / "minipkgs" / "files").glob(f"gcc-14-*_{architecture}.deb")):
        return None
    return f"no compiler of `{architecture}` is downloaded: scripts/fetch-minipkgs --all"


def run(
    arguments: Sequence[str | Path],
    *,
    check: bool = True,
    timeout: float = 1200,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, its output kept; a failure shows all of it."""
    done = subprocess.run(
        [str(each) for each in arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        env=dict(environ or environment()),
    )
    if check and done.returncode != 0:
        words = " ".join(map(str, arguments))
        raise AssertionError(f"`{words}` -> {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def spawn(arguments: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    """Start a program in the background, its output dropped."""
    return subprocess.Popen(
        [str(each) for each in arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )


def derivation(attribute: str) -> str:
    """The .drv of a minipkgs attribute, instantiated in the host's store."""
    return run(["nix-instantiate", MINIPKGS, "-A", attribute]).stdout.strip().partition("!")[0]


def outputs(drv: str) -> dict[str, str]:
    """Output name -> path of a derivation in the host's store."""
    shown = json.loads(run(["nix", "show-derivation", drv]).stdout)
    return {name: each["path"] for name, each in shown[drv]["outputs"].items()}


def realise(*paths: str) -> list[str]:
    """Build or fetch into the host's store."""
    return run(["nix-store", "--realise", *paths]).stdout.split()


def build_tools(cross: str) -> None:
    """Realise what a cross derivation uses on the build machine, so that plants find it."""
    names = json.loads(run(["nix", "show-derivation", cross]).stdout)[cross]["inputDrvs"]
    tools = [drv for drv in names if "stdenv" in drv or "-unknown-" not in Path(drv).name]
    realise(*(f"{drv}!{','.join(names[drv])}" for drv in tools))


def run_in(root: Path, arguments: Sequence[str], given: bytes = b"") -> bytes:
    """Run a program of a store below `root` where its paths are what it thinks they are."""
    done = subprocess.run(
        ["unshare", "--mount", "--root", root, *arguments],
        input=given,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def inputs(drv: str) -> list[str]:
    """What a board must have before it can ask a builder for `drv`: its inputs, realised here."""
    shown = json.loads(run(["nix", "show-derivation", drv]).stdout)[drv]
    wanted = [f"{each}!{','.join(names)}" for each, names in sorted(shown["inputDrvs"].items())]
    return [*(realise(*wanted) if wanted else []), *shown["inputSrcs"]]


CONFIG: Final = """\
{top}
socket = "{base}/shim.sock"
state-directory = "{base}/state"
systems = [{systems}]
tables = [{tables}]
trust-boards = {trust}

[serving]
root = "{base}/serve"
settings = {{ max-jobs = "4" }}
{serving_more}

[plant]
root = "{plant}"
settings = {{ max-jobs = "2" }}
{plant_more}

[policy]
cross = {cross}
emulate = {emulate}
worst-difference = "{worst}"

[deadlines]
{deadlines}
{more}
"""

DEADLINES: Final = {"shutdown": 5, "protect": 0.1}
"""Those that tests shorten: they delete what was delivered, to have it made again."""


@dataclass
class Shim:
    """A running `nix-shim serve` with stores of its own below `base`."""

    base: Path
    tables: Sequence[Path] = ()
    cross: bool = True
    trust: bool = False
    worst: str = "notable"
    """Worst class of difference that may be planted."""
    emulate: bool = True
    deadlines: Mapping[str, float] = field(default_factory=dict)
    """Other deadlines than `DEADLINES`."""
    more: str = ""
    """Further sections of the configuration."""
    top: str = ""
    """Further keys before all sections."""
    serving_more: str = ""
    """Further keys of the serving store."""
    plant_more: str = ""
    """Further keys of the plant store."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Further variables of its environment."""
    within: tuple[str, ...] = ()
    """A command that runs the shim, such as one that takes something away from it."""
    systems: tuple[str, ...] = ("aarch64-linux",)
    """What it makes."""
    plant: Path | None = None
    """Root of the plant store; shared between shims that do not run at the same time."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.base / "shim.sock"

    @property
    def serving_root(self) -> Path:
        return self.base / "serve"

    @property
    def plant_root(self) -> Path:
        return self.plant or self.base / "plant"

    @property
    def log(self) -> Path:
        return self.base / "shim.log"

    def configure(self) -> Path:
        """Write its configuration."""
        self.base.mkdir(parents=True, exist_ok=True)
        config = self.base / "shim.toml"
        config.write_text(
            CONFIG.format(
                base=self.base,
                plant=self.plant_root,
                systems=", ".join(f'"{system}"' for system in self.systems),
                tables=", ".join(f'"{table}"' for table in self.tables),
                cross=str(self.cross).lower(),
                trust=str(self.trust).lower(),
                worst=self.worst,
                emulate=str(self.emulate).lower(),
                deadlines="\n".join(
                    f"{name} = {seconds}"
                    for name, seconds in {**DEADLINES, **self.deadlines}.items()
                ),
                more=self.more,
                top=self.top,
                serving_more=self.serving_more,
                plant_more=self.plant_more,
            )
        )
        return config

    def start(self, timeout: float = 60) -> None:
        """Start it and wait until its socket accepts."""
        config = self.configure()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, SHIM, "serve", "--config", config],
                stdout=log,
                stderr=log,
                env=environment(**self.environ),
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not accepts(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the shim did not come up:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM, as a service manager does; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is out."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def __enter__(self) -> "Shim":  # noqa: PYI034 - never subclassed
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()

    def serves(self, path: str) -> bool:
        """Whether the serving store has `path` as valid, asked of the store itself."""
        store = f"local?root={self.serving_root}"
        done = run(["nix-store", "--store", store, "--check-validity", path], check=False)
        return done.returncode == 0

    def uri(self, protocol: str = "ssh-ng") -> str:
        """This shim as a store, reached without SSH.

        Nix runs the remote program directly for the host `localhost` and no other.
        """
        program = f"{SHIM}%20stdio%20--socket%20{self.socket}"
        return f"{protocol}://localhost?remote-program={program}"

    def builder(self, *, jobs: int = 8, protocol: str = "ssh-ng") -> str:
        """This shim as a line of `nix.buildMachines`, reached without SSH."""
        return f"{self.uri(protocol)} {','.join(self.systems)} - {jobs} 1 - - -"


def accepts(path: Path) -> bool:
    """Whether something listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class SshDoor:
    """A real sshd whose only key runs `nix-shim stdio`, as README tells operators to set it up."""

    base: Path
    shim: Shim
    peer: str = "attic"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> "SshDoor":  # noqa: PYI034 - never subclassed
        self.base.mkdir(parents=True, exist_ok=True)
        for name in ("host", "board"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.base / name])
        public = (self.base / "board.pub").read_text().strip()
        command = f"{SHIM} stdio --socket {self.shim.socket} --peer {self.peer}"
        keys = self.base / "authorized_keys"
        keys.write_text(f'command="{command}",restrict {public}\n')
        Path("/run/sshd").mkdir(exist_ok=True)
        log = (self.base / "sshd.log").open("wb")
        self.process = subprocess.Popen(
            [
                *("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", str(self.port)),
                *("-h", self.base / "host", "-o", "ListenAddress=127.0.0.1"),
                *("-o", f"AuthorizedKeysFile={keys}", "-o", "StrictModes=no"),
                *("-o", "PasswordAuthentication=no", "-o", "UsePAM=no"),
                *("-o", f"PidFile={self.base}/sshd.pid"),
            ],
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        log.close()
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.base / "sshd.log").read_text())
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)

    @property
    def options(self) -> str:
        """NIX_SSHOPTS of a board that may come in."""
        return (
            f"-p {self.port} -i {self.base}/board -o StrictHostKeyChecking=no"
            " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )

    def builder(self, *, jobs: int = 8, scheme: str = "ssh-ng://") -> str:
        """A line of `nix.buildMachines`.  Never `localhost`: Nix bypasses SSH for that name.

        Without a scheme it is one for the protocol `ssh`, the default.
        """
        return f"{scheme}root@127.0.0.1 aarch64-linux - {jobs} 1 - - -"


GATEWAY: Final = """\
socket = "{socket}"

[serving]
root = "/unused"

[deadlines]
drain = 2

[gateway]
addresses = ["127.0.0.1"]
port = {port}
state-directory = "{base}"
{settings}
"""


@dataclass
class GatewayDoor:
    """A running `nix-shim gateway` in front of a daemon, with a key for each peer."""

    base: Path
    daemon: Path
    """The daemon's socket."""
    peers: tuple[str, ...] = ("attic",)
    settings: str = ""
    """Further lines of `[gateway]`, and sections after them."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> "GatewayDoor":  # noqa: PYI034 - never subclassed
        self.base.mkdir(parents=True, exist_ok=True)
        for peer in self.peers:
            if not (self.base / peer).exists():
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.base / peer])
        self.configure()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [SHIM, "gateway", "--config", self.config], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while "gateway-ready" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gateway did not come up:\n{self.log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def configure(self, **more: str) -> None:
        """Write the configuration.

        Args:
            more: further lines of a peer's section, by its name.
        """
        text = GATEWAY.format(
            socket=self.daemon, port=self.port, base=self.base / "state", settings=self.settings
        )
        for peer in self.peers:
            text += (
                f'[peers.{peer}]\nkey-files = ["{self.base / peer}.pub"]\n{more.get(peer, "")}\n'
            )
        self.config.write_text(text)

    @property
    def config(self) -> Path:
        return self.base / "gateway.toml"

    @property
    def log(self) -> Path:
        return self.base / "gateway.log"

    def options(self, peer: str = "attic") -> str:
        """NIX_SSHOPTS of a board that may come in."""
        return (
            f"-p {self.port} -i {self.base}/{peer} -o IdentitiesOnly=yes"
            " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )

    def ssh(self, *arguments: str | Path, peer: str = "attic") -> list[str]:
        """The command of a client; `arguments` are options, the host, and what is to be run."""
        words = [str(each) for each in arguments]
        return ["ssh", "-F", "none", "-T", *self.options(peer).split(), *words]

    def builder(self, protocol: str = "ssh-ng", *, jobs: int = 8) -> str:
        """A line of `nix.buildMachines`.  Never `localhost`: Nix bypasses SSH for that name."""
        return f"{protocol}://root@127.0.0.1 aarch64-linux - {jobs} 1 - - -"

    def memory(self) -> int:
        """The most memory that it has held, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@dataclass
class Board:
    """A board: a store of its own that builds nothing itself."""

    root: Path
    suite: str | None = None
    """Debian suite whose Nix it runs (`scripts/fetch-nix`); None for the installed one."""
    shares: tuple[Path, ...] = ()
    """Folders that its Nix sees besides its own, when it runs in a tree of another suite."""

    @property
    def store(self) -> str:
        return f"local?root={self.root}"

    def receive(self, paths: Sequence[str]) -> None:
        """Copy closures from the host's store, as a binary cache would have given them."""
        if paths:
            run(["nix", "copy", "--no-check-sigs", "--to", self.store, *paths])

    def nix(
        self,
        *arguments: str | Path,
        check: bool = True,
        timeout: float = 1200,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the board's Nix programs."""
        enter: list[str | Path] = []
        if self.suite is not None:
            enter = [ROOT / "scripts" / "in-root"]
            for folder in (self.root, MINIPKGS, CACHE / "minipkgs", *self.shares):
                enter += ["--bind", folder]
            enter.append(self.suite)
        return run(
            [*enter, *arguments],
            check=check,
            timeout=timeout,
            environ=environment(NIX_SHIM_CACHE=str(CACHE), **environ),
        )

    def version(self) -> str:
        """Which Nix it runs."""
        return self.nix("nix", "--version").stdout.split()[-1]

    def build(
        self,
        attribute: str,
        builder: str,
        *,
        check: bool = True,
        timeout: float = 1200,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Ask for an attribute of minipkgs with `builder` as the only one that may build."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self.nix(
            *("nix-build", MINIPKGS, "-A", attribute, "--no-out-link", "--store", self.store),
            *("--max-jobs", "0", "--builders", builder),
            check=check,
            timeout=timeout,
            **environ,
        )

    def physical(self, path: str) -> Path:
        """Where the files of a store path of the board lie."""
        return self.root / path.lstrip("/")


def pair(native: str, cross: str, output: Path) -> Path:
    """Make an equivalence table of two graphs in the host's store."""
    run([SHIM, "table", "pair", "--native", native, "--cross", cross, "-o", output])
    return output
