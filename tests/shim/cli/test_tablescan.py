import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shim import evaluationjobs
from shim.cli import command
from shim.equivalence import file
from tests.live import world

NEEDS_NIX = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="Nix is not installed"
)

SET = """
rec {
  make = suffix: system: env: derivation (
    { name = "app${suffix}-1"; inherit system; builder = "/bin/sh"; } // env
  );
  app = make "" "riscv64-linux" { };
  broken = throw "no such package";
  hungry = builtins.deepSeq (builtins.genList (n: { n = [ n ]; }) 50000000) app;
  endless = app // { drvPath = endless.drvPath; };
  pkgsCross.board = {
    app = make "-riscv64-unknown-linux-gnu" "x86_64-linux" {
      configureFlags = "--build=x86_64-unknown-linux-gnu --host=riscv64-unknown-linux-gnu";
    };
    inherit (set) broken hungry lonely endless;
  };
  set = { inherit broken hungry endless; lonely = app; };
}
"""

FLAKE = """
{
  outputs = { self }:
    let
      set = import ./set.nix;
      platform = given: { system = given.system or given; };
      # Of NixOS what `table scan` looks at: the options below `nixpkgs`, with priorities.
      system = listens: modules:
        let
          given = builtins.filter (module: listens || !(module ? late)) modules;
          definitions = name: builtins.concatMap
            (module: if module.nixpkgs ? ${name} then [ module.nixpkgs.${name} ] else [ ]) given;
          isSet = name: definitions name != [ ];
          value = name: default:
            let
              all = definitions name;
              forced = builtins.filter (each: each._type or "" == "override") all;
            in if forced != [ ] then (builtins.head forced).content
              else if all != [ ] then builtins.head all else default;
          new = isSet "hostPlatform";
          old = isSet "localSystem";
          local = value "localSystem" (throw "no platform is set");
          host = platform (value "hostPlatform" (value "crossSystem" local));
          build = platform (if new then value "buildPlatform" host else local);
          made = { stdenv = { hostPlatform = host; buildPlatform = build; }; };
          pkgs = if new && old then throw "hostPlatform and localSystem are both set"
            else value "pkgs" made;
          inherit (pkgs.stdenv) hostPlatform buildPlatform;
          isCross = hostPlatform.system != buildPlatform.system;
        in {
          inherit pkgs;
          options.nixpkgs = builtins.listToAttrs (map (name: {
            inherit name;
            value = { isDefined = isSet name; highestPrio = if isSet name then 100 else 1500; };
          }) [ "hostPlatform" "buildPlatform" "localSystem" "crossSystem" "pkgs" ]);
          config.nixpkgs = { hostPlatform = host; pkgs = value "pkgs" null; };
          config.system.build.toplevel = if isCross then set.pkgsCross.board.app else set.app;
          extendModules = more:
            system listens (modules ++ map (each: each // { late = true; }) more.modules);
        };
      own = import ./pkgs {
        localSystem = platform "riscv64-linux"; config = { }; overlays = [ "mine" ];
      };
      modern = { nixpkgs.hostPlatform = "riscv64-linux"; };
    in {
      nixosConfigurations.board = system true [ modern ];
      nixosConfigurations.old = system true [ { nixpkgs.localSystem.system = "riscv64-linux"; } ];
      nixosConfigurations.owner = system true [ { nixpkgs.pkgs = own; } ];
      nixosConfigurations.deaf = system false [ modern ];
      nixosConfigurations.crossed = system true [
        (modern // { nixpkgs = modern.nixpkgs // { buildPlatform = "x86_64-linux"; }; })
      ];
      # Its modules take their packages from somewhere else than its options say.
      nixosConfigurations.stubborn =
        let
          make = modules:
            let made = system true modules; in made // {
              config = made.config // { system.build.toplevel = set.app; };
              extendModules = more: make (modules ++ more.modules);
            };
        in make [ modern ];
      legacyPackages.riscv64-linux.app = set.app;
      legacyPackages.x86_64-linux.pkgsCross.riscv64.app = set.pkgsCross.board.app;
    };
}
"""

