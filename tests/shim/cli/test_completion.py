import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "nix-shim"


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "complete.bash"
    source = subprocess.run(
        [PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    script.write_text(
        source + '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nix_shim_completion "$1"'
        '\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )

    def completed(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", script, PROGRAM, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.split()

    assert "doctor" in completed("do")
    assert "--json" in completed("history", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_can_read_what_is_printed(shell: str, tmp_path: Path) -> None:
    said = subprocess.run(
        [PROGRAM, "completion", shell], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "_NIX_SHIM_COMPLETE" in said
    if (found := shutil.which(shell)) is not None:
        file = tmp_path / "file"
        file.write_text(said)
        subprocess.run([found, "-n", file], check=True, timeout=60)
