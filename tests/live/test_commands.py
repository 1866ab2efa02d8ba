"""Commands that peers run by SSH, each side by side with the real `nix-store`."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shim.daemon.translated.roots import FOLDER
from tests.live import quick, world
from tests.live.quick import Quick
from tests.live.world import SHIM, Shim


@dataclass(frozen=True)
class Side:
    """How one of both sides did."""

    code: int
    out: bytes
    said: str


@dataclass(frozen=True)
class Both:
    """A real store and the shim's, which hold the same."""

    quick: Quick
    real_root: Path
    root: Path
    socket: Path

    def words(self, line: str) -> str:
        """`line` with `{top}`, `{top.drv}` and the like filled in."""
        for name, drv in self.quick.drvs.items():
            line = line.replace(f"{{{name}.drv}}", drv)
        for name, path in self.quick.outputs.items():
            line = line.replace(f"{{{name}}}", path)
        return line.replace("{nowhere}", f"/nix/store/{'0' * 32}-nowhere")

    def shim(self, line: str, given: bytes = b"", peer: str = "attic") -> Side:
        """Run it as sshd would with a forced command."""
        environ = world.environment(SSH_ORIGINAL_COMMAND=self.words(line))
        return side([SHIM, "stdio", "--socket", self.socket, "--peer", peer], environ, given)

    def real(self, line: str, given: bytes = b"") -> Side:
        """Run it by a shell, as sshd would without one."""
        store = f"local?root={self.real_root}"
        words = self.words(line).replace("nix-store", f"nix-store --store '{store}'", 1)
        return side(["sh", "-c", words], world.environment(), given)