PKGS = """
{ localSystem, crossSystem ? localSystem, config, overlays }: {
  path = ./.;
  inherit config;
  overlays = if overlays == [ "mine" ] then overlays else throw "the overlays were lost";
  stdenv.hostPlatform = crossSystem;
  stdenv.buildPlatform = localSystem;
}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, ["table", *map(str, arguments)])


def rows(table: Path) -> list[dict[str, Any]]:
    shown = run("show", "--json", table)
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()]


def hosts(table: Path) -> list[str]:
    return sorted(row["native"].partition("-")[2] for row in rows(table) if row["role"] == "host")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, where nothing is kept that nobody asked to keep."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("NIX_REMOTE", f"local?root={root}")
    monkeypatch.setenv("NIX_CONFIG", "build-users-group =\nsubstituters =\n")
    # Nix programs that make the same new store at once find its database busy.
    if shutil.which("nix-store") is not None:
        subprocess.run(["nix-store", "--init"], check=True)
    return root


@pytest.fixture
def nix_file(tmp_path: Path) -> Path:
    (tmp_path / "set.nix").write_text(SET)
    return tmp_path / "set.nix"


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    (folder / "pkgs").mkdir(parents=True)
    (folder / "flake.nix").write_text(FLAKE)
    (folder / "set.nix").write_text(SET)
    (folder / "pkgs" / "default.nix").write_text(PKGS)
    return folder


@NEEDS_NIX
def test_an_attribute_that_fails_stops_no_other(
    store: Path, nix_file: Path, tmp_path: Path
) -> None:
    named = [("--attr", name) for name in ("broken", "app", "lonely", "endless")]
    names = [word for each in named for word in each] + ["--cross", "board"]
    out = tmp_path / "table"
    result = run("scan", "--file", nix_file, *names, "--derivations", store, "-o", out)
    assert result.exit_code == 0, result.output
    left_out = [line for line in result.stderr.splitlines() if "is left out" in line]
    assert sorted(left_out) == [
        "`broken` is left out: native: error: no such package",
        "`endless` is left out: native: error: infinite recursion encountered",
        "`lonely` is left out: native: error: there is no attribute `lonely`",
    ]
    assert "from 1 of 4 attributes" in result.stdout
    assert hosts(out) == ["app-1.drv"]


@NEEDS_NIX
def test_what_was_evaluated_is_kept_until_the_next_scan(
    store: Path, nix_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table"
    scan = ("scan", "--file", nix_file, "--attr", "app", "--cross", "board")
    assert run(*scan, "--derivations", store, "-o", out).exit_code == 0
    [first] = (tmp_path / "table.roots").iterdir()
    [row] = rows(out)
    subprocess.run(["nix-store", "--gc"], check=True, capture_output=True)
    for side in ("native", "cross"):
        assert (store / row[side].lstrip("/")).exists()
    assert run(*scan, "--derivations", store, "-o", out).exit_code == 0
    [second] = (tmp_path / "table.roots").iterdir()
    assert second != first
    second.unlink()
    subprocess.run(["nix-store", "--gc"], check=True, capture_output=True)
    assert not (store / row["native"].lstrip("/")).exists()


@NEEDS_NIX
def test_an_attribute_that_takes_too_much_memory_stops_no_other(
    store: Path, nix_file: Path, tmp_path: Path
) -> None:
    names = ("--attr", "hungry", "--attr", "app", "--cross", "board")
    limits = ("--workers", "1", "--memory", "500")
    out = tmp_path / "table"
    result = run("scan", "--file", nix_file, *names, *limits, "--derivations", store, "-o", out)
    assert result.exit_code == 0, result.output
    assert "`hungry` is left out" in result.stderr
    assert hosts(out) == ["app-1.drv"]


def test_a_counterpart_for_each_attribute_is_wanted(nix_file: Path, tmp_path: Path) -> None:
    scan = ("scan", "--file", nix_file, "--attr", "app", "-o", tmp_path / "t")
    assert "no cross counterpart is given for `app`" in run(*scan).stderr
    result = run(*scan, "--attr", "b", "--cross-attr", "c")
    assert "2 attributes and 1 cross ones" in result.stderr


def test_what_to_scan_is_said_once(nix_file: Path, tmp_path: Path) -> None:
    result = run("scan", "--file", nix_file, "--flake", "x#y", "-o", tmp_path / "t")
    assert "give one of" in result.stderr


@NEEDS_NIX
@pytest.mark.skipif(
    not (world.CACHE / "minipkgs" / "index.json").exists(),
    reason="minipkgs' packages are not downloaded: scripts/fetch-minipkgs",
)
def test_a_set_like_nixpkgs_is_scanned_by_names_and_whole(store: Path, tmp_path: Path) -> None:
    given = ("--nixpkgs", world.MINIPKGS, "--derivations", store)
    some = run("scan", *given, "--attrs", "pigz,bad.wrongArch,nothing", "-o", tmp_path / "some")
    assert some.exit_code == 0, some.output
    assert "`nothing` is left out: native: error: there is no attribute `nothing`" in some.stderr
    assert {"pigz-2.8.drv", "zlib-1.3.1.drv"} <= set(hosts(tmp_path / "some"))
    whole = run("scan", *given, "--all", "--workers", "2", "-o", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    assert "`fetchDebianSource`" not in whole.stderr  # a function: nobody needs to hear of it
    assert "`bootstrapTools` is left out: cross: error: there is no attribute" in whole.stderr
    assert re.search(r"evaluated (\d+) of \1\n", whole.stderr)
    assert set(hosts(tmp_path / "whole")) > {*hosts(tmp_path / "some")} - {"wrong-arch-1.0.drv"}


@NEEDS_NIX
@pytest.mark.parametrize("name", ["board", "old", "owner"])
def test_a_configuration_is_crossed_by_its_own_modules(
    name: str, store: Path, flake: Path, tmp_path: Path
) -> None:
    what = f"{flake}#nixosConfigurations.{name}"
    result = run("scan", "--flake", what, "--derivations", store, "-o", tmp_path / "t")
    assert result.exit_code == 0, result.output
    [row] = rows(tmp_path / "t")
    assert row["cross"].endswith("app-riscv64-unknown-linux-gnu-1.drv")
    provenance = file.load(tmp_path / "t").provenance
    assert provenance.source.startswith("conf#nixosConfigurations")
    assert provenance.revision.startswith("sha256-")
    assert provenance.nix_version


@NEEDS_NIX
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("deaf", "the result is not cross: it is built for and on riscv64-linux"),
        ("stubborn", "the result is not cross: it is built on riscv64-linux, not on x86_64-linux"),
        ("crossed", "its native side is built on x86_64-linux: it is cross already"),
        ("absent", "there is no attribute `absent`"),
    ],
)
def test_a_configuration_that_does_not_become_cross_is_refused(
    name: str, why: str, store: Path, flake: Path, tmp_path: Path
) -> None:
    what = f"{flake}#nixosConfigurations.{name}"
    result = run("scan", "--flake", what, "--derivations", store, "-o", tmp_path / "t")
    assert result.exit_code != 0
    assert why in result.stderr
    assert not (tmp_path / "t").exists()


@NEEDS_NIX
def test_a_flakes_package_has_its_counterpart_in_the_build_systems_set(
    store: Path, flake: Path, tmp_path: Path
) -> None:
    what = f"{flake}#legacyPackages.riscv64-linux.app"
    result = run("scan", "--flake", what, "--derivations", store, "-o", tmp_path / "t")
    assert result.exit_code == 0, result.output
    assert hosts(tmp_path / "t") == ["app-1.drv"]


@NEEDS_NIX
def test_a_system_of_the_configuration_is_known_like_ours(store: Path, tmp_path: Path) -> None:
    """Its triple tells the host's recipes apart, where the processor is called otherwise."""
    (tmp_path / "set.nix").write_text("""
      { system }:
      let
        make = suffix: system: env: derivation ({
          name = "app${suffix}-1"; inherit system; builder = "/bin/sh"; stdenv = "none";
        } // env);
      in {
        pkgs.app = make "" "coldfire-linux" { };
        pkgsCross.coldfire.app = make "-m68k-unknown-linux-gnu" "x86_64-linux" {
          configureFlags = "--build=x86_64-unknown-linux-gnu --host=m68k-unknown-linux-gnu";
        };
      }
    """)
    configuration = tmp_path / "shim.toml"
    configuration.write_text("""
      [serving]
      root = "/nowhere/serve"
      [plant]
      root = "/nowhere/plant"
      [platforms.coldfire-linux]
      cross = "coldfire"
      triple = "m68k-unknown-linux-gnu"
      loader = "ld.so.1"
      emulator = "qemu-m68k"
      elf = { machine = 4, bits = 32, endianness = "big" }
    """)
    scan = ("scan", "--nixpkgs", tmp_path / "set.nix", "--attrs", "app", "--derivations", store)
    what = (*scan, "--system", "coldfire-linux", "-o", tmp_path / "t")
    unknown = run(*what)
    assert "unknown system: `coldfire-linux`" in unknown.stderr
    known = run(*what, "--config", configuration)
    assert known.exit_code == 0, known.output
    [row] = rows(tmp_path / "t")
    assert row["role"] == "host"
    pair = ("--native", row["native"], "--cross", row["cross"], "--derivations", store)
    for more, role in (((), "tool"), (("--config", configuration), "host")):
        assert run("pair", *pair, *more, "-o", tmp_path / "p").exit_code == 0
        assert [one["role"] for one in rows(tmp_path / "p")] == [role]


