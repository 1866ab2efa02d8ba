"""Twenty boards at once that want overlapping sets: what each waits for, and how turns are shared.

One board asks for all 24 packages; once its first builds run, nineteen others ask for three each
of the first sixteen, so that each of these is wanted by several, and eight by the first board
alone: in turns of peers, those come last.  A package takes a second of waiting and what planting
costs; four are built at a time.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.live import flights, world
from tests.live.world import Shim

BOARDS: Final = 20
PACKAGES: Final = 24
COMMON: Final = 16
EACH: Final = 3
PLACES: Final = 4
START: Final = re.compile(r"build-started .*derivation=/nix/store/\w+-(p\d+)-")
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def wishes() -> dict[str, list[int]]:
    """Board -> numbers of the packages that it wants."""
    modest = {
        f"board{number}": sorted({(number * EACH + each * 7) % COMMON for each in range(EACH)})
        for number in range(1, BOARDS)
    }
    return {"greedy": list(range(PACKAGES)), **modest}


def ask(shim: Shim, peer: str, drvs: list[str]) -> subprocess.Popen[bytes]:
    """Realise in the shim's store, as that peer."""
    store = shim.uri().replace("%20stdio", f"%20stdio%20--peer%20{peer}", 1)
    return world.spawn(
        ["nix-store", "--store", store, "--realise", *(f"{drv}!out" for drv in drvs)]
    )


def main() -> None:
    """Measure and print."""
    if (lack := world.lacks()) is not None:
        print(f"fairness: not measured: {lack}")
        return
    with tempfile.TemporaryDirectory(prefix="nix-shim-bench-") as name:
        folder = Path(name)
        arguments = {"seconds": "1", "nonce": "fairness"}
        root = flights.derivation("pkgs.every", **arguments)
        cross = flights.derivation(f"{world.CROSS}.every", **arguments)
        drvs = [
            flights.derivation(f"pkgs.many.p{number}", **arguments) for number in range(PACKAGES)
        ]
        world.build_tools(flights.derivation(f"{world.CROSS}.slow", **arguments))
        table = world.pair(root, cross, folder / "every.table")
        shim = Shim(
            folder / "shim",
            tables=[table],
            more=f"[limits]\nbuilds = {PLACES}\ndisk = 1\nmemory = 1",
        )
        with shim:
            store = f"local?root={shim.serving_root}"
            world.run(["nix", "copy", "--no-check-sigs", "--to", store, *world.inputs(drvs[0])])
            world.run(["nix", "copy", "--no-check-sigs", "--derivation", "--to", store, root])
            warm = flights.derivation("pkgs.slow", **arguments)
            world.run(["nix", "copy", "--no-check-sigs", "--derivation", "--to", store, warm])
            ask(shim, "first", [warm]).wait()  # brings the toolchain into the plant store
            measure(shim, drvs)


def measure(shim: Shim, drvs: list[str]) -> None:
    """Let all boards ask at once."""
    begun = time.monotonic()
    asking = {}
    for board, wanted in wishes().items():
        asking[board] = ask(shim, board, [drvs[number] for number in wanted])
        if board == "greedy":
            flights.wait_for(lambda: shim.log.read_text().count("build-started") >= PACKAGES, 120)
    ended: dict[str, float] = {}
    while len(ended) < len(asking):
        for board, process in asking.items():
            if board not in ended and process.poll() is not None:
                ended[board] = time.monotonic() - begun
                if process.returncode != 0:
                    sys.exit(f"{board} failed")
        time.sleep(0.02)
    lines = COLOUR.sub("", shim.log.read_text()).splitlines()
    started = [found[1] for line in lines if (found := START.search(line))]
    built = Counter(started)
    whole = max(ended.values())
    greedy = ended.pop("greedy")
    modest = sorted(ended.values())
    print(f"fairness: {BOARDS} boards, {PACKAGES} packages, {PLACES} places: {whole:.1f} s in all")
    print(f"fairness: most builds of one package: {max(built.values())}   asked: 1")
    print(
        f"fairness: done after: boards that want {EACH}: {modest[0]:.1f} to {modest[-1]:.1f} s,"
        f" median {modest[len(modest) // 2]:.1f} s; the one that wants all: {greedy:.1f} s"
    )


if __name__ == "__main__":
    main()
