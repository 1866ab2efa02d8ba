"""Stores in another directory than `/nix/store`, with the nix-daemons that the shim starts itself.

What passes the shim unjudged is in `test_difference_store.py`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import world
from tests.live.world import Shim

STORE_DIR = "/own/store"

EXPRESSION = """
{ seeds, what, cross ? false }:
let
  of = folder: builtins.path { path = seeds + "/${folder}"; name = "seeds"; };
  host = "-aarch64-unknown-linux-gnu";
in derivation {
  name = if cross then "thing${host}" else "thing";
  system = if what == "native" || cross then "x86_64-linux" else "aarch64-linux";
  builder = "${of (if what == "native" || cross then "amd64" else "arm64")}/bash";
  args = [ "-c" "echo ${what} > $out" ];
  configureFlags = if cross then "--host=aarch64-unknown-linux-gnu" else "";
}
"""


class House:
    """Where derivations are instantiated, a shim, and a board."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.environ = world.environment(NIX_STORE_DIR=STORE_DIR)
        (base / "thing.nix").write_text(EXPRESSION)
        table = base / "table"
        world.run(
            [
                *(world.SHIM, "table", "pair", "--store-dir", STORE_DIR),
                *("--native", self._derivation(), "--cross", self._derivation(cross="true")),
                *("--derivations", base / "evaluation", "-o", table),
            ]
        )
        self.shim = Shim(
            base / "shim",
            tables=[table],
            top=f'store-dir = "{STORE_DIR}"',
            more=f'[evaluation]\nroot = "{base}/evaluation"\n',
        )

    def _words(self, what: str) -> list[str | Path]:
        seeds = world.CACHE / "minipkgs" / "seeds"
        return [self.base / "thing.nix", "--arg", "seeds", seeds, "--argstr", "what", what]

    def _derivation(self, cross: str = "false") -> str:
        root = self.base / "evaluation"
        done = world.run(
            [
                *("nix-instantiate", "--store", f"local?root={root}&real={root}{STORE_DIR}"),
                *(*self._words("crossed"), "--arg", "cross", cross),
            ],
            environ=self.environ,
        )
        return done.stdout.strip()

    def build(self, what: str) -> tuple[str, str]:
        """What a board gets that asks for it: its contents, and what it is told."""
        board = self.base / "board"
        builder = self.shim.builder().replace("aarch64-linux", "aarch64-linux,x86_64-linux")
        done = world.run(
            [
                *("nix-build", *self._words(what), "--no-out-link", "--max-jobs", "0"),
                *("--store", f"local?root={board}", "--builders", builder),
            ],
            environ=self.environ,
        )
        path = done.stdout.strip()
        assert path.startswith(f"{STORE_DIR}/")
        return (board / "nix/store" / Path(path).name).read_text(), done.stderr


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="own-") as folder:
        made = House(Path(folder))
        with made.shim:
            yield made


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("native", "thing.drv'..."),
        ("emulated", "thing: built under emulation"),
        ("crossed", "thing: cross-compiled at its native path"),
    ],
)
def test_everything_is_built_in_another_store_directory(what: str, told: str, house: House) -> None:
    contents, said = house.build(what)
    assert contents == f"{what}\n"
    assert told in said
    assert "planting" in said if what == "crossed" else "planting" not in said
