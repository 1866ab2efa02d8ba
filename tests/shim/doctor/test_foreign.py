import shutil
import subprocess
from pathlib import Path

import pytest

from shim.doctor.foreign import EXIT_CODE, SEEN, sees, smallest
from shim.systems import SYSTEMS, System


def program(folder: Path, data: bytes) -> Path:
    path = folder / "program"
    path.write_bytes(data)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda system: system.nix)
def test_the_smallest_program_of_every_system_runs(system: System, tmp_path: Path) -> None:
    data = smallest(system)
    assert data is not None
    emulator = shutil.which(f"{system.emulator}-static") or shutil.which(system.emulator)
    if system.nix in {"x86_64-linux", "i686-linux"}:
        command = []
    elif emulator is not None:
        command = [emulator]
    else:
        pytest.skip(f"{system.emulator} is not installed")
    done = subprocess.run([*command, program(tmp_path, data)], check=False, timeout=30)
    assert done.returncode == EXIT_CODE


def test_a_program_tells_whether_it_sees_a_path(tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    for path, code in ((there, SEEN), (gone, EXIT_CODE)):
        done = subprocess.run([program(tmp_path, sees(str(path)))], check=False, timeout=30)
        assert done.returncode == code
