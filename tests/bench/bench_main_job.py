"""What the main job costs: planted against plain cross, and against emulation, in wall time.

Runs in turn, so that other work on the machine falls on all alike; medians of the ratios.  Planted
and emulated runs are what a board waits for, copying both ways included; a plain cross run is
`nix-build` of the cross derivation in the host's own store.  Toolchains are there beforehand.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.live import world
from tests.live.demo import Asked, prepare
from tests.live.world import Board, Shim

PACKAGE = "lz4"
ROUNDS = 3


def timed(run: Callable[[], object]) -> float:
    """Seconds that `run` takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def forget(store: str, paths: list[str]) -> None:
    """Delete outputs from a store, so that they have to be made again."""
    there = [
        path
        for path in paths
        if not world.run(
            ["nix-store", "--store", store, "--check-validity", path], check=False
        ).returncode
    ]
    if there:
        world.run(["nix-store", "--store", store, "--delete", *there])


def through(shim: Shim, board: Board, asked: Asked) -> Callable[[], float]:
    """A run that makes the package anew through a shim."""
    paths = list(asked.outputs.values())

    def run() -> float:
        forget(board.store, paths)
        forget(f"local?root={shim.serving_root}", paths)
        return timed(lambda: board.build(f"pkgs.{asked.attribute}", shim.builder()))

    return run


def plainly(cross: str) -> Callable[[], float]:
    """A run that builds the cross derivation with Nix alone."""
    paths = list(world.outputs(cross).values())

    def run() -> float:
        forget("local", paths)
        return timed(lambda: world.realise(cross))

    return run


def main() -> None:
    """Measure and print."""
    if (lack := world.lacks()) is not None:
        print(f"main job: not measured: {lack}")
        return
    rounds = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdecimal() else ROUNDS
    with tempfile.TemporaryDirectory(prefix="nix-shim-bench-") as name:
        folder = Path(name)
        asked = prepare(PACKAGE, folder)
        cross = world.derivation(f"{world.CROSS}.{PACKAGE}")
        board = Board(folder / "board")
        board.receive(asked.inputs)
        with (
            Shim(folder / "planting", tables=[asked.table]) as planting,
            Shim(folder / "emulating", cross=False) as emulating,
        ):
            runs = {
                "planted": through(planting, board, asked),
                "plain cross": plainly(cross),
                "emulated": through(emulating, board, asked),
            }
            for run in (runs["planted"], runs["plain cross"]):
                run()  # the first one also copies toolchains
            taken: dict[str, list[float]] = {what: [] for what in runs}
            for _ in range(rounds):
                for what, run in runs.items():
                    taken[what].append(run())
    for what, seconds in taken.items():
        shown = ", ".join(f"{each:.1f}" for each in seconds)
        print(f"{PACKAGE}: {what:<12} {statistics.median(seconds):6.1f} s   ({shown})")
    for over, under, asked_for in (
        ("planted", "plain cross", "at most 1.3"),
        ("emulated", "planted", "at least 4"),
    ):
        ratio = statistics.median(a / b for a, b in zip(taken[over], taken[under], strict=True))
        print(f"{PACKAGE}: {over} / {under}: {ratio:.2f}   asked: {asked_for}")


if __name__ == "__main__":
    main()
