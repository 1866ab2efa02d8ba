"""`make demo`: the main job before your eyes, with real parts only.

A board (a chroot store that builds nothing) asks a shim for native aarch64 packages; the same
packages are then built by emulation through a shim that may not cross-compile, for comparison.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.live import world
from tests.live.world import Board, Shim

PROGRAMS: Final[dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "pigz": ("bin/pigz", ("-c",), ("gzip", "-dc")),
    "lz4": ("bin/lz4", ("-zc", "-"), ("lz4", "-dc")),
}
"""Package -> its program, how it compresses standard input, and the host's tool that reads it."""

TEXT: Final = b"".join(b"line %d of a file that a board compresses\n" % n for n in range(20000))


def say(text: str = "") -> None:
    """One line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def head(text: str) -> None:
    """A heading."""
    say(f"\n== {text}")


@dataclass(frozen=True)
class Asked:
    """A package to be asked for."""

    attribute: str
    native: str
    outputs: dict[str, str]
    inputs: list[str]
    table: Path


def prepare(attribute: str, folder: Path) -> Asked:
    """Evaluate a package both ways, build the toolchains it needs, and pair the two graphs."""
    native = world.derivation(f"pkgs.{attribute}")
    cross = world.derivation(f"{world.CROSS}.{attribute}")
    say(f"{attribute}: native derivation {native}")
    say(f"{attribute}: cross derivation  {cross}")
    inputs = world.inputs(native)
    world.build_tools(cross)
    table = world.pair(native, cross, folder / f"{attribute}.table")
    return Asked(attribute, native, world.outputs(native), inputs, table)


def build(asked: Asked, shim: Shim, folder: Path) -> tuple[Board, float, list[str]]:
    """Let a new board ask `shim`; the board, the client's wall time, and what the shim told it."""
    board = Board(folder)
    board.receive(asked.inputs)
    started = time.monotonic()
    done = board.build(f"pkgs.{asked.attribute}", shim.builder())
    seconds = time.monotonic() - started
    path = done.stdout.split()[0]
    if path not in asked.outputs.values():
        raise SystemExit(f"the client got {path}, which it did not ask for")
    told = [line for line in done.stderr.splitlines() if "nix-shim: " in line]
    return board, seconds, told


def show_program(asked: Asked, board: Board) -> None:
    """What the result is, and that it works."""
    name, options, reader = PROGRAMS[asked.attribute]
    out = asked.outputs["out"] if "out" in asked.outputs else next(iter(asked.outputs.values()))
    where = next(path for path in asked.outputs.values() if (board.physical(path) / name).exists())
    program = board.physical(where) / name
    say(f"  output path    {out}")
    say(f"  file           {world.run(['file', '-bL', program]).stdout.strip()}")
    for line in world.run(["readelf", "-d", program]).stdout.splitlines():
        if "NEEDED" in line or "RUNPATH" in line:
            say(f"  readelf -d     {' '.join(line.split()[1:])}")
    packed = world.run_in(board.root, [f"{where}/{name}", *options], TEXT)
    unpacked = subprocess.run(reader, input=packed, capture_output=True, check=True).stdout
    if unpacked != TEXT:
        raise SystemExit(f"{reader[0]} reads something else than {name} was given")
    say(
        f"  runs           {name} under qemu: {len(TEXT)} bytes -> {len(packed)},"
        f" read back by the host's {reader[0]}"
    )


def main() -> None:
    """Run the demonstration."""
    if (lack := world.lacks()) is not None:
        raise SystemExit(f"demo: {lack}")
    with tempfile.TemporaryDirectory(prefix="nix-shim-demo-") as name:
        demonstrate(Path(name))


def demonstrate(folder: Path) -> None:
    """The demonstration, with stores below `folder`."""
    head("evaluate, and build the toolchains (cached in /nix/store; minutes at first)")
    packages = [prepare(attribute, folder) for attribute in (*PROGRAMS, "selfmade")]
    tables = [each.table for each in packages]
    ratios = []
    with (
        Shim(folder / "planting", tables=tables) as planting,
        Shim(folder / "emulating", cross=False) as emulating,
    ):
        for asked in packages[:-1]:
            head(f"{asked.attribute}: planted")
            board, planted, told = build(asked, planting, folder / f"board-{asked.attribute}")
            for line in told:
                say(f"  {line}")
            show_program(asked, board)
            head(f"{asked.attribute}: emulated, for comparison")
            _, emulated, told = build(asked, emulating, folder / f"slow-{asked.attribute}")
            for line in told:
                say(f"  {line}")
            ratios.append((asked.attribute, planted, emulated))
        asked = packages[-1]
        head(f"{asked.attribute}: runs what it has just compiled, so its plant must fail")
        _, _, told = build(asked, planting, folder / "board-selfmade")
        for line in told:
            say(f"  {line}")
    head("wall time seen by the board (copying both ways included)")
    for attribute, planted, emulated in ratios:
        say(
            f"  {attribute:<6} planted {planted:6.1f} s   emulated {emulated:6.1f} s"
            f"   {emulated / planted:.1f}x"
        )
    head("a board's configuration")
    say(ADVICE)


ADVICE: Final = """\
  # on the fast machine: a key line of the user that boards log in as
  command="nix-shim stdio --peer attic",restrict ssh-ed25519 AAAA... root@attic

  # on the board: configuration.nix
  nix.distributedBuilds = true;
  nix.buildMachines = [{
    hostName = "fast-machine";
    protocol = "ssh-ng";
    sshUser = "nix-shim";
    sshKey = "/root/.ssh/id_ed25519";
    systems = [ "aarch64-linux" ];
    maxJobs = 8;
    supportedFeatures = [ "big-parallel" ];
  }];"""

if __name__ == "__main__":
    main()
