"""How much of a planted build the gates take: the daemon's own log says both times.

Run as `python -m tests.bench gates_share [PACKAGES...]`.  A board asks for packages of minipkgs,
one after the other; toolchains are there beforehand, and the first, whose tools are copied into the
plant store, is not counted.  Wall times of the daemon: from the start of the strategy to the import
for the build, the judgement alone for the gates.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.live import world
from tests.live.demo import prepare
from tests.live.world import Board, Shim

FIRST: Final = "words"
PACKAGES: Final = ("zlib", "pigz", "lz4")
LINE: Final = re.compile(r"(gates-judged|build-ended).*?derivation=\S+?-(\S+)\.drv.*?seconds=(\S+)")


def main() -> None:
    """Measure and print."""
    if (lack := world.lacks()) is not None:
        print(f"gates' share: not measured: {lack}")
        return
    names = sys.argv[1:] or PACKAGES
    with tempfile.TemporaryDirectory(prefix="nix-shim-bench-") as name:
        folder = Path(name)
        packages = [prepare(each, folder) for each in (FIRST, *names)]
        board = Board(folder / "board")
        with Shim(folder / "shim", tables=[asked.table for asked in packages]) as shim:
            for asked in packages:
                board.receive(asked.inputs)  # among which the next package may be
                board.build(f"pkgs.{asked.attribute}", shim.builder())
            log = re.sub(r"\x1b\[[0-9;]*m", "", shim.log.read_text())
    taken: dict[str, dict[str, float]] = {}
    for event, package, seconds in LINE.findall(log):
        taken.setdefault(package, {})[event] = float(seconds)
    for asked in packages[1:]:
        package = asked.native.partition("-")[2].removesuffix(".drv")
        times = taken.get(package, {})
        gates, build = times.get("gates-judged"), times.get("build-ended")
        if gates is None or build is None:
            print(f"{package}: not planted")
        else:
            print(
                f"{package:<16} {gates * 1e3:6.0f} ms of {build:6.1f} s:"
                f" {gates / build:.2%}   asked: less than 2 %"
            )


if __name__ == "__main__":
    main()
