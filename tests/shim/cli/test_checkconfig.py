from pathlib import Path

from click.testing import CliRunner

from shim.cli.checkconfig import command, markdown
from shim.errors import ExitCode, ShimError

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_of_keys_is_what_the_program_says() -> None:
    assert PAGE.read_text() == markdown(), (
        "nix-shim check-config --reference > docs/configuration.md"
    )


def test_every_key_has_a_meaning() -> None:
    assert not [line for line in markdown().splitlines() if line.rstrip().endswith("):")]


def test_a_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "shim.toml"
    path.write_text('[serving]\nroot = "/srv"\n')
    done = CliRunner().invoke(command, [str(path)])
    assert done.exit_code == 0
    assert "nothing to complain of" in done.output


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "shim.toml"
    path.write_text('[serving]\nroot = "/srv"\n[policy]\ncros = true\n')
    done = CliRunner().invoke(command, [str(path)])
    assert isinstance(done.exception, ShimError)
    assert done.exception.code is ExitCode.CONFIG
    assert "policy: unknown key cros" in str(done.exception)


def test_a_file_or_the_reference_is_asked_for() -> None:
    for arguments in ([], ["/x", "--reference"]):
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == ExitCode.USAGE