def side(program: list[str | Path], environ: dict[str, str], given: bytes) -> Side:
    done = subprocess.run(
        [str(word) for word in program],
        input=given,
        capture_output=True,
        timeout=300,
        check=False,
        env=environ,
    )
    return Side(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    base = tmp_path_factory.mktemp("commands")
    made = quick.make(base)
    made.put(base / "real")
    with Shim(base / "shim", cross=False) as shim:
        made.put(shim.serving_root)
        yield Both(made, base / "real", shim.serving_root, shim.socket)


@pytest.mark.parametrize(
    "line",
    [
        "nix-store --version",
        "nix-store -q {top} {top.drv}",
        "nix-store -q --outputs {good.drv}",
        "nix-store -qR {top}",
        "nix-store -qR {top.drv}",
        "nix-store --query --requisites --include-outputs {top.drv}",
        "nix-store -q --references {top} {good}",
        "nix-store -q --references --use-output {good.drv}",
        "nix-store -q --referrers {good}",
        "nix-store -q --referrers-closure {good} {dev}",
        "nix-store -q --deriver {top} {good}",
        "nix-store -q --deriver {top.drv}",
        "nix-store -q --binding name {top.drv}",
        "nix-store -q -b args {top.drv}",
        "nix-store -q --hash {top} {good}",
        "nix-store -q --hash -u {good.drv}",
        "nix-store -q --size {top}",
        "nix-store -q --tree {top}",
        "nix-store -q --tree {top.drv}",
        "nix-store -q --resolve {top}/bin/x",
        "nix-store -q --references {top} {nowhere}",
        "nix-store -q --size {nowhere}",
        "nix-store -qR {nowhere}",
        "nix-store -q --deriver /etc/passwd",
        "nix-store -q --binding nothing {top.drv}",
        "nix-store -q --force-realise --hash {good.drv}",
        "nix-store --check-validity {top} {top.drv}",
        "nix-store --check-validity {top} {nowhere}",
        "nix-store --check-validity --print-invalid {top} {nowhere}",
        "nix-store --export {top} {good}",
        "nix-store --export",
        "nix-store --realise {top.drv}",
        "nix-store -r {good.drv}!dev",
        "nix-store -r '{good.drv}!out,dev' {top}",
        "nix-store -r {good.drv} {top.drv} --no-gc-warning",
        "nix-store -r --no-output {top}",
        "nix-store -r --dry-run {fresh.drv}",
        "nix-store -r {bad.drv}",
        "nix-store -r {wrong.drv}",
        "nix-store -r {slow.drv} --timeout 1",
        "nix-store -r {slow.drv} --option max-silent-time 1",
        "nix-store -r {nowhere}",
        "nix-store -r {good.drv}!nothing",
        "nix-store -r --frobnicate {top}",
        "nix-store -r",
        "nix-store",
    ],
)
def test_answers_are_those_of_nix_store(line: str, both: Both) -> None:
    real, shim = both.real(line), both.shim(line)
    assert (shim.out, shim.code) == (real.out, real.code), f"{real.said}\n{shim.said}"


def test_what_newer_versions_ask_is_answered_too(both: Both) -> None:
    shim = both.shim("nix-store -q --valid-derivers {top}")
    assert shim.out.decode() == both.words("{top.drv}\n")


def test_an_export_of_nothing_fails(both: Both) -> None:
    real, shim = (
        both.real("nix-store --export {nowhere}"),
        both.shim("nix-store --export {nowhere}"),
    )
    assert (shim.code, plain(shim.said)) == (real.code, plain(real.said))


@pytest.mark.parametrize(
    "line",
    [
        "nix-store -r {top}",
        "nix-store -r {top} --no-gc-warning",
        "nix-store -r {fresh.drv} --dry-run",
        "nix-store -r {nowhere} --dry-run",
        "nix-store --check-validity {nowhere}",
        "nix-store -q --binding nothing {top.drv}",
        "nix-store -q --deriver /etc/passwd",
    ],
)
def test_so_is_what_they_say(line: str, both: Both) -> None:
    assert plain(both.shim(line).said) == plain(both.real(line).said)


def plain(said: str) -> list[str]:
    """Without what Nix only says in colours, and the hint that follows usage errors."""
    return [line for line in said.splitlines() if line and "--help" not in line]


def test_builds_show_their_output(both: Both) -> None:
    shim = both.shim("nix-store -r {fresh.drv}")
    assert shim.code == 0
    assert "this derivation will be built:" in shim.said
    assert "building '" in shim.said
    assert "\nsaid\n" in shim.said
    both.quick.forget(both.root, "fresh")
    assert "said" not in both.shim("nix-store -Qr {fresh.drv}").said.splitlines()
    both.quick.forget(both.root, "fresh")


def test_what_one_exports_the_other_imports(both: Both, tmp_path: Path) -> None:
    closure = both.real("nix-store -qR {top}").out.decode().split()
    export = f"nix-store --export {' '.join(closure)}"
    stream = both.real(export).out
    other = tmp_path / "other"
    real = side(
        ["nix-store", "--store", f"local?root={other}", "--import"], world.environment(), stream
    )
    for name in ("top", "good"):
        both.quick.forget(both.root, name)
    shim = both.shim("nix-store --import", stream)
    assert (shim.code, shim.out) == (0, real.out)
    assert both.shim(export).out == stream
    again = both.shim("nix-store --import", stream)
    assert (again.code, again.out) == (0, shim.out)


@pytest.mark.parametrize("cut", [4, 200, -8])
def test_a_stream_that_stops_is_no_import(cut: int, both: Both) -> None:
    stream = both.real("nix-store --export {top}").out
    shim = both.shim("nix-store --import", stream[:cut])
    assert shim.code == 1
    assert shim.said.startswith("error: ")


def test_roots_have_the_names_that_nix_store_gives_them(both: Both, tmp_path: Path) -> None:
    where = tmp_path / "link"
    line = f"nix-store -r {{top.drv}} '{{good.drv}}' {{dev}} --add-root {where} --indirect"
    real, shim = both.real(line), both.shim(line)
    assert shim == real
    for name in real.out.decode().split():
        assert both.shim(f"readlink -f {name}").out.decode() == f"{Path(name).readlink()}\n"
    for name in ("top", "top.drv", "good", "good.drv", "dev", "fresh.drv"):
        asked = f"nix-store -q --roots {{{name}}}"
        shown = sorted(both.real(asked).out.splitlines())
        assert sorted(both.shim(asked).out.splitlines()) == shown, name
    assert both.shim(f"rm -rf {where}").code == 0
    assert both.shim(f"readlink -f {where}").code == 1


def test_roots_protect_from_the_garbage_collector(both: Both) -> None:
    assert both.shim("nix-store -r {fresh.drv} --add-root /tmp/protected").code == 0
    made = both.shim("readlink -f /tmp/protected").out.decode().strip()
    (link,) = (both.root / FOLDER / "attic").glob("*protected")
    assert str(link.readlink()) == made
    store = f"local?root={both.root}"
    delete = ["nix-store", "--store", store, "--delete", made]
    assert "still alive" in side([*delete], world.environment(), b"").said
    assert both.shim("rm -rf /tmp/protected").code == 0
    assert side([*delete], world.environment(), b"").code == 0


def test_roots_of_another_peer_are_nobodys(both: Both) -> None:
    assert both.shim("nix-store -r {top} --add-root /tmp/mine").code == 0
    assert both.shim("readlink -f /tmp/mine", peer="cellar").code == 1
    assert both.shim("rm -rf /", peer="cellar").code == 0
    assert both.shim("readlink -f /tmp/mine").code == 0
    assert both.shim("nix-store -q --hash /tmp/mine").out.startswith(b"sha256:")
    assert not Path("/tmp/mine").exists()


def test_what_nixos_rebuild_runs_is_answered(both: Both) -> None:
    folder = both.shim("mktemp -d -t nixos-rebuild.XXXXX").out.decode().strip()
    assert folder.startswith("/tmp/nixos-rebuild.")
    assert not Path(folder).exists()
    realise = "env -i PATH=${PATH-} nix-store --realise {top.drv} --add-root " + f"{folder}/0123"
    root = both.shim(realise).out.decode().strip()
    assert root == f"{folder}/0123"
    assert both.shim(f"readlink -f {root}").out.decode().strip() == both.quick.outputs["top"]
    assert both.shim(f"rm -rf {folder}").code == 0
    flake = (
        "nix --extra-experimental-features 'nix-command flakes' build '{good.drv}^*'"
        " --print-out-paths --no-link"
    )
    made = both.quick.outputs
    assert both.shim(flake).out.decode().split() == [made["dev"], made["good"]]


@pytest.mark.parametrize(
    "line",
    [
        "nix-store --gc",
        "nix-store --delete {top}",
        "nix-store --optimise",
        "nix-store --verify --check-contents --repair",
        "nix-store --load-db",
        "nix-store -r --repair {top}",
        "nix-store --add /etc/shadow",
        "nix-env -p /nix/var/nix/profiles/system --set {top}",
        "nix build nixpkgs#hello",
        "sh -c 'cat /etc/shadow'",
        "nix-store -q {top}; cat /etc/shadow",
        "rm -rf {top} --no-preserve-root",
    ],
)
def test_all_else_is_refused_in_one_line(line: str, both: Both) -> None:
    shim = both.shim(line)
    assert shim.code == 127
    assert shim.out == b""
    assert shim.said.count("\n") == 1
    assert "not offered" in shim.said
    assert both.shim("nix-store --check-validity {top}").code == 0


def test_nothing_of_the_store_can_be_removed(both: Both) -> None:
    shim = both.shim("rm -rf {top}")
    assert shim.code == 1
    assert both.shim("nix-store --check-validity {top}").code == 0
