"""Our SSH doors against OpenSSH with nix-daemon: how soon a store answers, and bulk both ways.

All serve a store on this machine, to the same client over the loopback, in turns; the stores are in
memory where there is a /dev/shm, so that no disk is measured.  What is asked of us: connections to
the gateway in at most 0.8 of OpenSSH's time, bulk at 0.8 of its rate, and by either door ten
trivial builds, each of which is a connection, in at most 1.15 of it.
"""

import contextlib
import itertools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.live import world
from tests.live.world import GatewayDoor, Shim, SshDoor

STARTS = 40
CONNECTIONS = 15
ROUNDS = 10
COPIES = 5
BULK = 300_000_000
HOST = "root@127.0.0.1"

CONNECT = "connect to ready (nix store ping)"
BUILDS = "remote build of ten trivial derivations"
UPLOAD = f"upload of {BULK // 1_000_000} MB (nix copy)"
DOWNLOAD = f"download of {BULK // 1_000_000} MB (nix copy)"

ASKED = {
    (CONNECT, "gateway"): 1.25,
    (BUILDS, "gateway"): 0.87,
    (BUILDS, "stdio"): 0.87,
    (UPLOAD, "gateway"): 0.80,
    (DOWNLOAD, "gateway"): 0.80,
}
"""What is measured, by which way -> least ratio of OpenSSH's time to ours."""

SERVER = """\
#!/bin/sh
export NIX_CONFIG='{settings}'
NIX_REMOTE='local?root={root}' exec nix-daemon --stdio
"""


TRIVIAL = """\
let tools = builtins.path {{ path = {seeds}; name = "seeds"; }}; in
builtins.genList (n: derivation {{
  name = "trivial-${{toString n}}-{run}"; system = builtins.currentSystem;
  builder = "${{tools}}/bash"; args = [ "-c" "echo ${{toString n}} > $out" ];
}}) 10
"""
SEEDS = world.CACHE / "minipkgs" / "seeds" / "amd64"


@dataclass
class Way:
    """One way to a store."""

    name: str
    """`OpenSSH` runs a nix-daemon, `stdio` is OpenSSH that runs `nix-shim stdio`."""
    url: str
    options: str
    root: Path

    def nix(self, *arguments: str) -> float:
        """Run a client; how many seconds it took."""
        environ = world.environment(NIX_SSHOPTS=self.options)
        begin = time.perf_counter()
        world.run(["nix", *arguments], environ=environ)
        return time.perf_counter() - begin


