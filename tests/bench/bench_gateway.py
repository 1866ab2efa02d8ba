"""The gateway against OpenSSH with nix-daemon: how soon a store answers, and bulk both ways.

Both sides serve a store of their own on this machine, to the same client over the loopback, in
turns; the stores are in memory where there is a /dev/shm, so that no disk is measured.  What is
asked of us: connections in at most 0.8 of OpenSSH's time, bulk at 0.8 of its rate, and ten trivial
builds, each of which is a connection, in at most 1.15 of it.
"""

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live import world
from tests.live.world import GatewayDoor, Shim, SshDoor

CONNECTIONS = 15
COPIES = 5
BULK = 300_000_000
HOST = "root@127.0.0.1"

ASKED = {"connect": "1.25", "trivial": "0.87", "load": "0.80"}
"""Word in what is measured -> least ratio of OpenSSH's time to ours."""

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
    """Measure both ways in turns and print the medians with their ratio."""
    if (lack := world.lacks()) is not None:
        print(f"not measured: {lack}")
        return
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as folder,
        ways(Path(folder)) as (openssh, gateway),
    ):
        ping = lambda way: way.nix("store", "ping", "--store", way.url)  # noqa: E731 - one expression
        compare("connect to ready (nix store ping)", openssh, gateway, ping, CONNECTIONS)
        builds(openssh, gateway, Path(folder))
        source = Path(folder) / "source"
        with source.open("wb") as file:
            for _ in range(BULK // 1_000_000):
                file.write(os.urandom(1_000_000))
        path = world.run(["nix-store", "--add", source]).stdout.strip()
        source.unlink()
        try:
            copies(openssh, gateway, path, Path(folder) / "down")
        finally:
            world.run(["nix-store", "--delete", path])


def builds(openssh: Way, gateway: Way, folder: Path) -> None:
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

    for way in (openssh, gateway):  # what is uploaded once is not measured
        build(way)
    compare("remote build of ten trivial derivations", openssh, gateway, build, COPIES)


def copies(openssh: Way, gateway: Way, path: str, down: Path) -> None:
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

    for what, copy in (("upload", upload), ("download", download)):
        compare(f"{what} of {BULK // 1_000_000} MB (nix copy)", openssh, gateway, copy, COPIES)


def compare(what: str, openssh: Way, gateway: Way, run: Callable[[Way], float], times: int) -> None:
    """Run both in turns, so that a busy machine slows both, and print the medians."""
    pairs = [(run(openssh), run(gateway)) for _ in range(times)]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"{what:<40} OpenSSH {theirs:6.2f} s   gateway {ours:6.2f} s"
        f"   OpenSSH's time / ours: {ratio:.2f} (asked: "
        f"{next(asked for word, asked in ASKED.items() if word in what)} or more)"
    )


@contextlib.contextmanager
def ways(folder: Path) -> Iterator[tuple[Way, Way]]:
    """OpenSSH with a nix-daemon, and the gateway with the shim's daemon, both running."""
    shim = Shim(folder / "shim", cross=False)
    with (
        shim,
        GatewayDoor(folder / "door", shim.socket) as door,
        SshDoor(folder / "ssh", shim) as sshd,
    ):
        server = folder / "server"
        server.write_text(SERVER.format(root=folder / "theirs", settings=world.NIX_CONFIG))
        server.chmod(0o755)
        public = (sshd.base / "board.pub").read_text()
        (sshd.base / "authorized_keys").write_text(f'command="{server}",restrict {public}')
        world.run(["nix", "store", "ping", "--store", f"local?root={folder / 'theirs'}"])
        url = f"ssh-ng://{HOST}"
        yield (
            Way("OpenSSH", url, sshd.options, folder / "theirs"),
            Way("gateway", url, door.options(), shim.serving_root),
        )


if __name__ == "__main__":
    main()
