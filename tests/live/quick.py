"""Derivations that are made in a moment, for tests of everything else.

All but `far`, which emulation makes, are of the build machine's own system.
"""

from dataclasses import dataclass
from pathlib import Path

from protocol.store import aterm
from protocol.store.derivation import BasicDerivation
from protocol.store.path import StorePath
from tests.live import world

EXPRESSION = """
{ seeds }:
let
  tools = builtins.path { path = seeds + "/amd64"; name = "seeds"; };
  farTools = builtins.path { path = seeds + "/arm64"; name = "far-seeds"; };
  make = name: script: extra: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "${tools}/bash";
    args = [ "-c" script ];
  } // extra);
  base = builtins.toFile "base" "some text";
  good = make "good" "echo said; echo ${base} > $out; echo dev > $dev" {
    outputs = [ "out" "dev" ];
  };
in {
  inherit good;
  top = make "top" "echo on top; echo $below > $out" { below = [ good good.dev ]; };
  fresh = make "fresh" "echo said; echo ${base} > $out" { };
  bad = make "bad" "echo so it goes; exit 3" { };
  wrong = make "wrong" "echo something else > $out" {
    outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "something";
  };
  loud = make "loud" "for i in {1..2000}; do echo line number $i; done; echo > $out" { };
  far = make "far" "echo begun; ${farTools}/busybox sleep 613; echo > $out" {
    system = "aarch64-linux";
    builder = "${farTools}/bash";
  };
  slow = make "slow" "echo begun; ${tools}/busybox sleep 600; echo > $out" { };
}
"""

SEEDS = world.CACHE / "minipkgs" / "seeds"

FAR_MARK = b"613"
"""A word of the command line that `far` runs, and nothing else."""


@dataclass(frozen=True)
class Quick:
    """The derivations, instantiated in the host's store; `top` and what is below it are built."""

    drvs: dict[str, StorePath]
    outputs: dict[str, StorePath]
    """`good`, `dev` (its other output) and `top`."""

    def flat(self, name: str) -> BasicDerivation:
        """A derivation without its graph; its inputs have to be sources."""
        derivation = aterm.parse(Path(self.drvs[name]).read_bytes(), name)
        return derivation.as_basic(derivation.input_sources)

    def put(self, root: Path) -> None:
        """Put everything into the store below `root`."""
        to = ["--no-check-sigs", "--to", f"local?root={root}"]
        world.run(["nix", "copy", *to, self.outputs["top"], self.outputs["dev"]])
        world.run(["nix", "copy", "--derivation", *to, *self.drvs.values()])

    def forget(self, root: Path, name: str) -> None:
        """Delete what a derivation makes from the store below `root`."""
        paths = world.outputs(self.drvs[name]).values()
        world.run(["nix-store", "--store", f"local?root={root}", "--delete", *paths])


def make(folder: Path) -> Quick:
    """Instantiate and build what is to be built."""
    (folder / "default.nix").write_text(EXPRESSION)
    names = ("good", "top", "fresh", "bad", "wrong", "loud", "slow", "far")
    drvs = {
        name: StorePath.parse(
            world.run(
                ["nix-instantiate", folder, "-A", name, "--arg", "seeds", SEEDS]
            ).stdout.strip()
        )
        for name in names
    }
    world.realise(drvs["top"])
    good = world.outputs(drvs["good"])
    return Quick(
        drvs,
        {
            "good": StorePath.parse(good["out"]),
            "dev": StorePath.parse(good["dev"]),
            "top": StorePath.parse(world.outputs(drvs["top"])["out"]),
        },
    )