def main() -> None:
    """Measure all ways in turns and print the medians with their ratio."""
    if (lack := world.lacks()) is not None:
        print(f"not measured: {lack}")
        return
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, ways(Path(folder)) as doors:
        ping = lambda way: way.nix("store", "ping", "--store", way.url)  # noqa: E731 - one expression
        starts(Path(folder))
        compare(CONNECT, doors, ping, CONNECTIONS)
        builds(doors, Path(folder))
        source = Path(folder) / "source"
        with source.open("wb") as file:
            for _ in range(BULK // 1_000_000):
                file.write(os.urandom(1_000_000))
        path = world.run(["nix-store", "--add", source]).stdout.strip()
        source.unlink()
        try:
            copies(doors, path, Path(folder) / "down")
        finally:
            world.run(["nix-store", "--delete", path])


def starts(folder: Path) -> None:
    """From the start of a relay to the client's first byte at the daemon, and Python's share."""
    path = folder / "listening"
    relay = [str(world.SHIM), "stdio", "--socket", str(path)]
    bare = [sys.executable, "-c", "import os; os._exit(0)"]
    relays, pythons = [], []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        for _ in range(STARTS):
            begin = time.perf_counter()
            with subprocess.Popen(relay, stdin=subprocess.PIPE) as process:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as said:
                    said.readline()  # its preamble has no line's end
                    relays.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            subprocess.run(bare, check=True)
            pythons.append(time.perf_counter() - begin)
    print(
        f"start of nix-shim stdio to its first byte {1000 * statistics.median(relays):.1f} ms,"
        f" of that Python's own start {1000 * statistics.median(pythons):.1f} ms"
    )


def builds(doors: Sequence[Way], folder: Path) -> None:
    """Ten derivations that take no time, from a board with a store of its own."""
    runs = itertools.count()
    file = folder / "ten.nix"

    def build(way: Way) -> float:
        file.write_text(TRIVIAL.format(seeds=SEEDS, run=next(runs)))
        environ = world.environment(NIX_SSHOPTS=way.options)
        board = f"local?root={folder / 'board'}"
        builder = f"{way.url} x86_64-linux - 8 1 - - -"
        begin = time.perf_counter()
        world.run(
            [
                *("nix-build", file, "--no-out-link", "--store", board),
                *("--max-jobs", "0", "--builders", builder),
            ],
            environ=environ,
        )
        return time.perf_counter() - begin

    for way in doors:  # what is uploaded once is not measured
        build(way)
    compare(BUILDS, doors, build, ROUNDS)


def copies(doors: Sequence[Way], path: str, down: Path) -> None:
    """Bulk, both ways."""

    def upload(way: Way) -> float:
        with contextlib.suppress(AssertionError):
            world.run(["nix-store", "--store", f"local?root={way.root}", "--delete", path])
        return way.nix("copy", "--no-check-sigs", "--to", way.url, path)

    def download(way: Way) -> float:
        if down.exists():
            subprocess.run(["chmod", "-R", "u+w", down], check=True)
            shutil.rmtree(down)
        target = f"local?root={down}"
        return way.nix("copy", "--no-check-sigs", "--from", way.url, "--to", target, path)

    compare(UPLOAD, doors, upload, COPIES)
    compare(DOWNLOAD, doors, download, COPIES)


def compare(what: str, doors: Sequence[Way], run: Callable[[Way], float], times: int) -> None:
    """Run all in turns, so that a busy machine slows all, and print the medians."""
    rounds = [[run(way) for way in doors] for _ in range(times)]
    theirs, *ours = zip(*rounds, strict=True)
    print(f"{what:<40} {doors[0].name} {statistics.median(theirs):6.2f} s")
    for way, times_of_it in zip(doors[1:], ours, strict=True):
        ratio = statistics.median(
            one / other for one, other in zip(theirs, times_of_it, strict=True)
        )
        asked = ASKED.get((what, way.name))
        print(
            f"{way.name:>50} {statistics.median(times_of_it):6.2f} s"
            f"   {doors[0].name}'s time / its own: {ratio:.2f}"
            + ("" if asked is None else f" (asked: {asked:.2f} or more)"),
            flush=True,
        )


@contextlib.contextmanager
def ways(folder: Path) -> Iterator[list[Way]]:
    """OpenSSH with a nix-daemon first; before the shim's daemon the gateway, and OpenSSH again."""
    shim = Shim(folder / "shim", cross=False)
    with (
        shim,
        GatewayDoor(folder / "door", shim.socket) as door,
        SshDoor(folder / "ssh", shim) as sshd,
    ):
        server = folder / "server"
        server.write_text(SERVER.format(root=folder / "theirs", settings=world.NIX_CONFIG))
        server.chmod(0o755)
        key = folder / "plain"
        world.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        with (sshd.base / "authorized_keys").open("a") as keys:
            keys.write(f'command="{server}",restrict {key.with_suffix(".pub").read_text()}')
        world.run(["nix", "store", "ping", "--store", f"local?root={folder / 'theirs'}"])
        url = f"ssh-ng://{HOST}"
        plain = sshd.options.replace(f"-i {sshd.base}/board", f"-i {key}")
        yield [
            Way("OpenSSH", url, plain, folder / "theirs"),
            Way("gateway", url, door.options(), shim.serving_root),
            Way("stdio", url, sshd.options, shim.serving_root),
        ]


if __name__ == "__main__":
    main()
