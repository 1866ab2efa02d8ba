"""Every error that a user can cause at the command line: what is said, and the exit code."""

from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from shim.cli import COMMANDS, command
from shim.errors import ExitCode

DRV: Final = f"/nix/store/{'a' * 32}-x.drv"

FILES: Final = {
    "good.toml": 'state-directory = "{t}/state"\n[serving]\nroot = "{t}/serve"\n'
    '[plant]\nroot = "{t}/plant"\n',
    "serving.toml": '[serving]\nroot = "{t}/serve"\n',
    "bad.toml": '[serving]\nroot = "relative"\n[policy]\ncros = true\n',
    "cut.toml": "[serving",
    "cross.toml": 'tables = ["/x"]\n[serving]\nroot = "{t}/serve"\n[policy]\ncross = true\n',
    "junk": "junk" * 100,
    "pairs": f"{DRV}\n",
}

USAGE, DATA, AWAY, CONFIG = (
    *(ExitCode.USAGE, ExitCode.DATA, ExitCode.UNAVAILABLE, ExitCode.CONFIG),
)

TABLE: Final = [
    ("nonsense", USAGE, "No such command 'nonsense'"),
    ("serve", USAGE, "Missing option '--config'"),
    ("serve --config {t}/none.toml", CONFIG, "cannot read the configuration `{t}/none.toml`"),
    ("serve --config {t}/cut.toml", CONFIG, "cut.toml: not TOML"),
    ("serve --config {t}/bad.toml", CONFIG, "serving.root: `relative` is no absolute path"),
    ("serve --config {t}/bad.toml", CONFIG, "policy: unknown key cros; known: cross, emulate"),
    ("serve --config {t}/cross.toml", CONFIG, "plant: required where a policy allows cross"),
    ("gateway --config {t}/none.toml", CONFIG, "cannot read the configuration"),
    ("check-config", USAGE, "name the file to check, or --reference"),
    ("check-config {t}/bad.toml", CONFIG, "unknown key cros"),
    ("doctor", USAGE, "name --config FILE on the fast machine, or --board on a board"),
    ("doctor --config {t}/none.toml", CONFIG, "cannot read the configuration"),
    ("status --socket {t}/none", AWAY, "no daemon answers at `{t}/none`"),
    ("explain {d} --socket {t}/none", AWAY, "no daemon answers at `{t}/none`"),
    ("explain {d} --config {t}/good.toml", DATA, "cannot read derivation: `{d}`: no such file"),
    ("explain /nix/store/nope --config {t}/good.toml", USAGE, "`/nix/store/nope`"),
    ("history --state {t}", AWAY, "cannot use the state `{t}/state.sqlite`"),
    ("history --last 3 --config {t}/none.toml", CONFIG, "cannot read the configuration"),
    ("log {d} --state {t}", AWAY, "cannot use the state `{t}/state.sqlite`"),
    ("show {d} --state {t}", AWAY, "cannot use the state `{t}/state.sqlite`"),
    ("show pigz --state {t}", USAGE, "not in the store directory `/nix/store`: `pigz`"),
    ("table show {t}/none", DATA, "cannot use table: `{t}/none`: No such file"),
    ("table show {t}/junk", DATA, "it is not an equivalence table"),
    ("table stats {t}/junk", DATA, "it is not an equivalence table"),
    ("table verify-file {t}/junk", DATA, "it is not an equivalence table"),
    ("table diff {t}/junk {t}/junk", DATA, "it is not an equivalence table"),
    ("table merge {t}/junk -o {t}/out", DATA, "it is not an equivalence table"),
    ("table lookup --table {t}/junk {d}", DATA, "it is not an equivalence table"),
    ("table explain --table {t}/junk {d}", DATA, "it is not an equivalence table"),
    ("table pair --native {d} --cross {d} -o {t}/out", DATA, "`{d}`: no such file"),
    ("table pair --native x --cross y -o {t}/out", USAGE, "not in the store directory"),
    ("table pair --pairs {t}/pairs -o {t}/out", USAGE, "`native cross`"),
    ("table scan -o {t}/out", USAGE, "give one of --flake, --file and --nixpkgs"),
    ("table scan --nixpkgs {t}/none --attrs hello -o {t}/out", USAGE, "does not exist"),
    ("table status --config {t}/good.toml", AWAY, "no daemon with this configuration has run"),
    ("plan {d} --table {t}/junk", DATA, "it is not an equivalence table"),
    ("plan {d} --table {t}/none", USAGE, "'{t}/none' does not exist"),
    ("gates check-output --system aarch64-linux out=x", USAGE, "not in the store directory"),
    ("keys show --directory {t}/none", CONFIG, "the keys in `{t}/none` cannot be read"),
    ("keys generate --directory {t}/junk --name box", USAGE, "Directory '{t}/junk' is a file"),
    ("decode {t}/junk --type nosuch", USAGE, "the common protocol has no type `nosuch`"),
    ("decode {t}/junk --version 9.9 --type x", USAGE, "has no version `9.9`"),
    ("decode transcript {t}/junk", DATA, "cannot go on in `{t}/junk`"),
    ("encode {t}/junk --type nosuch", USAGE, "the common protocol has no type `nosuch`"),
    ("record -o {t}/rec", USAGE, "give either --listen and --upstream, or a program"),
    ("replay", USAGE, "give --client and --against, or --server and --listen"),
    ("replay --client {t}/junk --against {t}/none", DATA, "cannot decode `{t}/junk`"),
    ("nix-daemon plant --config {t}/serving.toml", CONFIG, "has no plant store"),
    ("nix-daemon serving --config {t}/good.toml --domain x", CONFIG, "there is no domain `x`"),
    ("collect-garbage --config {t}/good.toml", AWAY, "cannot reach the plant nix-daemon"),
    ("install --prefix {t}/junk/x --command /bin/true", ExitCode.FAILURE, "cannot write"),
    ("completion ksh", USAGE, "'ksh' is not one of"),
]
"""Words of the command line -> exit code, what is said on standard error."""


@pytest.mark.parametrize(("words", "code", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_a_mistake_is_named_with_its_exit_code(
    words: str, code: ExitCode, expected: str, tmp_path: Path
) -> None:
    place = {"t": str(tmp_path), "d": DRV}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.format(**place))
    done = CliRunner(env={"COLUMNS": "1000"}).invoke(command, words.format(**place).split())
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    assert expected.format(**place) in done.output
    assert "Traceback" not in done.output


def test_every_command_is_in_the_table() -> None:
    assert {row[0].split()[0] for row in TABLE} >= set(COMMANDS)
