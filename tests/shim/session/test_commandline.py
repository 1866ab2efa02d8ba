"""Words to commands: what deployment tools send is understood, all else is refused by name."""

import shlex
from typing import Any

import pytest

from shim.session.commandline import parse
from shim.session.commands import (
    BadCommand,
    CheckValidity,
    Code,
    Command,
    Dump,
    Export,
    Import,
    MakeFolder,
    Printed,
    Query,
    Question,
    ReadLink,
    Realise,
    RemoveRoots,
    Settings,
    Target,
    Version,
)

PATH = "/nix/store/00000000000000000000000000000000-foo"
DRV = f"{PATH}.drv"


def realise(*targets: Target, **fields: Any) -> Realise:
    return Realise(targets=targets or (Target(DRV),), **fields)


def query(question: Question, *paths: str, **fields: Any) -> Query:
    return Query(question=question, paths=paths or (PATH,), **fields)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        # nixos-rebuild (bash), with and without a link
        (f"nix-store -r {DRV}", realise()),
        (f"nix-store -r {DRV} --add-root /tmp/x/result --indirect", realise(root="/tmp/x/result")),
        (
            f"nix-store -r {DRV} -k -j 4 --cores 2 --option substitute false -v --show-trace",
            realise(settings=Settings(keep_going=True, verbosity=4)),
        ),
        # nixos-rebuild-ng
        ("mktemp -d -t nixos-rebuild.XXXXX", MakeFolder("/tmp/nixos-rebuild.XXXXX")),
        (
            f"nix-store --realise {DRV} --add-root /tmp/nixos-rebuild.abcde/0123",
            realise(root="/tmp/nixos-rebuild.abcde/0123"),
        ),
        ("readlink -f /tmp/nixos-rebuild.abcde/0123", ReadLink("/tmp/nixos-rebuild.abcde/0123")),
        ("rm -rf /tmp/nixos-rebuild.abcde", RemoveRoots(("/tmp/nixos-rebuild.abcde",))),
        (
            (
                "nix --extra-experimental-features 'nix-command flakes' build"
                f" '{DRV}^*' --print-out-paths --no-link"
            ),
            realise(printed=Printed.PATHS),
        ),
        (
            f"nix build {DRV}^out,dev --print-out-paths -L",
            realise(Target(DRV, frozenset({"out", "dev"})), printed=Printed.PATHS, root="result"),
        ),
        # colmena
        (
            f"nix-store --no-gc-warning --realise {DRV}",
            realise(settings=Settings(gc_warning=False)),
        ),
        # by hand
        (f"/run/current-system/sw/bin/nix-store --realize {DRV}", realise()),
        (
            f"nix-store -r '{DRV}!out' {PATH}",
            realise(Target(DRV, frozenset({"out"})), Target(PATH)),
        ),
        (
            f"nix-store -r --dry-run --no-output {DRV}",
            realise(dry_run=True, printed=Printed.NOTHING),
        ),
        (f"nix-store -r --check --ignore-unknown {DRV}", realise(check=True, ignore_unknown=True)),
        (
            f"nix-store -j3 -Qr {DRV} --timeout 60 --option max-silent-time 5",
            realise(settings=Settings(build_output=False, timeout=60, max_silent_time=5)),
        ),
        (f"nix-store -q {PATH}", query(Question.OUTPUTS)),
        (f"nix-store -qR {PATH}", query(Question.REQUISITES)),
        (
            f"nix-store --query --requisites --include-outputs {PATH}",
            query(Question.REQUISITES, include_outputs=True),
        ),
        (f"nix-store -q --references -u {PATH}", query(Question.REFERENCES, use_output=True)),
        (f"nix-store -q --referers {PATH}", query(Question.REFERRERS)),
        (f"nix-store -q --deriver {PATH} {DRV}", query(Question.DERIVER, PATH, DRV)),
        (f"nix-store -q --valid-derivers {PATH}", query(Question.VALID_DERIVERS)),
        (f"nix-store -q --hash -f {PATH}", query(Question.HASH, force_realise=True)),
        (f"nix-store -q --size {PATH}", query(Question.SIZE)),
        (f"nix-store -q --tree {PATH}", query(Question.TREE)),
        (f"nix-store -q --roots {PATH}", query(Question.ROOTS)),
        (f"nix-store -q --binding system {DRV}", query(Question.BINDING, DRV, binding="system")),
        (f"nix-store --check-validity {PATH}", CheckValidity((PATH,))),
        (f"nix-store --check-validity --print-invalid {PATH}", CheckValidity((PATH,), True)),
        (f"nix-store --export {PATH} {DRV}", Export((PATH, DRV))),
        ("nix-store --import", Import()),
        (f"nix-store --dump {PATH}", Dump(PATH)),
        ("nix-store --version", Version("nix-store")),
        ("nix --version", Version("nix")),
        (f"nix-store -r -- {DRV}", realise()),
        ("realpath /tmp/x", ReadLink("/tmp/x")),
    ],
)
def test_commands_are_understood(line: str, command: Command) -> None:
    assert parse(shlex.split(line)) == command


@pytest.mark.parametrize(
    "line",
    [
        "",
        "sh -c true",
        "nix-env -p /nix/var/nix/profiles/system --set /nix/store/x",
        "nix-store --gc",
        "nix-store --gc --print-roots",
        "nix-store --delete --ignore-liveness /nix/store/x",
        "nix-store --optimise",
        "nix-store --verify --repair",
        "nix-store --repair-path /nix/store/x",
        "nix-store --add /etc/shadow",
        "nix-store --load-db",
        "nix-store --dump-db",
        "nix-store --restore /tmp/x",
        "nix-store --read-log /nix/store/x",
        "nix-store --generate-binary-cache-key a b c",
        f"nix-store -r --repair {DRV}",
        "nix-store -q --graph /nix/store/x",
        "nix build nixpkgs#hello",
        "nix build",
        "nix eval --expr 1",
        "nix store gc",
        "nix",
        "nix build --rebuild /nix/store/x.drv",
        "mktemp",
        "mktemp -d a b",
        "readlink -f /x /y",
        "rm",
        "rm -i /x",
        "rm --no-preserve-root -rf /",
        "pkill --signal SIGINT --full -- nix-store",
        "switch-to-configuration test",
    ],
)
def test_all_else_is_refused_in_one_line(line: str) -> None:
    with pytest.raises(BadCommand) as caught:
        parse(shlex.split(line))
    assert caught.value.code == Code.NOT_OFFERED
    assert "\n" not in str(caught.value)
    assert "is not offered here" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nix-store", "no operation specified"),
        (f"nix-store -r -q {PATH}", "only one operation may be specified"),
        (f"nix-store -r --frob {PATH}", "unknown flag '--frob'"),
        (f"nix-store -q --hash --size {PATH}", "query type '--size' conflicts"),
        ("nix-store -q --binding", "expected binding name"),
        ("nix-store -r --add-root", "flag '--add-root' requires 1 argument"),
        (f"nix-store -r {PATH} --timeout soon", "'soon' is not an integer"),
        ("nix-store --import x", "no arguments expected"),
        ("nix-store --dump a b", "only one argument allowed"),
        ("mktemp -d -t fixed", "too few X's"),
    ],
)
def test_mistakes_are_told_as_nix_tells_them(line: str, message: str) -> None:
    with pytest.raises(BadCommand, match=message) as caught:
        parse(shlex.split(line))
    assert caught.value.code == Code.FAILED