@NEEDS_NIX
def test_derivations_of_another_store_are_missed_with_what_to_do(
    store: Path, nix_file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    given = ("--file", nix_file, "--attr", "app", "--cross", "board", "--derivations", elsewhere)
    result = run("scan", *given, "-o", tmp_path / "t")
    assert result.exit_code != 0
    assert "the root of the store that Nix evaluates into" in result.stderr
    assert store.exists()


@NEEDS_NIX
@pytest.mark.skipif(not evaluationjobs.is_installed(), reason="nix-eval-jobs is not installed")
@pytest.mark.parametrize("hungry", [False, True])
def test_nix_eval_jobs_finds_what_nix_finds(
    hungry: bool, store: Path, nix_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when an attribute takes too much memory, which ends it: the others are evaluated."""
    named = ["broken", "app", "lonely", "endless", "make"] + ["hungry"] * hungry
    scan: list[str | Path] = ["scan", "--file", nix_file, "--derivations", store]
    scan += [word for name in named for word in ("--attr", name)]
    scan += ["--cross", "board", "--workers", "1", "--memory", "300"]
    used = run(*scan, "-o", tmp_path / "used")
    assert used.exit_code == 0, used.output
    roots = [*(tmp_path / "used.roots").glob("*.jobs/*")]
    assert all(root.is_symlink() for root in roots)
    assert roots or hungry
    monkeypatch.setattr(evaluationjobs, "PROGRAM", "nix-eval-jobs-that-nobody-has")
    without = run(*scan, "-o", tmp_path / "without")
    assert rows(tmp_path / "used") == rows(tmp_path / "without")
    assert _left_out(used) == _left_out(without)
    provenances = [file.load(tmp_path / name).provenance for name in ("used", "without")]
    assert provenances[0].nix_version == provenances[1].nix_version
    again = run(*scan, "-o", tmp_path / "used")
    assert again.exit_code == 0
    assert not [*(tmp_path / "used.roots").glob("*.jobs/*")]


def _left_out(result: Result) -> set[str]:
    """What is left out; whether a worker that dies for lack of memory says so differs."""
    return {
        line if "hungry" not in line else "hungry"
        for line in result.stderr.splitlines()
        if "is left out" in line
    }
